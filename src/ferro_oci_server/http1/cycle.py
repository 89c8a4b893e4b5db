"""One request and its response, as an ASGI application sees them.

    connection --feed, complete, vanish--> Cycle <--receive, send-- application
                                             +--bytes--> connection

Spec: ASGI 3.0, HTTP.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import TYPE_CHECKING, Any

from ferro_oci_server.http1.response import CONTINUE, FAILURE, Framing

if TYPE_CHECKING:
    from ferro_oci_server.http1.connection import Connection

__all__ = ["Application", "Cycle", "Message", "Spawn"]

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

# Smaller bodies are copied behind their heads, to leave in one packet; larger ones are written after them.
_JOINED = 16 * 1024

_log = logging.getLogger("ferro_oci_server")


class Cycle:
    """One request, from its head on, until its response is whole or cannot be."""

    __slots__ = (
        "_answered",
        "_body",
        "_connection",
        "_gone",
        "_has_ended",
        "_response",
        "_started",
        "_task",
        "_waiter",
        "_wants_continue",
        "announced",
        "buffered",
        "complete",
        "framing",
        "scope",
    )

    def __init__(
        self, connection: "Connection", scope: dict[str, Any], *, keeps_alive: bool, wants_continue: bool
    ) -> None:
        self.scope = scope
        self.framing = Framing(scope["method"], scope["http_version"], keeps_alive=keeps_alive)
        self.complete = False
        """Whether all of the request has arrived."""
        self.buffered = 0
        """How many bytes of the body wait for the application."""
        self.announced = 0
        """How many bytes of the body are still to come, as far as its length was told."""
        self._connection = connection
        self._wants_continue = wants_continue
        self._body: list[bytes] = []
        # Whether the application has been told of the end of the body; whether nothing more can arrive.
        self._has_ended = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._response: Message | None = None
        # Whether the head of the response has been written, and all of it.
        self._started = False
        self._answered = False

    def start(self, spawn: Spawn, application: Application) -> None:
        """Let the application answer."""
        self._task = spawn(self._run(application))

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._body.append(piece)
        self.buffered += len(piece)
        self.announced -= len(piece)

    def vanish(self) -> None:
        """Know that no more of the request will arrive."""
        self._gone = True
        self.wake()

    def wake(self) -> None:
        """Let the application go on that waits for what has arrived."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _run(self, application: Application) -> None:
        try:
            await application(self.scope, self._receive, self._send)
        except Exception:
            _log.exception("the application has failed")
        finally:
            if not self._started:
                self.framing.keeps_alive = False
                self._started = self._answered = True
                self._connection.write(FAILURE)
            self._connection.finish(self, answered=self._answered)

    async def _receive(self) -> Message:
        while not (self._body or self._gone or self._answered or (self.complete and not self._has_ended)):
            if self._wants_continue and not self._started:
                self._connection.write(CONTINUE)
            self._wants_continue = False
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._answered or (not self._body and (self._gone or self._has_ended)):
            return {"type": "http.disconnect"}
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body, self.buffered = [], 0
        self._has_ended = self.complete
        self._connection.regulate()
        return {"type": "http.request", "body": body, "more_body": not self._has_ended}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # It leaves with the first part of its body.
            self._response = message
            return
        if self._answered:
            raise RuntimeError("the response is whole already")
        body, more = message.get("body", b""), message.get("more_body", False)
        head = b"" if self._started else self._head(None if more else len(body))
        self._started = True
        part = self.framing.part(body, more=more)
        if len(part) > _JOINED and head:
            self._connection.write(head)
            self._connection.write(part)
        elif more:
            self._connection.write(head + part)
        else:
            self._connection.write_soon(head + part)
        if more:
            await self._connection.drained()
        else:
            self._answered = True
            self.wake()

    def _head(self, length: int | None) -> bytes:
        response = self._response
        if response is None:
            raise RuntimeError("a response begins with its head")
        # With the answer all given, the rest of a request is not waited for.
        if self._connection.is_last or not (self.complete or length is None):
            self.framing.keeps_alive = False
        return self.framing.head(response["status"], self._connection.date, response.get("headers", ()), length)
