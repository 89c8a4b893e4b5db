"""Limits and deadlines, over sockets: who is slow, stalls or asks for too much is cut off, and nobody else is.

What the application does is tried on uvicorn too; what only a server can see, on the command alone.
"""

import hashlib
import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from backends.files import small_disk
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.config import Config
from ferro_oci_server.core.quota import Quota
from ferro_oci_server.server import limits_of, quota_of
from ferro_oci_server.testing.images import image
from support.process import daemon, free_port, listens
from support.registry import Registry, Reply, Setup, serve

MIB = 1024 * 1024
SECONDS = 1
RATE = 10_000

# Small enough that a test waits for a second or two.
STRICT = {
    "FERRO_OCI_HEADER_SECONDS": str(SECONDS),
    "FERRO_OCI_BODY_IDLE_SECONDS": str(SECONDS),
    "FERRO_OCI_BODY_GRACE_SECONDS": str(SECONDS),
    "FERRO_OCI_BODY_MIN_BYTES_PER_SECOND": str(RATE),
    "FERRO_OCI_RESPONSE_IDLE_SECONDS": str(SECONDS),
    # Until a system says that it takes more, a reader must have taken some of the megabytes that it holds.
    "FERRO_OCI_RESPONSE_PIECE_SECONDS": "3",
}

# How long after its deadline a test waits for what must then happen, on a machine that does other things too.
PATIENCE = 10


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The command, with short deadlines."""
    folder = tmp_path_factory.mktemp("strict")
    with serve(Setup(folder / "storage", settings=STRICT), folder / "log") as registry:
        yield registry


@pytest.fixture(scope="module")
def uvicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The same application on uvicorn."""
    folder = tmp_path_factory.mktemp("uvicorn")
    port = free_port()
    env = {**os.environ, **STRICT, "FERRO_OCI_STORAGE_DIR": str(folder / "storage"), "FERRO_OCI_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "uvicorn", "--factory", "--app-dir", str(Path(__file__).parents[1])]
    command += ["support.asgi:app", "--port", str(port), "--log-level", "warning"]
    with daemon(command, env, folder / "log", lambda: listens(f"127.0.0.1:{port}")) as process:
        yield Registry(f"127.0.0.1:{port}", process)


@pytest.fixture(params=["command", "uvicorn"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """The application with short deadlines, on both servers."""
    found: Registry = request.getfixturevalue("strict" if request.param == "command" else "uvicorn")
    return found


def test_the_limits_of_the_command_are_those_of_the_application() -> None:
    assert limits_of(Config()) == Limits()
    assert quota_of(Config()) == Quota()


# Heads.


@pytest.mark.parametrize("first", [b"", b"GET", b"GET /v2/ HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP/2.0\r\n\r\n"])
def test_a_connection_without_a_whole_head_is_closed(strict: Registry, first: bytes) -> None:
    with connect(strict) as peer:
        peer.sendall(first)
        assert seconds_until_closed(peer) < SECONDS + PATIENCE


def test_a_head_that_trickles_is_cut_off(strict: Registry) -> None:
    with connect(strict) as peer:
        peer.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert seconds_until_closed(peer, trickle=b"x") < SECONDS + PATIENCE


def test_a_connection_that_lies_idle_is_closed(strict: Registry) -> None:
    with connect(strict) as peer:
        peer.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 200")
        assert seconds_until_closed(peer) < SECONDS + PATIENCE


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        (b"GET /v2/?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414}),
        (b"GET /v2/" + b"a" * MIB + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431}),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 33_000 + b"\r\n\r\n", {431}),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MIB + b"\r\n\r\n", {431}),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + b"a" * 17_000 + b"\r\n\r\n", {431}),
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 101 + b"\r\n", {431}),
    ],
    ids=["target", "huge-target", "header", "huge-header", "authorization", "many"],
)
def test_a_huge_head_is_refused(strict: Registry, head: bytes, statuses: set[int]) -> None:
    with connect(strict) as peer:
        # It need not be taken in whole before it is answered.
        with suppress(OSError):
            peer.sendall(head)
        assert read_reply(peer).status in statuses
    assert strict.request("GET", "/v2/").status == 200


# Bodies.


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_that_stalls_is_cut_off_and_what_came_can_be_gone_on_from(registry: Registry, framing: str) -> None:
    upload = start_upload(registry)
    with connect(registry) as peer:
        if framing == "length":
            peer.sendall(head("PATCH", upload, "Content-Length: 10") + b"hello")
        else:
            peer.sendall(head("PATCH", upload, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        assert read_reply(peer).status == 408
        assert seconds_until_closed(peer) < PATIENCE

    assert registry.request("GET", upload).headers["Range"] == "0-4"
    finish_upload(registry, upload, b"hello", b"world")


def test_a_body_that_trickles_is_cut_off_and_what_came_can_be_gone_on_from(registry: Registry) -> None:
    upload = start_upload(registry)
    with connect(registry) as peer:
        peer.sendall(head("PATCH", upload, "Content-Length: 1000000"))
        # Each byte is in time. All of them are not.
        assert seconds_until_answered(peer, trickle=b"x") < SECONDS + PATIENCE
        assert read_reply(peer).status == 408

    first = int(registry.request("GET", upload).headers["Range"].removeprefix("0-")) + 1
    finish_upload(registry, upload, b"x" * first, b"world")


def test_a_body_that_is_slow_and_still_fast_enough_is_taken(registry: Registry) -> None:
    upload = start_upload(registry)
    with connect(registry) as peer:
        piece, count = b"x" * (RATE // 4), 20
        peer.sendall(head("PATCH", upload, f"Content-Length: {len(piece) * count}"))
        for _ in range(count):
            peer.sendall(piece)
            time.sleep(0.1)
        assert read_reply(peer).status == 202


def test_a_manifest_that_stalls_is_not_stored(registry: Registry) -> None:
    with connect(registry) as peer:
        peer.sendall(head("PUT", "/v2/a/stalls/manifests/v1", "Content-Length: 10") + b"{")
        assert read_reply(peer).status == 408
    assert registry.request("GET", "/v2/a/stalls/manifests/v1").status == 404


def test_a_client_that_waits_for_100_continue_gets_it(registry: Registry) -> None:
    upload = start_upload(registry)
    with connect(registry) as peer:
        peer.sendall(head("PATCH", upload, "Content-Length: 5", "Expect: 100-continue"))
        assert peer.recv(100).startswith(b"HTTP/1.1 100")
        peer.sendall(b"hello")
        assert read_reply(peer).status == 202


def test_a_websocket_is_not_opened(strict: Registry) -> None:
    with connect(strict) as peer:
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        peer.sendall(head("GET", "/v2/", "Upgrade: websocket", "Connection: Upgrade", key, "Sec-WebSocket-Version: 13"))
        assert read_reply(peer).status != 101


# Readers.


def test_a_reader_that_stalls_is_cut_off_and_its_file_closed(registry: Registry) -> None:
    digest = push(registry, b"large" * (16 * MIB // 5))
    with connect(registry) as peer:
        peer.sendall(head("GET", f"/v2/a/b/blobs/{digest}"))
        wait_until(lambda: blob_files(registry) == 1)
        assert registry.request("GET", "/v2/").status == 200
        wait_until(lambda: blob_files(registry) == 0)


@pytest.mark.parametrize("number", [1, 2], ids=["first", "second"])
def test_a_connection_whose_peer_reads_nothing_is_ended(strict: Registry, number: int) -> None:
    """Whatever the application does: what the server has taken over is left with it."""
    digest = push(strict, b"large" * (16 * MIB // 5))
    with connect(strict) as peer:
        peer.sendall(head("GET", f"/v2/a/b/blobs/{digest}"))
        assert is_connected(strict, peer)
        wait_until(lambda: not is_connected(strict, peer))


def test_a_connection_that_asks_and_asks_and_reads_nothing_is_ended(strict: Registry) -> None:
    with connect(strict) as peer:
        peer.settimeout(0.2)
        with suppress(OSError):
            while True:
                peer.sendall(head("GET", "/v2/") * 1000)
        wait_until(lambda: not is_connected(strict, peer))


def test_a_reader_that_is_slow_gets_everything(registry: Registry) -> None:
    content = os.urandom(6 * MIB)
    digest = push(registry, content)
    with connect(registry) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        peer.sendall(head("GET", f"/v2/a/b/blobs/{digest}"))
        reply = b""
        while len(reply) < len(content):
            reply += peer.recv(256 * 1024)
            time.sleep(0.02)
        assert reply.endswith(content)


# Too many.


def test_a_connection_too_many_waits_until_another_ends(tmp_path: Path) -> None:
    setup = Setup(None, settings={**STRICT, "FERRO_OCI_MAX_CONNECTIONS": "3"})
    with serve(setup, tmp_path / "log") as registry, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(registry))
        # Those say nothing, so they are closed, and this one has its turn.
        assert registry.request("GET", "/v2/").status == 200


def test_a_request_too_many_is_told_to_come_again_and_probes_are_answered(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "storage", settings={"FERRO_OCI_MAX_CONCURRENT_REQUESTS": "1"})
    with serve(setup, tmp_path / "log") as registry:
        upload = start_upload(registry)
        with connect(registry) as peer:
            peer.sendall(head("PATCH", upload, "Content-Length: 10") + b"hello")
            wait_until((tmp_path / "storage" / "uploads" / upload.rpartition("/")[2]).exists)
            refused = registry.request("GET", "/v2/")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
            assert registry.request("GET", "/ready").status == 200
            peer.sendall(b"world")
            assert read_reply(peer).status == 202
        assert registry.request("GET", "/v2/").status == 200


def test_a_session_too_many_is_told_to_come_again(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "storage", settings={"FERRO_OCI_MAX_OPEN_UPLOADS": "2"})
    with serve(setup, tmp_path / "log") as registry:
        upload, _ = start_upload(registry), start_upload(registry)
        refused = registry.request("POST", "/v2/a/b/blobs/uploads/", b"")
        assert refused.status == 429
        assert refused.headers["Retry-After"]
        assert b"TOOMANYREQUESTS" in refused.body
        finish_upload(registry, upload, b"", b"content")
        start_upload(registry)


def test_a_blob_too_large_is_refused_and_others_are_taken(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "storage", settings={"FERRO_OCI_MAX_BLOB_BYTES": "1000"})
    with serve(setup, tmp_path / "log") as registry:
        upload = start_upload(registry)
        assert registry.request("PATCH", upload, b"x" * 1001).status == 413
        assert registry.request("GET", upload).headers["Range"] == "0-0"
        push(registry, b"x" * 1000)


@pytest.mark.parametrize("framing", ["length", "chunks", "range"])
@pytest.mark.parametrize(
    ("setting", "status"), [("MAX_BLOB_BYTES", 413), ("MAX_REPOSITORY_BYTES", 403)], ids=["blob", "repository"]
)
def test_chunks_that_are_too_much_together_are_refused_and_the_upload_goes_on(
    tmp_path: Path, setting: str, status: int, framing: str
) -> None:
    with serve(Setup(tmp_path / "storage", settings={f"FERRO_OCI_{setting}": "1000"}), tmp_path / "log") as registry:
        upload = start_upload(registry)
        assert registry.request("PATCH", upload, b"x" * 600).status == 202
        with connect(registry) as peer:
            # None of them sends all: it is answered before.
            if framing == "length":
                peer.sendall(head("PATCH", upload, "Content-Length: 401"))
            elif framing == "range":
                peer.sendall(head("PATCH", upload, "Content-Range: 600-1000", "Transfer-Encoding: chunked"))
            else:
                peer.sendall(head("PATCH", upload, "Transfer-Encoding: chunked") + b"191\r\n" + b"x" * 401 + b"\r\n")
            assert read_reply(peer).status == status
        assert registry.request("GET", upload).headers["Range"] == "0-599"
        finish_upload(registry, upload, b"x" * 600, b"x" * 400)


def test_a_repository_that_is_full_takes_nothing_more_until_there_is_room(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "storage", workers=2, settings={"FERRO_OCI_MAX_REPOSITORY_BYTES": "1000"})
    with serve(setup, tmp_path / "log") as registry:
        kept = push(registry, b"x" * 1000)
        content = b"y" * 10
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        refused = registry.request("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", content)
        assert (refused.status, b"DENIED" in refused.body) == (403, True)
        registry.push_blob("a/other", content)
        mounted = registry.request("POST", f"/v2/a/b/blobs/uploads/?mount={digest}&from=a/other", b"")
        assert mounted.status == 403
        assert_readable(registry, {kept: b"x" * 1000})

        assert registry.request("DELETE", f"/v2/a/b/blobs/{kept}").status == 202
        # The other worker asks anew within a second.
        wait_until(lambda: registry.request("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", content).status == 201)


def test_a_tag_or_a_manifest_too_many_is_refused_and_others_are_moved(tmp_path: Path) -> None:
    settings = {"FERRO_OCI_MAX_REPOSITORY_TAGS": "2", "FERRO_OCI_MAX_REPOSITORY_MANIFESTS": "2"}
    contents = [image(bytes([number])) for number in range(3)]
    with serve(Setup(tmp_path / "storage", settings=settings), tmp_path / "log") as registry:
        for content in contents:
            for blob in content.blobs:
                registry.push_blob("a/b", blob)
        first, second, third = contents
        fields = {"Content-Type": first.media_type}
        registry.push_manifest("a/b", "v1", first.media_type, first.body)
        registry.push_manifest("a/b", "v2", second.media_type, second.body)
        for tag, content in [("v3", first), ("v1", third)]:
            refused = registry.request("PUT", f"/v2/a/b/manifests/{tag}", content.body, fields)
            assert (refused.status, b"DENIED" in refused.body) == (403, True)
        registry.push_manifest("a/b", "v1", second.media_type, second.body)
        assert registry.tags("a/b") == ["v1", "v2"]
        assert registry.request("DELETE", "/v2/a/b/manifests/v1").status == 202
        registry.push_manifest("a/b", "v3", first.media_type, first.body)


# A disk without room.


def test_on_a_full_disk_pushes_are_refused_and_reads_go_on_until_there_is_room(tmp_path: Path) -> None:
    disk, filler = tmp_path / "disk", tmp_path / "disk" / "filler"
    disk.mkdir()
    with small_disk(disk):
        filler.write_bytes(bytes(MIB))
        setup = Setup(disk / "storage", settings={"FERRO_OCI_MIN_FREE_BYTES": "0"})
        with serve(setup, tmp_path / "log") as registry:
            kept, refused = push_until_refused(registry)
            assert refused.status in (503, 507)
            assert refused.headers["Retry-After"]
            assert_readable(registry, kept)

            filler.unlink()
            kept[push(registry, b"once more")] = b"once more"
            assert_readable(registry, kept)
        with serve(setup, tmp_path / "log2") as registry:
            assert_readable(registry, kept)


def test_before_the_disk_is_full_new_content_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    content = image(b"layer")
    with serve(Setup(tmp_path / "storage"), tmp_path / "log") as registry:
        for blob in content.blobs:
            registry.push_blob("a/b", blob)
        registry.push_manifest("a/b", "v1", content.media_type, content.body)
        upload = start_upload(registry)
        assert registry.request("PATCH", upload, b"hello").status == 202

    setup = Setup(tmp_path / "storage", settings={"FERRO_OCI_MIN_FREE_BYTES": str(2**60)})
    with serve(setup, tmp_path / "log2") as registry:
        manifest = {"Content-Type": content.media_type}
        assert registry.request("POST", "/v2/a/b/blobs/uploads/", b"").status == 507
        assert registry.request("PATCH", upload, b"world").status == 507
        assert registry.request("PUT", "/v2/a/b/manifests/v2", content.body, manifest).status == 507
        # What is staged takes no more room as a blob, and what is deleted takes less.
        digest = hashlib.sha256(b"hello").hexdigest()
        assert registry.request("PUT", f"{upload}?digest=sha256:{digest}", b"").status == 201
        assert registry.manifest("a/b").body == content.body
        assert registry.request("DELETE", "/v2/a/b/manifests/v1").status == 202


def test_a_registry_that_is_read_only_serves_what_it_has(tmp_path: Path) -> None:
    with serve(Setup(tmp_path / "storage"), tmp_path / "log") as registry:
        digest = push(registry, b"content")

    setup = Setup(tmp_path / "storage", workers=2, settings={"FERRO_OCI_READ_ONLY": "true"})
    with serve(setup, tmp_path / "log2") as registry:
        assert registry.request("GET", f"/v2/a/b/blobs/{digest}").body == b"content"
        refused = registry.request("POST", "/v2/a/b/blobs/uploads/", b"")
        assert (refused.status, b"UNSUPPORTED" in refused.body) == (405, True)
        assert registry.request("DELETE", f"/v2/a/b/blobs/{digest}").status == 405
        assert registry.request("GET", "/ready").status == 200


# What the tests say to a server, and see of it.


@contextmanager
def connect(registry: Registry) -> Iterator[socket.socket]:
    host, port = registry.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        yield peer


def head(method: str, target: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: registry.test", *lines, "", ""]).encode()


def read_reply(peer: socket.socket) -> Reply:
    response = http.client.HTTPResponse(peer)
    response.begin()
    return Reply(response.status, response.headers, response.read())


def seconds_until_closed(peer: socket.socket, trickle: bytes = b"") -> float:
    """Wait until the server closes the connection, whatever it says before; send a little from time to time."""
    return _seconds_until(peer, trickle, lambda: peer.recv(65536) == b"")


def seconds_until_answered(peer: socket.socket, trickle: bytes) -> float:
    """Wait until the server says something, and leave it there; send a little from time to time."""
    return _seconds_until(peer, trickle, lambda: peer.recv(1, socket.MSG_PEEK) != b"")


def _seconds_until(peer: socket.socket, trickle: bytes, done: Callable[[], bool]) -> float:
    began = time.monotonic()
    peer.settimeout(0.05)
    while time.monotonic() - began < SECONDS + PATIENCE:
        try:
            if done():
                break
        except TimeoutError:
            with suppress(OSError):
                peer.sendall(trickle)
        except ConnectionError:
            break
    peer.settimeout(30)
    return time.monotonic() - began


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def blob_files(registry: Registry) -> int:
    """How many blobs the server has open."""
    return sum("/blobs/" in link for link in _open_files(registry))


def is_connected(registry: Registry, peer: socket.socket) -> bool:
    """Whether the server's end of a connection is there, as the system tells."""
    ends = [f":{int(registry.address.rpartition(':')[2]):04X}", f":{peer.getsockname()[1]:04X}"]
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any([end[-5:] for end in line.split()[1:3]] == ends for line in lines)


def _open_files(registry: Registry) -> list[str]:
    parent = registry.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    found = []
    for pid in children or [str(parent)]:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            # It may be closed meanwhile.
            with suppress(OSError):
                found.append(str(file.readlink()))
    return found


def start_upload(registry: Registry) -> str:
    started = registry.request("POST", "/v2/a/b/blobs/uploads/", b"")
    assert started.status == 202
    return str(started.headers["Location"])


def finish_upload(registry: Registry, upload: str, first: bytes, second: bytes) -> None:
    """Send the rest of an upload that has its first bytes, and see that it is whole."""
    size, digest = len(first), f"sha256:{hashlib.sha256(first + second).hexdigest()}"
    span = {"Content-Range": f"{size}-{size + len(second) - 1}"}
    assert registry.request("PATCH", upload, second, span).status == 202
    assert registry.request("PUT", f"{upload}?digest={digest}", b"").status == 201
    assert registry.request("GET", f"/v2/a/b/blobs/{digest}").body == first + second


def push(registry: Registry, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert registry.request("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", content).status == 201
    return digest


def push_until_refused(registry: Registry) -> tuple[dict[str, bytes], Reply]:
    """Push blobs until one is refused; what was acknowledged, and the refusal."""
    kept: dict[str, bytes] = {}
    for number in range(100):
        content = bytes([number]) * (300 * 1024)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        reply = registry.request("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", content)
        if reply.status != 201:
            return kept, reply
        kept[digest] = content
    raise AssertionError("the disk is never full")


def assert_readable(registry: Registry, kept: dict[str, bytes]) -> None:
    for digest, content in kept.items():
        assert registry.request("HEAD", f"/v2/a/b/blobs/{digest}").status == 200
        assert registry.request("GET", f"/v2/a/b/blobs/{digest}").body == content
