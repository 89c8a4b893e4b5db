"""Every request of the corpus, over a socket: to the command, to nginx before it, to uvicorn with both its parsers."""

import hashlib
import http.client
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ferro_oci_server import OciErrorCode
from ferro_oci_server.testing.images import Content, image
from support.nginx import proxied
from support.process import daemon, free_port
from support.registry import Registry, Setup, serve

from .corpus import Case, load

SECONDS = 5
LARGEST_HEAD = 64 * 1024
REPOSITORY = "bad/fix"
FIXTURE = image(b"0123456789abcdef")

CASES = load()


@pytest.fixture(scope="module", params=["command", "nginx", "uvicorn-h11", "uvicorn-httptools"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("hostile")
    with _serving(request.param, folder) as registry:
        _push(registry, FIXTURE)
        yield registry
        # Whatever was asked for, nothing of what was there before has changed.
        assert registry.manifest(REPOSITORY).body == FIXTURE.body


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_hostile_request_is_answered_as_it_should(registry: Registry, case: Case) -> None:
    upload = _open_upload(registry, case.setup)
    status, body = exchange(registry, case, upload)

    if status is None:
        # A server that has seen enough of a head closes; what it said is lost where the rest was still on its way.
        assert case.may_close or len(case.wire(registry.address, upload)) > LARGEST_HEAD, case.why
    else:
        assert status in case.statuses, f"{case.why}: {body[:200]!r}"
        check_error(case, status, body)
    assert registry.request("GET", "/v2/").status == 200


@contextmanager
def _serving(kind: str, folder: Path) -> Iterator[Registry]:
    if kind in ("command", "nginx"):
        with serve(Setup(folder / "storage"), folder / "log") as registry:
            if kind == "command":
                yield registry
            else:
                with proxied(folder, registry) as proxy:
                    yield proxy
        return
    parser = kind.removeprefix("uvicorn-")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "examples.bare_asgi:app"]
    command += ["--port", str(port), "--http", parser, "--log-level", "warning"]
    registry_at = f"127.0.0.1:{port}"

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS):
                return True
        except OSError:
            return False

    with daemon(command, None, folder / "log", ready) as process:
        yield Registry(registry_at, process)


def _push(registry: Registry, content: Content) -> None:
    for blob in content.blobs:
        registry.push_blob(REPOSITORY, blob)
    registry.push_manifest(REPOSITORY, "v1", content.media_type, content.body)


def _open_upload(registry: Registry, setup: str | None) -> str:
    """The path of a session in the state that the case asks for."""
    if setup is None:
        return ""
    upload = registry.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]
    if setup in ("upload5", "upload_closed"):
        assert registry.request("PATCH", upload, b"hello", {"Content-Range": "0-4"}).status == 202
    if setup == "upload_closed":
        digest = f"sha256:{hashlib.sha256(b'hello').hexdigest()}"
        assert registry.request("PUT", f"{upload}?digest={digest}").status == 201
    if setup == "upload_cancelled":
        assert registry.request("DELETE", upload).status == 204
    return upload


def exchange(registry: Registry, case: Case, upload: str) -> tuple[int | None, bytes]:
    """Send the bytes and read one response; ``None`` where the server only closed the connection."""
    host, port = registry.address.split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        try:
            connection.sendall(case.wire(registry.address, upload))
            if case.is_raw:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It had seen enough, and may have answered already.
        response = http.client.HTTPResponse(connection, method=case.method)
        try:
            response.begin()
            return response.status, response.read()
        except (http.client.HTTPException, ConnectionError):
            return None, b""
        finally:
            response.close()


def check_error(case: Case, status: int, body: bytes) -> None:
    """An error that is JSON has the specification's shape and codes, and the code that we mean to give."""
    if status < 400 or not body.startswith(b"{"):
        return
    codes = {error["code"] for error in json.loads(body)["errors"]}
    assert codes
    assert codes <= set(OciErrorCode)
    if case.code is not None and status == case.statuses[0]:
        assert case.code in codes
