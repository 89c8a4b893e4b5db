"""The ASGI application: routes looked up, requests answered, errors rendered, exchanges observed.

server -> Router.__call__ -> match -> admission -> handler -> service
                +-- one response, or one error in the specification's shape -- observers
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import aclosing
from time import perf_counter
from typing import Any
from uuid import uuid4

from ferro_oci_server.api import responses, routes
from ferro_oci_server.api.admission import Admission
from ferro_oci_server.api.deadlines import SMALL, ReaderStalled, deliver
from ferro_oci_server.api.exchange import Exchange, Observer
from ferro_oci_server.api.handlers import base, blobs, catalog, manifests, referrers, tags, uploads
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.api.routes import Route
from ferro_oci_server.core.intake import ClientVanished
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.errors import EndpointUnknown, MethodNotAllowed, OciError, RegistryReadOnly
from ferro_oci_server.oci.ranges import ByteRange

__all__ = ["ROUTES", "Router", "router"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ROUTES: tuple[Route, ...] = (
    Route(routes.BASE, "GET", base.check, "end-1"),
    Route(routes.BASE, "HEAD", base.check),
    Route(routes.CATALOG, "GET", catalog.list_repositories),
    Route(routes.CATALOG, "HEAD", catalog.list_repositories),
    Route(routes.TAGS, "GET", tags.list_tags, "end-8a end-8b"),
    Route(routes.TAGS, "HEAD", tags.list_tags),
    Route(routes.MANIFEST, "GET", manifests.get, "end-3"),
    Route(routes.MANIFEST, "HEAD", manifests.head, "end-3"),
    Route(routes.MANIFEST, "PUT", manifests.put, "end-7a end-7b"),
    Route(routes.MANIFEST, "DELETE", manifests.delete, "end-9"),
    Route(routes.REFERRERS, "GET", referrers.list_referrers, "end-12a end-12b"),
    Route(routes.REFERRERS, "HEAD", referrers.list_referrers),
    Route(routes.BLOB, "GET", blobs.get, "end-2"),
    Route(routes.BLOB, "HEAD", blobs.head, "end-2"),
    Route(routes.BLOB, "DELETE", blobs.delete, "end-10"),
    Route(routes.UPLOADS, "POST", uploads.start, "end-4a end-4b end-4c end-11"),
    Route(routes.UPLOAD, "GET", uploads.status, "end-13"),
    Route(routes.UPLOAD, "HEAD", uploads.status),
    Route(routes.UPLOAD, "PATCH", uploads.append, "end-5"),
    Route(routes.UPLOAD, "PUT", uploads.complete, "end-6"),
    Route(routes.UPLOAD, "DELETE", uploads.cancel, "end-14"),
)

_READING = frozenset({"GET", "HEAD"})

_API_VERSION = (b"docker-distribution-api-version", b"registry/2.0")

_log = logging.getLogger("ferro_oci_server")


class Router:
    """A plain ASGI application, for HTTP and lifespan: serve it, or mount it at the root of another.

    Where it is served by itself, the end of its lifespan closes the state.
    """

    def __init__(
        self,
        table: Iterable[Route],
        state: AppState | None = None,
        observers: Iterable[Observer] = (),
        limits: Limits | None = None,
    ) -> None:
        self._state = state
        self._limits = limits
        self._bounds = limits or Limits()
        self._admission = Admission(self._bounds)
        self._observers = tuple(observers)
        self._routes = tuple(table)
        self._methods: dict[str, dict[str, routes.Handler]] = {}
        for route in self._routes:
            self._methods.setdefault(route.pattern, {})[route.method] = route.handler

    @property
    def table(self) -> tuple[Route, ...]:
        """All that it serves."""
        return self._routes

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who is told of its exchanges."""
        return self._observers

    def merge(self, other: "Router") -> "Router":
        """A router with the routes and observers of both, on the state and the limits of the one that has them."""
        return Router(
            (*self._routes, *other._routes),
            self._state or other._state,
            (*self._observers, *other._observers),
            self._limits or other._limits,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope. Spec: ASGI 3.0, HTTP and lifespan; nothing else is taken."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        request = Request.of(scope, receive, self._bounds)
        exchange = Exchange(request)
        self._admission.running += 1
        try:
            response = await self._answer(request, exchange)
            response.headers.append(_API_VERSION)
            response.headers.extend(request.added)
            exchange.status = response.status
            await self._respond(response, exchange, send)
        finally:
            self._admission.running -= 1
            exchange.seconds = perf_counter() - started
            for observe in self._observers:
                observe(exchange)

    async def _answer(self, request: Request, exchange: Exchange) -> Response:
        try:
            request.check()
            handler = await self._admit(request, exchange)
            return await handler(self._required_state, request)
        except OciError as exc:
            return responses.error(exc, request.root)
        except ClientVanished:
            if request.stalled:
                return responses.too_slow(request.root, request.has_own_connection)
            exchange.vanished = True
            return Response(400, [])
        except Exception as exc:
            self._note(exc, exchange)
            return responses.error(exc, request.root, exchange.reference)

    async def _respond(self, response: Response, exchange: Exchange, send: Send) -> None:
        """Send a response. Once its head is gone, all that can be said is said by ending it before its body ends."""
        try:
            await _send(response, exchange, send, self._bounds.response_piece_seconds)
        except ReaderStalled:
            exchange.vanished = True
        except StoreError as exc:
            self._note(exc, exchange)
            raise
        finally:
            if response.reader is not None:
                await response.reader.close()

    @staticmethod
    def _note(exc: Exception, exchange: Exchange) -> None:
        """Log what is not the client's fault, and leave its reference for the answer and the observers."""
        exchange.error = exc
        exchange.reference = uuid4().hex
        level = logging.WARNING if isinstance(exc, StoreError) else logging.ERROR
        _log.log(level, "request failed", exc_info=exc, extra={"reference": exchange.reference})

    async def _admit(self, request: Request, exchange: Exchange) -> routes.Handler:
        """The handler of a request that may go on now."""
        target = routes.target(request)
        methods = self._methods.get(target.pattern)
        if methods is None:
            raise EndpointUnknown("no endpoint has this path")
        exchange.pattern = target.pattern
        handler = methods.get(request.method)
        if handler is None:
            raise MethodNotAllowed(sorted(methods))
        if target.pattern.startswith(routes.BASE):
            # Probes and metrics are answered under any load: who asks for them wants to know of it.
            self._admission.check_load()
        if request.method not in _READING and target.pattern.startswith(routes.BASE):
            if self._bounds.read_only:
                raise RegistryReadOnly(sorted(_READING & methods.keys()))
            await self._admission.check_room(target.pattern, request.method, self._required_state)
        return handler

    @property
    def _required_state(self) -> AppState:
        if self._state is None:
            raise RuntimeError("these routes are merged into a router that has a state before they are served")
        return self._state

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        if self._state is not None:
            self._state.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._state is not None:
            await self._state.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _send(response: Response, exchange: Exchange, send: Send, seconds: float) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    reader, body = response.reader, response.body
    if exchange.request.method == "HEAD":
        body = b""
    elif reader is not None:
        part = response.byte_range or ByteRange(0, reader.size)
        async with aclosing(reader.pieces(*part)) as pieces:
            if part.stop - part.start > SMALL:
                await _stream(pieces, exchange, send, seconds)
                return
            body = b"".join([piece async for piece in pieces])
    exchange.sent = len(body)
    await deliver(send, body, seconds, more=False)


async def _stream(pieces: AsyncIterator[bytes], exchange: Exchange, send: Send, seconds: float) -> None:
    gone = asyncio.ensure_future(exchange.request.gone())
    try:
        async for piece in pieces:
            # Some servers take what is sent to a client that is no longer there, and throw it away.
            if gone.done():
                exchange.vanished = True
                return
            exchange.sent += len(piece)
            await deliver(send, piece, seconds, more=True)
        await deliver(send, b"", seconds, more=False)
    finally:
        gone.cancel()


def router(state: AppState, *, observers: Iterable[Observer] = (), limits: Limits | None = None) -> Router:
    """The API of a registry on ``state``, open to everybody: authentication is middleware above it."""
    return Router(ROUTES, state, observers, limits)
