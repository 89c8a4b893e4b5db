"""Who is behind a proxy, and which proxies are believed."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from ferro_oci_server.auth.proxies import TrustedProxies

pytestmark = pytest.mark.anyio

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]


async def told(client: str | None, headers: Sequence[tuple[str, str]]) -> tuple[Any, str]:
    seen: list[Mapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {
        "type": "http",
        "scheme": "http",
        "client": client and (client, 1234),
        "headers": [(key.encode(), value.encode()) for key, value in headers],
    }
    await TrustedProxies(app, TRUSTED)(scope, None, None)  # type: ignore[arg-type]
    return seen[0]["client"] and seen[0]["client"][0], seen[0]["scheme"]


@pytest.mark.parametrize(
    ("client", "headers", "address", "scheme"),
    [
        ("10.0.0.1", [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")], "192.0.2.7", "https"),
        ("192.0.2.1", [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")], "192.0.2.1", "http"),
        # What the client wrote itself stands before what the proxy saw.
        ("10.0.0.1", [("x-forwarded-for", "1.1.1.1, 192.0.2.7")], "192.0.2.7", "http"),
        ("10.0.0.1", [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7")], "192.0.2.7", "http"),
        ("10.0.0.1", [("x-forwarded-for", "192.0.2.7, 10.0.0.2")], "192.0.2.7", "http"),
        ("10.0.0.1", [("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3", "http"),
        ("10.0.0.1", [("x-forwarded-for", "192.0.2.7, garbage")], "10.0.0.1", "http"),
        ("10.0.0.1", [("x-forwarded-for", "")], "10.0.0.1", "http"),
        ("10.0.0.1", [("x-forwarded-proto", "javascript")], "10.0.0.1", "http"),
        ("2001:db8::1", [("x-forwarded-for", "2001:db9::7")], "2001:db9::7", "http"),
        ("::ffff:10.0.0.1", [("x-forwarded-for", "192.0.2.7")], "192.0.2.7", "http"),
        ("::ffff:192.0.2.1", [("x-forwarded-for", "192.0.2.7")], "::ffff:192.0.2.1", "http"),
        ("10.0.0.1", [], "10.0.0.1", "http"),
        (None, [("x-forwarded-for", "192.0.2.7")], None, "http"),
        ("unix:", [("x-forwarded-for", "192.0.2.7")], "unix:", "http"),
    ],
)
async def test_only_a_trusted_proxy_is_believed(
    client: str | None, headers: Sequence[tuple[str, str]], address: str | None, scheme: str
) -> None:
    assert await told(client, headers) == (address, scheme)
