"""Requests as a server would hand them over, where a test needs what no client sends."""

from collections.abc import MutableMapping
from typing import Any

from ferro_oci_server.api.app import Router

Message = MutableMapping[str, Any]


def scope(method: str = "GET", path: str = "/v2/", **changes: Any) -> dict[str, Any]:
    """A request's scope, with some of its fields changed."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"registry.test")],
        "client": ("127.0.0.1", 12345),
        "server": ("127.0.0.1", 8080),
        **changes,
    }


async def call(app: Router, request: dict[str, Any]) -> Message:
    """Serve a request without a body; return the head of the response."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(request, receive, send)
    return sent[0]
