"""A client that calls an ASGI application without a server, a piece of the body at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

__all__ = ["AsgiClient", "Reply"]

App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response; the names of its headers are in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that is there once, or ``None``."""
        values = self.all(name)
        if len(values) > 1:
            raise LookupError(f"{name} is there {len(values)} times")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """The values of a header, one for each time that it is there."""
        return [value for key, value in self.headers if key == name]

    @property
    def location(self) -> str:
        """The ``Location``, which must be there."""
        value = self.header("location")
        if value is None:
            raise LookupError(f"status {self.status} without a Location: {self.body[:200]!r}")
        return value


class AsgiClient:
    """Sends requests to ``app``, which is mounted at ``root_path``."""

    def __init__(self, app: App, *, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] | AsyncIterator[bytes] = b"",
        vanish: bool = False,
    ) -> Reply:
        """Send one request and read all of its response.

        ``target`` is a path and a query as they stand in a request line. A body of bytes is announced by its length;
        one of pieces comes without. With ``vanish`` the client goes away where the body would end.
        """
        path, _, query = target.partition("?")
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        given = {key.lower() for key, _ in fields}
        if "host" not in given:
            fields.append(("Host", "registry.test"))
        if not given & {"content-length", "transfer-encoding"}:
            if not isinstance(body, bytes):
                fields.append(("Transfer-Encoding", "chunked"))
            elif body or method in ("POST", "PUT", "PATCH"):
                fields.append(("Content-Length", str(len(body))))
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": self._root_path,
            "headers": [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in fields],
            "client": ("127.0.0.1", 12345),
            "server": ("127.0.0.1", 8080),
        }
        messages = _messages(body, vanish)
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, messages.__anext__, send)
        start, *rest = sent
        return Reply(
            status=start["status"],
            headers=[(key.decode("latin-1"), value.decode("latin-1")) for key, value in start["headers"]],
            body=b"".join(message.get("body", b"") for message in rest),
        )


async def _messages(
    body: bytes | Iterable[bytes] | AsyncIterator[bytes], vanish: bool
) -> AsyncIterator[dict[str, Any]]:
    async for piece in _pieces(body):
        yield {"type": "http.request", "body": piece, "more_body": True}
    if vanish:
        yield {"type": "http.disconnect"}
    else:
        yield {"type": "http.request", "body": b"", "more_body": False}
        # The client waits for its response as long as it takes.
        await asyncio.get_running_loop().create_future()


async def _pieces(body: bytes | Iterable[bytes] | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, AsyncIterator):
        async for piece in body:
            yield piece
    else:
        for piece in body:
            yield piece
