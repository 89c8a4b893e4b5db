"""How long a peer may take.

1. Only the time in which it is waited for counts: that a store is slow is not its fault.
2. What may arrive or leave meanwhile is lost: behind a missed deadline nothing of the exchange goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import Any

from ferro_oci_server.api.limits import Limits

__all__ = ["SMALL", "Pace", "ReaderStalled", "deliver"]

Message = MutableMapping[str, Any]

SMALL = 64 * 1024
"""How many bytes leave at once, whatever their reader does: a server and the system under it hold more."""


class ReaderStalled(Exception):
    """Raised when a client does not take what it has asked for."""


class Pace:
    """The deadline of one body: for each message, and on average for all of them."""

    __slots__ = ("_limits", "_waited")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waited = 0.0

    async def next(self, receive: Callable[[], Awaitable[Message]], received: int) -> Message:
        """The next message, of a body of which so many bytes have been ``received``.

        Raises:
            TimeoutError: it does not come in time.
        """
        began = monotonic()
        try:
            async with asyncio.timeout(self._left(received)):
                return await receive()
        finally:
            self._waited += monotonic() - began

    def _left(self, received: int) -> float:
        limits = self._limits
        if not limits.body_min_bytes_per_second:
            return limits.body_idle_seconds
        earned = received / limits.body_min_bytes_per_second
        return min(limits.body_idle_seconds, max(limits.body_grace_seconds, earned) - self._waited)


async def deliver(send: Callable[[Message], Awaitable[None]], body: bytes, seconds: float, *, more: bool) -> None:
    """Send a body, or a part of one behind which ``more`` comes.

    Raises:
        ReaderStalled: its reader does not take it in time.
    """
    if not more and len(body) <= SMALL:
        await send({"type": "http.response.body", "body": body})
        return
    try:
        async with asyncio.timeout(seconds):
            await send({"type": "http.response.body", "body": body, "more_body": more})
    except TimeoutError:
        raise ReaderStalled from None
