"""An application on the server, in a thread of its own, and what a test says to it over a socket."""

import asyncio
import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

from ferro_oci_server.http1.cycle import Application
from ferro_oci_server.http1.server import Http1Server, listen

__all__ = ["GET", "MIB", "Answer", "Serving", "answers", "echo", "read_all", "serving", "wait_until"]

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
MIB = 1024 * 1024

PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass(slots=True)
class Serving:
    """A server that runs."""

    port: int
    server: Http1Server
    loop: asyncio.AbstractEventLoop

    @contextmanager
    def peer(self) -> Iterator[socket.socket]:
        """A connection to it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as peer:
            yield peer

    def say(self, *pieces: bytes) -> bytes:
        """Send some pieces on a connection, end it there, and return all that comes back."""
        with self.peer() as peer:
            for piece in pieces:
                peer.sendall(piece)
            peer.shutdown(socket.SHUT_WR)
            return read_all(peer)

    def stop(self) -> None:
        """Stop it, and wait until it has."""
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(PATIENCE)


@contextmanager
def serving(application: Application, *, head_seconds: float = 5.0, max_connections: int = 100) -> Iterator[Serving]:
    """Serve an application."""
    ready: list[Serving] = []
    began, ends = threading.Event(), asyncio.Event()

    async def serve() -> None:
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        server = Http1Server(application, listener, head_seconds=head_seconds, max_connections=max_connections)
        ready.append(Serving(port, server, asyncio.get_running_loop()))
        began.set()
        await ends.wait()
        await asyncio.wait_for(server.stop(), PATIENCE)

    thread = threading.Thread(target=lambda: uvloop.run(serve()))
    thread.start()
    assert began.wait(PATIENCE)
    try:
        yield ready[0]
    finally:
        ready[0].loop.call_soon_threadsafe(ends.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def read_all(peer: socket.socket) -> bytes:
    """All that still comes."""
    found = b""
    while piece := peer.recv(65536):
        found += piece
    return found


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answers(said: bytes, *methods: str) -> list[Answer]:
    """The responses in what a server said, to requests of such methods (GET, if none are given)."""
    found = []
    stream = _Stream(said)
    for method in methods or ("GET",) * said.count(b"HTTP/1.1 "):
        response = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        response.begin()
        found.append(Answer(response.status, response.headers, response.read()))
    return found


class _Kept(io.BytesIO):
    def close(self) -> None:
        """Stay open: a response closes what it was read from."""


class _Stream:
    """Bytes as what a response is read from: one behind the other, none of them twice."""

    def __init__(self, content: bytes) -> None:
        self._file = _Kept(content)

    def makefile(self, *_: object) -> Any:
        return self._file


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the method, the path, the query and the body."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    said = b" ".join([scope["method"].encode(), scope["raw_path"], scope["query_string"], body])
    headers = [(b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})
