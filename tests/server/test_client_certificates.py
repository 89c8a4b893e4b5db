"""Clients that nginx knows by their certificates, and what the command believes of that."""

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.certificates import Authority
from support.nginx import proxied
from support.registry import Registry, Setup, serve

POLICY = """
[[rules]]
who = ["certificate:builder"]
actions = ["*"]
repositories = ["*"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority.new()
    authority.write(folder / "ca.pem")
    authority.give(folder / "server")
    for name in ("builder", "stranger"):
        authority.give(folder / name, name)
    Authority.new().give(folder / "forged", "builder")
    (folder / "policy.toml").write_text(POLICY)
    return folder


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Registry]:
    settings = {"policy": folder / "policy.toml", "trusted_proxies": "127.0.0.1", "proxy_certificates": "true"}
    given = {f"FERRO_OCI_{name.upper()}": str(value) for name, value in settings.items()}
    tls = f"""listen LISTEN ssl;
        ssl_certificate {folder}/server.crt;
        ssl_certificate_key {folder}/server.key;
        ssl_client_certificate {folder}/ca.pem;
        ssl_verify_client optional;"""
    changes = {"listen LISTEN;": tls, 'Client-Cert "";': "Client-Cert $ssl_client_escaped_cert;"}
    with (
        serve(Setup(None, settings=given), folder / "log") as registry,
        proxied(folder, registry, changes=changes) as front,
    ):
        yield front


def status(front: Registry, folder: Path, client: str | None, headers: dict[str, str] | None = None) -> int:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if client is not None:
        context.load_cert_chain(folder / f"{client}.crt", folder / f"{client}.key")
    connection = http.client.HTTPSConnection(front.address, timeout=30, context=context)
    with closing(connection):
        connection.request("POST", "/v2/team/app/blobs/uploads/", headers={"Content-Length": "0", **(headers or {})})
        return connection.getresponse().status


def test_who_has_the_certificate_may_push(front: Registry, folder: Path) -> None:
    assert status(front, folder, "builder") == 202


def test_who_has_another_may_not(front: Registry, folder: Path) -> None:
    assert status(front, folder, "stranger") == 403
    assert status(front, folder, None) == 401
    # Of an authority that nginx does not know.
    assert status(front, folder, "forged") == 400


def test_nobody_says_by_a_header_who_it_is(front: Registry, folder: Path) -> None:
    text = (folder / "builder.crt").read_text(encoding="ascii").replace("\n", "%0A").replace(" ", "%20")
    assert status(front, folder, None, {"Client-Cert": text}) == 401
    assert status(front, folder, "stranger", {"Client-Cert": text}) == 403
