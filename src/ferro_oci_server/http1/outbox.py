"""Answers that leave together where a server is busy.

To wake a peer that sleeps costs more than to send to one that is awake, and a proxy, or whatever else has many
connections here, sleeps until something comes on any of them. So where several requests are being answered, their
answers are held for a turn of the event loop, and leave one behind the other: it is woken by the first, and finds the
others.
"""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferro_oci_server.http1.connection import Connection

__all__ = ["Outbox"]

# With no more requests at a time, a peer does better with each answer at once, while the next is being made.
_FEW = 3
# With more answers held, the first would wait too long.
_MANY = 16


class Outbox:
    """Knows the connections of one event loop that hold something to send."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.expected = 0
        """How many requests are being answered."""
        self._loop = loop
        self._holding: list[Connection] = []

    def take(self, connection: "Connection") -> None:
        """Let a connection send what it holds, now or in a moment."""
        self._holding.append(connection)
        if self.expected <= _FEW or len(self._holding) >= _MANY:
            self._flush()
        elif len(self._holding) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        holding, self._holding = self._holding, []
        for connection in holding:
            connection.flush()
