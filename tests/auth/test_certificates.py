"""Clients that are known by the certificate of their connection."""

import base64
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ferro_oci_server.auth.certificates import ClientCertificates
from ferro_oci_server.auth.credentials import BasicCredentials, BearerToken, ClientCertificate
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.policy_file import parse
from ferro_oci_server.auth.proxies import TrustedProxies
from ferro_oci_server.testing.client import AsgiClient
from support.certificates import Authority

from .conftest import Filled
from .world import basic, gate

pytestmark = pytest.mark.anyio

AUTHORITY = Authority.new()
MANIFEST = "/v2/private/app/manifests/v1"
POLICY = """
[[rules]]
who = ["certificate:builder"]
actions = ["pull"]
repositories = ["private/*"]

[[rules]]
who = ["certificate:*"]
claims = { uri = "spiffe://cluster/ns/apps/*" }
actions = ["pull"]
repositories = ["private/*"]

[[rules]]
who = ["user:reader"]
actions = ["pull"]
repositories = ["private/*"]
"""


def made(*names: str, uri: str | None = None, days: int = 30) -> x509.Certificate:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
    others = [x509.UniformResourceIdentifier(uri)] if uri else []
    return AUTHORITY.certify(x509.Name(subject), others, days)[0]


def der(certificate: x509.Certificate) -> str:
    """As RFC 9440 has it."""
    return f":{base64.b64encode(certificate.public_bytes(Encoding.DER)).decode('ascii')}:"


def pem(certificate: x509.Certificate) -> str:
    """As nginx has it."""
    return quote(certificate.public_bytes(Encoding.PEM).decode("ascii"), safe="")


def behind(filled: Filled, *, trusted: bool = True, believed: bool = True, looked_at: bool = True) -> AsgiClient:
    """A guarded registry behind a proxy, which the client is taken for."""
    authenticators = gate(filled.state)._authenticators
    guarded = gate(
        filled.state,
        policy=parse(POLICY.encode()).policy,
        authenticators=[*authenticators, ClientCertificates()] if looked_at else authenticators,
    )
    network = ip_network("0.0.0.0/0" if trusted else "192.0.2.0/24")
    return AsgiClient(TrustedProxies(guarded, [network], certificates=believed))


async def status(client: AsgiClient, *shown: str, headers: Mapping[str, str] | None = None) -> int:
    fields = [*(headers or {}).items(), *(("Client-Cert", value) for value in shown)]
    return (await client.request("GET", MANIFEST, headers=fields)).status


@pytest.mark.parametrize("write", [der, pem])
async def test_who_has_a_certificate_needs_nothing_else(filled: Filled, write: Any) -> None:
    client = behind(filled)
    assert await status(client, write(made("builder"))) == 200
    assert (await client.request("GET", "/v2/", headers={"Client-Cert": write(made("builder"))})).status == 200


async def test_names_and_claims_decide(filled: Filled) -> None:
    client = behind(filled)
    assert await status(client, der(made("stranger"))) == 404
    assert await status(client, der(made("stranger", uri="spiffe://cluster/ns/apps/sa/web"))) == 200
    assert await status(client, der(made("stranger", uri="spiffe://cluster/ns/other/sa/web"))) == 404


@pytest.mark.parametrize("shown", [[], [""]], ids=["none", "empty"])
async def test_without_one_a_client_is_asked_to_log_in(filled: Filled, shown: Sequence[str]) -> None:
    assert await status(behind(filled), *shown) == 401


async def test_what_a_client_says_of_itself_goes_first(filled: Filled) -> None:
    client, shown = behind(filled), der(made("builder"))
    assert await status(client, shown, headers=basic("stranger")) == 404
    assert await status(client, shown, headers=basic("reader", "wrong")) == 401


async def test_only_a_proxy_that_is_trusted_with_it_is_believed(filled: Filled) -> None:
    shown = der(made("builder"))
    assert await status(behind(filled, trusted=False), shown) == 401
    assert await status(behind(filled, believed=False), shown) == 401


async def test_a_certificate_that_nobody_looks_at_makes_nobody_of_its_client(filled: Filled) -> None:
    assert await status(behind(filled, looked_at=False), der(made("builder"))) == 401


@pytest.mark.parametrize(
    "shown",
    [
        ["garbage"],
        [":garbage:"],
        ["::"],
        [":"],
        ["%"],
        ["-----BEGIN%20CERTIFICATE-----"],
        [f":{'A' * 20_000}:"],
        [der(made("builder")), der(made("builder"))],
        [der(made("builder"))[:-40]],
        [der(made())],
        [der(made("builder", "admin"))],
        [der(made("builder\r\nadmin"))],
        [der(made("builder", days=-1))],
    ],
    ids=lambda shown: shown[0][:20],
)
async def test_what_is_no_certificate_of_somebody_is_refused(filled: Filled, shown: Sequence[str]) -> None:
    assert await status(behind(filled), *shown) == 401


async def test_a_server_may_tell_by_itself(filled: Filled) -> None:
    app = behind(filled)._app
    text = made("builder").public_bytes(Encoding.PEM).decode("ascii")

    async def telling(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "extensions": {"tls": {"client_cert_chain": [text]}}}, receive, send)

    assert await status(AsgiClient(telling)) == 200


async def test_other_credentials_are_not_its_own() -> None:
    for credentials in (BasicCredentials("builder", "x"), BearerToken("x")):
        assert await ClientCertificates().authenticate(credentials) is None


async def test_what_it_says_of_a_client() -> None:
    certificate = made("builder", uri="spiffe://cluster/ns/apps/sa/web")
    principal = await ClientCertificates().authenticate(ClientCertificate(certificate.public_bytes(Encoding.DER)))
    assert principal is not None
    assert str(principal) == "certificate:builder"
    assert principal.claims == {
        "dns": [],
        "email": [],
        "uri": ["spiffe://cluster/ns/apps/sa/web"],
        "organization": [],
        "issuer": "CN=test authority",
        "serial": f"{certificate.serial_number:x}",
    }
    with pytest.raises(BadCredentials):
        await ClientCertificates().authenticate(ClientCertificate(b""))
