"""The command behind TLS: certificates that change, clients that must have one, and connections that say nothing."""

import hashlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from support.certificates import Authority
from support.process import daemon, free_port

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
SECONDS = 2
BLOB = b"some bytes"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"

AUTHORITY = Authority.new()


class Secure:
    """A registry behind TLS, and who is believed."""

    def __init__(self, port: int, folder: Path, log: Path) -> None:
        self.port = port
        self.folder = folder
        self.log = log

    def context(self, *protocols: str, client: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if client is not None:
            context.load_cert_chain(client.with_suffix(".crt"), client.with_suffix(".key"))
        return context

    def open(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        try:
            return (context or self.context()).wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def request(
        self, method: str, path: str, body: bytes | None = None, context: ssl.SSLContext | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context or self.context())
        with closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            response.read()
            return response

    def serial(self) -> int:
        with self.open() as connection:
            found = connection.getpeercert()
            assert found is not None
            return int(str(found["serialNumber"]), 16)


@contextmanager
def serve(folder: Path, client: Path | None = None, stored: bool = True, **more: str) -> Iterator[Secure]:
    AUTHORITY.write(folder / "ca.crt")
    port = free_port()
    secure = Secure(port, folder, folder / "log")
    settings = {
        "listen": f"127.0.0.1:{port}",
        "tls_cert": folder / "server.crt",
        "tls_key": folder / "server.key",
        "header_seconds": SECONDS,
        **({"storage_dir": folder / "storage"} if stored else {}),
        **more,
    }
    env = {**os.environ, **{f"FERRO_OCI_{name.upper()}": str(value) for name, value in settings.items()}}
    context = secure.context(client=client)

    def ready() -> bool:
        try:
            return secure.request("GET", "/ready", context=context).status == 200
        except OSError:
            return False

    with daemon([COMMAND], env, secure.log, ready) as process:
        yield secure
    assert process.returncode == 0


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    AUTHORITY.give(folder / "server")
    with serve(folder) as secure:
        yield secure


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.2)
    return False


def test_content_is_pushed_and_pulled(secure: Secure) -> None:
    assert secure.request("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", BLOB).status == 201
    assert secure.request("GET", f"/v2/a/b/blobs/{DIGEST}").status == 200


@pytest.mark.parametrize(("offered", "selected"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")])
def test_clients_choose_between_both_versions_of_http(secure: Secure, offered: list[str], selected: str) -> None:
    with secure.open(secure.context(*offered)) as connection:
        assert connection.selected_alpn_protocol() == selected


def test_a_request_is_answered_over_http_2(secure: Secure) -> None:
    with secure.open(secure.context("h2")) as connection:
        # The preface, empty settings, and a GET of /v2/ in the forms of HPACK's table: no library is needed for that.
        head = b"\x82\x87\x04\x04/v2/\x41\x09localhost"
        frames = b"\0\0\0\4\0\0\0\0\0" + len(head).to_bytes(3, "big") + b"\1\5\0\0\0\1" + head
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)
        received = b""
        while b"{}" not in received:
            piece = connection.recv(65536)
            assert piece, received
            received += piece


def test_old_tls_is_not_spoken(secure: Secure) -> None:
    # The least that a client says that knows nothing newer than TLS 1.1; Python's own cannot be told to any more.
    hello = bytes.fromhex("0302") + bytes(32) + bytes.fromhex("00 0004 c014 0035 01 00")
    handshake = b"\1" + len(hello).to_bytes(3, "big") + hello
    with socket.create_connection(("127.0.0.1", secure.port), timeout=30) as connection:
        connection.sendall(bytes.fromhex("160301") + len(handshake).to_bytes(2, "big") + handshake)
        answer = connection.recv(100)
    # An alert, and a fatal one.
    assert (answer[0], answer[5]) == (21, 2)


def test_plain_text_is_not_answered(secure: Secure) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=30) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not connection.recv(100).startswith(b"HTTP/")


@pytest.mark.parametrize(
    ("protocols", "said"),
    [
        (["http/1.1"], b""),
        (["http/1.1"], b"GET /v2/ HT"),
        (["h2"], b""),
        ([], b""),
        (["h2"], b"PRI * HT"),
        (["h2"], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"),
    ],
)
def test_a_connection_that_says_nothing_more_is_ended(secure: Secure, protocols: list[str], said: bytes) -> None:
    with secure.open(secure.context(*protocols)) as connection:
        if said:
            connection.sendall(said)
        connection.settimeout(SECONDS * 2 + 5)
        started = time.monotonic()
        try:
            while connection.recv(1000):
                pass
        except (ssl.SSLError, ConnectionError):
            pass
        assert time.monotonic() - started < SECONDS * 2 + 4


def test_a_request_that_takes_its_time_is_not_ended(secure: Secure) -> None:
    """A body that rests for longer than a connection without a request may."""
    with secure.open(secure.context("http/1.1")) as connection:
        head = f"POST /v2/a/b/blobs/uploads/?digest={DIGEST} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BLOB)}"
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + BLOB[:3])
        time.sleep(SECONDS * 2.5)
        connection.sendall(BLOB[3:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("stored", [True, False], ids=["files", "memory"])
def test_new_certificates_are_taken_and_broken_ones_are_not(tmp_path: Path, stored: bool) -> None:
    first = AUTHORITY.give(tmp_path / "server")
    with serve(tmp_path, stored=stored) as secure, ExitStack() as stack:
        assert secure.serial() == first
        assert secure.request("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", BLOB).status == 201
        # A request that is running while workers take over is answered.
        running = stack.enter_context(secure.open(secure.context("http/1.1")))
        head = f"POST /v2/a/b/blobs/uploads/?digest={DIGEST} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BLOB)}"
        running.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + BLOB[:3])
        second = AUTHORITY.give(tmp_path / "server")
        assert within(30, lambda: secure.serial() == second)
        running.sendall(BLOB[3:])
        assert running.recv(1000).startswith(b"HTTP/1.1 201")
        # Until the old worker has gone, both may answer.
        assert within(30, lambda: all(secure.serial() == second for _ in range(8)))
        assert secure.request("GET", f"/v2/a/b/blobs/{DIGEST}").status == 200
        (tmp_path / "server.crt").write_text("nonsense")
        assert within(15, lambda: "those from before count" in secure.log.read_text())
        assert secure.serial() == second


def test_only_clients_with_a_certificate_are_let_in_where_one_is_asked_for(tmp_path: Path) -> None:
    AUTHORITY.give(tmp_path / "server")
    AUTHORITY.give(tmp_path / "client", "alice")
    Authority.new("another").give(tmp_path / "other", "mallory")
    with serve(tmp_path, client=tmp_path / "client", tls_client_ca=str(tmp_path / "ca.crt")) as secure:
        context = secure.context(client=tmp_path / "client")
        assert secure.request("GET", "/v2/", context=context).status == 200
        for context in (secure.context(), secure.context(client=tmp_path / "other")):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                secure.request("GET", "/v2/", context=context)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["tls_cert"], "tls_cert and tls_key: set both"),
        (["tls_client_ca"], "tls_client_ca: set tls_cert"),
        (["tls_cert", "tls_key"], "tls_cert and tls_key: "),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path, names: list[str], problem: str) -> None:
    env = {**os.environ, **{f"FERRO_OCI_{name.upper()}": str(tmp_path / name) for name in names}}
    done = subprocess.run([COMMAND], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert problem in done.stderr
