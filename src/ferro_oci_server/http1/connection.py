"""One connection: requests are read off it one behind the other, and answered in their order.

    socket --data_received--> parser --on_...--> Cycle, Cycle, ... --one at a time--> application

1. A connection on which no request is being answered has a deadline, for a whole head to arrive.
2. What is not wanted yet stays with its sender: no more is read than a few pieces of a body, or a few heads.
3. What is not HTTP/1.1 is refused, and nothing is read behind it: two readers must not see two things there.
4. A connection ends in a way that lets its peer read the answer: what still comes is read and dropped for a moment.

Spec: RFC 9112.
"""

import asyncio
import socket
import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from ferro_oci_server.http1.cycle import Cycle
from ferro_oci_server.http1.response import BAD_REQUEST, HEAD_TOO_LARGE

if TYPE_CHECKING:
    from ferro_oci_server.http1.server import Http1Server

__all__ = ["Connection"]

# What the application itself refuses is much less: this is only what is held before it is asked.
_MAX_HEAD = 64 * 1024
# With one read more, all that an upload holds before its application asks for it.
_MAX_BUFFERED = 64 * 1024
_MAX_WAITING = 8
# How much is parsed at once: it can be hundreds of requests, and each takes room. Less makes chunked uploads slower.
_STEP = 16 * 1024

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_VERSIONS = frozenset({"1.0", "1.1"})

# More than this leaves at once, whatever it is.
_MAX_HELD = 16 * 1024

# struct linger: what is not sent yet is forgotten, and the peer learns that the connection broke.
_NO_LINGER = struct.pack("ii", 1, 0)

# How long an answer may take to be read by a peer that still sends.
_LINGER_SECONDS = 2.0


class Connection(asyncio.BufferedProtocol):
    """Serves one peer. Its callbacks are the event loop's and the parser's."""

    def __init__(self, server: "Http1Server") -> None:
        self._server = server
        self._loop = server.loop
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._client: tuple[str, int] | None = None
        self._address: tuple[str, int] | None = None
        # How much has come since the last request or piece of a body: of a head, of a trailer, between chunks.
        self._head_bytes = 0
        # Of the head that is arriving.
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        # The request whose body is arriving, those that wait, and the one that is being answered.
        self._incoming: Cycle | None = None
        self._declined: Cycle | None = None
        self._waiting: deque[Cycle] = deque()
        self._active: Cycle | None = None
        self._is_advancing = False
        # What has come and is not parsed yet, since too many wait.
        self._unread = b""
        # No request is read behind what was read already; something came behind it; nothing more can come;
        # what is then to be said, after all answers; it is over.
        self._is_deaf = False
        self._is_followed = False
        self._has_ended = False
        self._last_words = b""
        self._is_closing = False
        self._is_reading = True
        # Answers that leave in a moment, together with those of other connections.
        self._held = b""
        self._drain: asyncio.Future[None] | None = None
        self._is_congested = False
        self._deadline = 0.0
        # How much the peer had still to take when that was last looked at.
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def date(self) -> bytes:
        """The line that tells a response's date."""
        return self._server.date

    @property
    def is_last(self) -> bool:
        """Whether no request is to follow, whatever the peer wants."""
        return self._server.is_stopping

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = transport.get_extra_info("peername")
        self._address = transport.get_extra_info("sockname")
        self._server.opened(self)
        self._deadline = self._loop.time() + self._server.head_seconds
        self._timer = self._loop.call_at(self._deadline, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the requests know that there is nobody to answer."""
        self._is_closing = self._is_deaf = True
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        self._waiting.clear()
        for cycle in (self._incoming, self._active):
            if cycle is not None:
                cycle.vanish()
        # They know this connection. Apart, all are freed at once.
        self._incoming = None
        del self._parser
        self._server.closed(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: one place for all connections, since they are taken from there at once."""
        return self._server.scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Read requests."""
        if self._is_deaf:
            self._is_followed = True
            return
        if not self._head_bytes and self._incoming is None and self._active is None:
            self._deadline = self._loop.time() + self._server.head_seconds
        self._read(self._server.scratch[:nbytes])
        if self._incoming is not None:
            self._incoming.wake()
        self._advance()

    def eof_received(self) -> bool:
        """Keep the connection for the answers, where whole requests wait for them."""
        self._is_deaf = self._has_ended = True
        if self._incoming is not None:
            self._incoming.vanish()
            self._incoming = None
        return bool(self._active or self._waiting)

    def pause_writing(self) -> None:
        """Know that the peer takes less than it gets."""
        self._is_congested = True

    def resume_writing(self) -> None:
        """Go on with who waits for that."""
        self._is_congested = False
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        self._advance()

    # What the parser tells.

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head, or of the trailer, which nobody wants."""
        if self._incoming is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head."""
        parser, headers, version = self._parser, self._headers, self._parser.get_http_version()
        if self._declined is not None:
            # Its head was read before.
            self._declined, self._url = None, b""
            return
        if self._is_deaf:
            return
        if version not in _VERSIONS:
            self._give_up(BAD_REQUEST)
            return
        method = parser.get_method().decode("ascii")
        wants_continue, keeps_alive, length = False, parser.should_keep_alive() and method != "CONNECT", 0
        for key, value in headers:
            if key == b"content-length":
                length = int(value)
            elif key == b"expect":
                wants_continue = version == "1.1" and value.lower() == b"100-continue"
            elif key == b"transfer-encoding" and version == "1.0":
                # Whoever passed it on may not know where it ends. RFC 9112 section 6.1.
                keeps_alive = False
        cycle = Cycle(
            self, self._scope(method, version, headers), keeps_alive=keeps_alive, wants_continue=wants_continue
        )
        cycle.announced = length
        self._url, self._headers = b"", []
        self._incoming = cycle
        self._waiting.append(cycle)
        if parser.should_upgrade() and method != "CONNECT":
            self._declined = cycle

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._head_bytes = 0
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        cycle = self._incoming
        if cycle is None or self._declined is not None:
            return
        cycle.complete = True
        cycle.wake()
        self._incoming = None
        self._head_bytes = 0
        if not cycle.framing.keeps_alive:
            self._is_deaf = True

    # What the requests do.

    def write(self, data: bytes) -> None:
        """Send to the peer, if it is still there."""
        self.flush()
        self._write(data)

    def write_soon(self, data: bytes) -> None:
        """The same with an answer that is whole, and may wait for others of the same moment."""
        self._held = self._held + data if self._held else data
        if len(self._held) > _MAX_HELD:
            self.flush()
        else:
            self._server.outbox.take(self)

    def flush(self) -> None:
        """Send what waits."""
        if self._held:
            held, self._held = self._held, b""
            self._write(held)

    def _write(self, data: bytes) -> None:
        # It may have found out by itself that the peer has gone, and not told yet.
        if not self._is_closing and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the peer has taken most of what it got."""
        while self._is_congested and not self._is_closing:
            self._drain = self._loop.create_future()
            await self._drain

    def regulate(self) -> None:
        """Read on, or leave what comes with its sender."""
        incoming = self._incoming
        wants = self._is_deaf or (
            not self._unread
            and len(self._waiting) <= _MAX_WAITING
            and (incoming is None or incoming.buffered <= _MAX_BUFFERED)
        )
        if wants != self._is_reading and not self._is_closing and not self._transport.is_closing():
            self._is_reading = wants
            if wants:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def finish(self, cycle: Cycle, *, answered: bool) -> None:
        """Go on behind a request whose application has ended."""
        self._active = None
        self._server.outbox.expected -= 1
        self._deadline = self._loop.time() + self._server.head_seconds
        if not answered:
            self._cut()
        elif not cycle.complete or not cycle.framing.keeps_alive or self._server.is_stopping:
            # Of what is not answered any more, the rest may be on its way.
            self._is_followed = self._is_followed or not cycle.complete or bool(self._waiting)
            self._close()
        self._advance()

    def stop(self) -> None:
        """End as soon as no request is being answered."""
        if self._active is None:
            self._close()

    def _scope(self, method: str, version: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        path, _, query = self._target().partition(b"?")
        text = path.decode("latin-1")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method,
            "scheme": "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._client,
            "server": self._address,
        }

    def _target(self) -> bytes:
        """The path and the query. RFC 9112 section 3.2."""
        url = self._url
        if not url.startswith((b"http://", b"https://")):
            return url
        before, mark, query = url.partition(b"?")
        _, _, rest = before.partition(b"://")
        _, slash, path = rest.partition(b"/")
        return slash + path + mark + query

    def _read(self, data: memoryview) -> None:
        """Parse what has come, but no further than a few requests; the rest is kept."""
        self._unread = b""
        while data and not self._is_deaf:
            if len(self._waiting) > _MAX_WAITING:
                self._unread = bytes(data)
                return
            incoming = self._incoming
            step = min(len(data), _STEP if incoming is None else max(_STEP, incoming.announced))
            self._head_bytes += step
            self._parse(data[:step])
            if self._head_bytes > _MAX_HEAD and not self._is_deaf:
                self._give_up(HEAD_TOO_LARGE)
            data = data[step:]
        self._is_followed = self._is_followed or len(data) > 0

    def _parse(self, data: memoryview | bytes) -> None:
        try:
            while data:
                try:
                    self._parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    data = self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._is_followed = True
            # Behind the last request there may be anything.
            if not self._is_deaf:
                self._give_up(BAD_REQUEST)

    def _decline(self, rest: memoryview | bytes) -> bytes:
        """What to parse, so that a request for another protocol is read as if it did not ask. RFC 9110 section 7.8.

        The parser leaves all behind its head to that protocol. Another one is told how the body is framed, and goes on.
        """
        cycle = self._declined
        if cycle is None:
            self._is_followed = True
            return b""
        self._parser = httptools.HttpRequestParser(self)
        framing = [b"%b: %b\r\n" % line for line in cycle.scope["headers"] if line[0] in _FRAMING]
        return b"".join((b"POST / HTTP/1.1\r\n", *framing, b"\r\n", rest))

    def _advance(self) -> None:
        """Let the next request be answered, if none is and the peer takes answers."""
        if self._is_advancing:
            return
        self._is_advancing = True
        server = self._server
        while self._waiting and self._active is None and not self._is_congested and not self._is_closing:
            self._active = self._waiting.popleft()
            server.outbox.expected += 1
            self._active.start(server.spawn, server.application)
            if self._unread and not self._is_deaf and len(self._waiting) <= _MAX_WAITING:
                self._read(memoryview(self._unread))
        self._is_advancing = False
        if self._last_words and self._active is None and not self._waiting:
            self.write(self._last_words)
            self._close()
        elif self._is_deaf and self._active is None and not self._waiting and self._incoming is None:
            self._close()
        self.regulate()

    def _give_up(self, words: bytes) -> None:
        """Read no more: what comes makes no sense."""
        self._is_deaf = self._is_followed = True
        if self._incoming is None:
            self._last_words = words
        else:
            # Its application gets to know, and says it.
            self._incoming.vanish()

    def _close(self) -> None:
        """Send what is to be sent, and let the peer read it."""
        if self._is_closing:
            return
        self.flush()
        self._is_closing = self._is_deaf = True
        self._waiting.clear()
        if self._transport.is_closing():
            return
        if self._has_ended or not self._is_followed:
            self._transport.close()
            return
        # To close while something still comes would make the system forget what the peer has not read yet.
        if not self._is_reading:
            self._transport.resume_reading()
        self._transport.write_eof()
        self._unsent = self._transport.get_write_buffer_size()
        self._deadline = self._loop.time() + _LINGER_SECONDS
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _cut(self) -> None:
        """End it so that nobody takes what was sent for all: where only its end tells, it must not end in order."""
        if self._is_closing:
            return
        self.flush()
        self._is_closing = self._is_deaf = True
        with suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def _look(self) -> None:
        """End a connection that is silent; look again when it could be."""
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        # A peer that takes its answer slowly is not silent.
        if self._active is not None or unsent != self._unsent:
            self._unsent = unsent
            self._deadline = now + self._server.head_seconds
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        else:
            self._is_closing = self._is_deaf = True
            self._transport.abort()


_ASGI = {"version": "3.0", "spec_version": "2.3"}
