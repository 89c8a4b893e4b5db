"""Every request of the corpus, over a socket: to the command, to nginx before it, to uvicorn with both its parsers.

To the command behind TLS, and behind its gate, too: from who may do everything, and from nobody, who may see nothing.
"""

import base64
import hashlib
import http.client
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest

from ferro_oci_server import OciErrorCode
from ferro_oci_server.testing.images import Content, image
from support.certificates import Authority
from support.nginx import proxied
from support.process import daemon, free_port
from support.registry import Registry, Setup, serve

from .corpus import Case, load

SECONDS = 5
LARGEST_HEAD = 64 * 1024
REPOSITORY = "bad/fix"
FIXTURE = image(b"0123456789abcdef")

CASES = load()


KINDS = ["command", "nginx", "tls", "gate", "gate-nginx", "gate-tls", "uvicorn-h11", "uvicorn-httptools"]
ADMIN = {"Authorization": "Basic " + base64.b64encode(b"admin:right-password").decode()}


@pytest.fixture(scope="module", params=KINDS)
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
        # Bytes that are written out name nobody.
        is_nobody = case.is_raw and bool(registry.shown)
        assert status in (*case.statuses, 401) if is_nobody else status in case.statuses, f"{case.why}: {body[:200]!r}"
        check_error(case, status, body)
    assert registry.request("GET", "/v2/").status == 200


@pytest.mark.parametrize("registry", ["gate", "gate-nginx", "gate-tls"], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_hostile_request_gets_nobody_past_the_gate(registry: Registry, case: Case) -> None:
    upload = _open_upload(registry, case.setup)
    status, body = exchange(replace(registry, shown={}), case, upload)
    if status is None:
        assert case.may_close or len(case.wire(registry.address, upload)) > LARGEST_HEAD, case.why
    else:
        assert status in (401, *(it for it in case.statuses if it >= 300)), f"{case.why}: {body[:200]!r}"
        check_error(case, status, body)


@contextmanager
def _serving(kind: str, folder: Path) -> Iterator[Registry]:
    if not kind.startswith("uvicorn"):
        shown = ADMIN if kind.startswith("gate") else {}
        with serve(_setup(kind, folder), folder / "log") as registry, ExitStack() as stack:
            is_behind = kind.endswith("nginx")
            yield replace(stack.enter_context(proxied(folder, registry)) if is_behind else registry, shown=shown)
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


def _setup(kind: str, folder: Path) -> Setup:
    """TLS or not, a gate or not."""
    settings: dict[str, str] = {}
    if kind.startswith("gate"):
        digest = bcrypt.hashpw(b"right-password", bcrypt.gensalt(10)).decode()
        (folder / "htpasswd").write_text(f"admin:{digest}\n", encoding="ascii")
        settings["FERRO_OCI_HTPASSWD"] = str(folder / "htpasswd")
        settings["FERRO_OCI_FAILED_LOGINS_PER_MINUTE"] = "0"
    setup = Setup(folder / "storage", settings=settings)
    return with_tls(setup, folder) if kind.endswith("tls") else setup


def with_tls(setup: Setup, folder: Path) -> Setup:
    """The same behind TLS."""
    authority = Authority.new()
    authority.write(folder / "ca.crt")
    authority.give(folder / "server")
    settings = {
        "FERRO_OCI_TLS_CERT": str(folder / "server.crt"),
        "FERRO_OCI_TLS_KEY": str(folder / "server.key"),
        # A connection behind TLS cannot be closed by halves: what is not whole is waited for.
        "FERRO_OCI_HEADER_SECONDS": "1",
    }
    tls = ssl.create_default_context(cafile=folder / "ca.crt")
    return replace(setup, settings={**setup.settings, **settings}, tls=tls)


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
    with _connected(host, int(port), registry.tls) as connection:
        try:
            connection.sendall(case.wire(registry.address, upload, registry.shown))
            if case.is_raw and registry.tls is None:
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


def _connected(host: str, port: int, tls: ssl.SSLContext | None) -> socket.socket:
    plain = socket.create_connection((host, port), timeout=SECONDS)
    return plain if tls is None else tls.wrap_socket(plain, server_hostname=host)


def check_error(case: Case, status: int, body: bytes) -> None:
    """An error that is JSON has the specification's shape and codes, and the code that we mean to give."""
    if status < 400 or not body.startswith(b"{"):
        return
    codes = {error["code"] for error in json.loads(body)["errors"]}
    assert codes
    assert codes <= set(OciErrorCode)
    if case.code is not None and status == case.statuses[0]:
        assert case.code in codes
