"""A proxy before a server that speaks HTTP, and what goes wrong on the way. It knows nothing of what passes.

Every connection carries one request. A fault is chosen by whoever tests, request by request.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")
_CONNECTION = re.compile(rb"(?im)^connection:[^\r]*\r\n")


@dataclass(frozen=True)
class Request:
    """The head of a request."""

    method: str
    target: str
    size: int


@dataclass(frozen=True)
class Fault:
    """What happens to a request, from its way there to its way back; by default it passes."""

    takes: int | None = None
    """The connection is cut when so many bytes of the body have come."""
    flips: bool = False
    """A bit of the body changes on its way."""
    is_effective: bool = True
    """Whether the server sees the request."""
    gives: int | None = None
    """The connection is cut when so many bytes of the answer's body have gone."""
    is_empty: bool = False
    """The answer has no body, and says so."""
    answer: tuple[int, str] | None = None
    """What is answered instead of what the server says."""
    is_silent: bool = False
    """There is no answer, and the connection stays open."""


Chooser = Callable[[Request], Fault | None]


def refused(status: int = 503, code: str = "SlowDown") -> Fault:
    """The server does not do it, and says so."""
    return Fault(is_effective=False, answer=(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>"))


@dataclass
class FaultProxy:
    """Where it listens, and what it does."""

    address: str = ""
    choose: Chooser = lambda _: None
    before: Callable[[Request], Awaitable[None]] | None = None
    """Awaited before a request goes on to the server."""
    seen: list[Request] = field(default_factory=list)

    def once(self, fault: Fault, is_meant: Callable[[Request], bool] = lambda _: True) -> None:
        """Let a fault happen to the first request that is meant."""
        faults = [fault]
        self.choose = lambda request: faults.pop() if faults and is_meant(request) else None

    def always(self, fault: Fault, is_meant: Callable[[Request], bool] = lambda _: True) -> None:
        """Let a fault happen to all requests that are meant."""
        self.choose = lambda request: fault if is_meant(request) else None

    def heal(self) -> None:
        """Let everything pass."""
        self.choose = lambda _: None


@asynccontextmanager
async def fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """Run a proxy on the running loop, before the server at ``upstream``, until the block ends."""
    proxy = FaultProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await _carry(proxy, upstream, reader, writer)
        finally:
            await _close(writer)
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.address = f"{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(proxy: FaultProxy, upstream: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    length = _LENGTH.search(head)
    request = Request(method, target, int(length[1]) if length else 0)
    proxy.seen.append(request)
    fault = proxy.choose(request) or Fault()
    if proxy.before is not None:
        await proxy.before(request)
    if fault.takes is not None:
        await reader.readexactly(fault.takes)
        return
    body = await reader.readexactly(request.size)
    if fault.flips:
        body = bytes([body[0] ^ 1]) + body[1:]
    answer = await _ask(upstream, head, body) if fault.is_effective else b""
    if fault.is_silent:
        await reader.read()
        return
    if fault.answer is not None:
        status, text = fault.answer
        answer = f"HTTP/1.1 {status} x\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
    if fault.is_empty:
        answer = _LENGTH.sub(b"Content-Length: 0", answer[: answer.index(b"\r\n\r\n") + 4], count=1)
    if fault.gives is not None:
        answer = answer[: answer.index(b"\r\n\r\n") + 4 + fault.gives]
    writer.write(answer)
    await writer.drain()


async def _ask(upstream: str, head: bytes, body: bytes) -> bytes:
    """All that the server answers."""
    head = _CONNECTION.sub(b"", head)[:-2] + b"Connection: close\r\n\r\n"
    host, port = upstream.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head + body)
        await writer.drain()
        return await reader.read()
    finally:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and wait for that: what is still to be closed when its loop ends is a socket left open."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
