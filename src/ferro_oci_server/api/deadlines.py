"""How long a peer may take.

1. Only the time in which it is waited for counts: that a store is slow is not its fault.
2. What may arrive or leave meanwhile is lost: behind a missed deadline nothing of the exchange goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from math import inf
from typing import Any

from ferro_oci_server.api.limits import Limits

__all__ = ["SMALL", "Pace", "ReaderStalled", "deliver"]

Message = MutableMapping[str, Any]

SMALL = 64 * 1024
"""How many bytes leave at once, whatever their reader does: a server and the system under it hold more."""


class ReaderStalled(Exception):
    """Raised when a client does not take what it has asked for."""


class Pace:
    """The deadline of one body: for each message, and on average for all of them.

    A body may have a hundred thousand messages, so there is one timer for all of them, which looks when it is due
    whether the deadline that it was set for still holds.
    """

    __slots__ = ("_due", "_is_late", "_limits", "_timer", "_timer_at", "_waited", "_waiting")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waited = 0.0
        self._waiting: asyncio.Task[Any] | None = None
        self._due = 0.0
        self._is_late = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    async def next(self, receive: Callable[[], Awaitable[Message]], received: int) -> Message:
        """The next message, of a body of which so many bytes have been ``received``.

        Raises:
            TimeoutError: it does not come in time.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._due = began + self._left(received)
        if self._due < self._timer_at:
            self.stop()
            self._set_timer(loop)
        self._waiting = task = asyncio.current_task()
        try:
            return await receive()
        except asyncio.CancelledError:
            # Whoever else has cancelled the task is not to be kept from it.
            if self._is_late and task is not None and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None
            self._waited += loop.time() - began

    def stop(self) -> None:
        """Let go of the timer; the last call."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, inf

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._timer_at = loop.call_at(self._due, self._look), self._due

    def _look(self) -> None:
        self._timer, self._timer_at = None, inf
        # Where nothing is waited for, the next message sets the timer again.
        if self._waiting is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            self._set_timer(loop)
            return
        self._is_late = True
        self._waiting.cancel()

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
