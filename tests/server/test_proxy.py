"""The command behind nginx as deploy/nginx.conf sets it up: who the client is, whatever it says of itself."""

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import bcrypt
import pytest

from support.nginx import proxied
from support.registry import Registry, Setup, serve

# The client's own, so that it is not the address of the proxy.
CLIENT = "127.0.0.9"
LIES = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https"}
ALICE = {"Authorization": "Basic " + base64.b64encode(b"alice:a password").decode()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "htpasswd").write_text(f"alice:{bcrypt.hashpw(b'a password', bcrypt.gensalt(10)).decode()}\n")
    return folder


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Registry]:
    settings = {"htpasswd": folder / "htpasswd", "audit_log": folder / "audit.log", "trusted_proxies": "127.0.0.1"}
    given = {f"FERRO_OCI_{name.upper()}": str(value) for name, value in settings.items()}
    with serve(Setup(None, settings=given), folder / "log") as registry, proxied(folder, registry) as front:
        yield front


def ask(front: Registry, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(front.address, timeout=30, source_address=(CLIENT, 0))
    with closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response


@pytest.mark.parametrize("said", [{}, LIES], ids=["nothing", "lies"])
def test_the_address_is_the_one_that_nginx_sees(front: Registry, folder: Path, said: dict[str, str]) -> None:
    assert ask(front, "DELETE", "/v2/team/app/manifests/v1", {**ALICE, **said}).status == 404
    assert ask(front, "DELETE", "/v2/team/app/manifests/v1", {"Authorization": "Basic eDp5", **said}).status == 401
    written = [json.loads(line) for line in (folder / "audit.log").read_text(encoding="utf-8").splitlines()]
    assert written
    assert {line["address"] for line in written} == {CLIENT}


@pytest.mark.parametrize("said", [{}, LIES], ids=["nothing", "lies"])
def test_tokens_are_to_be_had_where_the_client_came(front: Registry, said: dict[str, str]) -> None:
    challenge = ask(front, "GET", "/v2/", said).headers["WWW-Authenticate"]
    assert f'realm="http://{front.address}/token"' in challenge
