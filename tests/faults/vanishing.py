"""A client that goes away in the middle of a chunk, in every way that there is.

What arrived before may be kept. The offset that the server then tells is one that can be gone on from, to the end.
"""

import random
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ferro_oci_server.oci.digest import Digest

from .history import Client, Fact, Lost, Recorder, Unanswered
from .operations import Place

__all__ = ["WAYS", "vanish"]

_SIZE = 700_000
_GONE_SECONDS = 20.0
_POLL_SECONDS = 0.005


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _close(connection: socket.socket) -> None:
    connection.close()


def _half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    # It may be answered or not; it ends.
    while connection.recv(4096):
        pass
    connection.close()


WAYS: Mapping[str, Callable[[socket.socket], None]] = {"RST": _reset, "FIN": _close, "FIN, reading": _half_close}
"""How the connection ends."""


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    headers: tuple[str, ...]

    def head(self, host: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}", *self.headers]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


def vanish(client: Client, place: Place, way: str, chance: random.Random) -> int:
    """Go away in a chunk or in a closing PUT; then go on to the end. Return how many invariants were looked at.

    Raises:
        Lost: it does not go on.
    """
    recorder = Recorder(client)
    content = place.content(_SIZE)
    digest = Digest.of(content, place.algorithm)
    target = f"/v2/{place.repository}/blobs/uploads/?digest-algorithm={place.algorithm}"
    location = recorder.do("POST", target, status=202).headers["Location"]
    upload = Fact("upload", place.repository, location.rpartition("/")[2])
    # Not 1: of none and of one byte, the specification's Range tells the same.
    first = chance.choice([0, 2, 100_000])
    if first:
        recorder.do("PATCH", location, content[:first], status=202, change={upload: first})
    cut = chance.choice([first, first + 2, chance.randrange(first + 2, _SIZE)])
    closing = chance.random() < 0.3
    request = _request(location, digest if closing else "", first, chunked=chance.random() < 0.5)
    _send_part(client.address, request, content[first:cut], WAYS[way])
    _go_on(client, location, content, range(first, cut + 1))
    recorder.learn({upload: _SIZE})
    change = {upload: None, Fact("blob", place.repository, digest): content}
    recorder.do("PUT", f"{location}?digest={digest}", status=201, change=change)
    recorder.check()
    return recorder.checks


def _go_on(client: Client, location: str, content: bytes, offsets: range) -> None:
    """Send the rest from where the server is, which it may not know before it notices that nobody sends any more."""
    deadline = time.monotonic() + _GONE_SECONDS
    while time.monotonic() < deadline:
        last = int(client.request("GET", location).headers["Range"].partition("-")[2])
        offset = last + 1 if last else 0
        if offset not in offsets:
            raise Lost(f"I1: the upload is at {offset}; {offsets.start} bytes were acknowledged, {offsets.stop} sent")
        headers = {"Content-Range": f"{offset}-{_SIZE - 1}"}
        # What is refused may be refused before all of it was sent, and the connection end with that.
        with suppress(Unanswered):
            status = client.request("PATCH", location, content[offset:], headers).status
            if status == 202:
                return
            if status != 416:
                raise Lost(f"I1: a chunk at the offset that was told is answered by {status}")
        time.sleep(_POLL_SECONDS)
    raise Lost(f"I7: {location} is still busy {_GONE_SECONDS} s after its client went away")


def _request(location: str, digest: str, first: int, *, chunked: bool) -> _Request:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {_SIZE - first}"
    headers = ("Content-Type: application/octet-stream", f"Content-Range: {first}-{_SIZE - 1}", framing)
    return _Request("PUT" if digest else "PATCH", f"{location}?digest={digest}" if digest else location, headers)


def _send_part(address: str, request: _Request, part: bytes, end: Callable[[socket.socket], None]) -> None:
    host, _, port = address.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=_GONE_SECONDS)
    connection.sendall(request.head(address))
    if "Transfer-Encoding: chunked" in request.headers and part:
        connection.sendall(f"{len(part):x}\r\n".encode("ascii"))
    connection.sendall(part)
    end(connection)
