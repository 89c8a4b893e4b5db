"""Connections to a PostgreSQL database: opened when they are needed, kept, and never more than so many.

asyncpg has a pool too, which asks the server to forget everything each time a connection comes back, and takes as long
for that as our questions take. Nothing here leaves anything behind on a connection but prepared statements, so a list
does; a connection of which that is not certain is not used again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

__all__ = ["Pool"]

# Firewalls forget connections that are idle for long, and tell nobody.
_IDLE_SECONDS = 120.0
_CLOSE_SECONDS = 5.0


class Pool:
    """Up to ``size`` connections, which ``connect`` opens. Used by one event loop."""

    def __init__(self, connect: Callable[[], Awaitable["Connection"]], size: int) -> None:
        self._connect = connect
        self._size = size
        self._slots = asyncio.Semaphore(size)
        self._free: list[tuple[Connection, float]] = []
        """The last one used is the first to be used again, with the time since when it is free."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """A connection for one user at a time; who comes first is served first."""
        async with self._slots:
            connection = await self._take()
            try:
                yield connection
            except Exception:
                self._give(connection)
                raise
            except BaseException:
                # Its user was stopped while it waited for an answer, which may come yet.
                connection.terminate()
                raise
            else:
                self._give(connection)

    async def _take(self) -> "Connection":
        now = asyncio.get_running_loop().time()
        while self._free:
            connection, since = self._free.pop()
            if connection.is_closed():
                continue
            if now - since < _IDLE_SECONDS:
                return connection
            connection.terminate()
        return await self._connect()

    def _give(self, connection: "Connection") -> None:
        if connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
        else:
            self._free.append((connection, asyncio.get_running_loop().time()))

    def clear(self) -> None:
        """Drop what is free: one connection was lost, and the others may be, though nobody has noticed yet."""
        for connection, _ in self._free:
            connection.terminate()
        self._free.clear()

    async def close(self) -> None:
        """Wait for those who have a connection, and close all."""
        for _ in range(self._size):
            await self._slots.acquire()
        for connection, _ in self._free:
            try:
                await connection.close(timeout=_CLOSE_SECONDS)
            except Exception:
                connection.terminate()
        self._free.clear()
