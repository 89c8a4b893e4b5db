"""What observers are told of a request and its response, once both are done."""

from collections.abc import Callable

from ferro_oci_server.api.requests import Request

__all__ = ["Exchange", "Observer"]


class Exchange:
    """One request and its response."""

    __slots__ = ("error", "pattern", "reference", "request", "seconds", "sent", "status", "vanished")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.pattern = "unknown"
        """The pattern of its path: one of the routes', so that there are few."""
        self.status = 0
        self.seconds = 0.0
        self.sent = 0
        """How many bytes of the body were sent; ``request.received`` has the other way."""
        self.vanished = False
        """Whether the client went away, or is taken for gone, before it had sent its body or taken the response's."""
        self.error: Exception | None = None
        """What went wrong here, where the status is 5xx."""
        self.reference = ""
        """Names the error in the log and in the answer."""


Observer = Callable[[Exchange], None]
"""Told of every exchange, on the event loop; must be quick and must not raise."""
