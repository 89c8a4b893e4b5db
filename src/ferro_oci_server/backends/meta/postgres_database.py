"""A PostgreSQL database as a database of a registry's tables, which any number of processes share.

1. Every transaction runs READ COMMITTED, beside others. What it relies on it locks first, as ``reviews`` says, so that
   a statement behind the lock sees what the one before has committed.
2. A question of several statements is REPEATABLE READ, and so answered as of one time.
3. What has certainly come to nothing is done anew: a transaction that the server has undone to end a deadlock, and one
   whose connection was lost before it was told to commit. Where it was told to, nobody knows: the caller is told so.
4. What was accepted is done, whether its caller still waits or not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from ferro_oci_server.backends.meta.database import Work
from ferro_oci_server.backends.meta.postgres_connection import (
    DRIVER_ERRORS,
    PATIENT,
    UNDONE,
    connect,
    is_prepared,
    prepare,
    translated,
    translating,
)
from ferro_oci_server.backends.meta.postgres_pool import Pool
from ferro_oci_server.backends.meta.statements import Statement
from ferro_oci_server.core.ports import StoreUnavailable

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

__all__ = ["PostgresDatabase", "PostgresTransaction"]

Given = ParamSpec("Given")
Result = TypeVar("Result")

# How often something is done in all. The second time follows at once, the later ones after a little longer each time.
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05

_BEGIN_QUESTION = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class _Undone(Exception):
    """Raised when a transaction has come to nothing and may be done anew; its cause is the driver's error."""


class PostgresTransaction:
    """A transaction that has begun on a connection."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def one(self, statement: Statement, **values: object) -> Any:
        """The only row, or ``None``."""
        return await self._connection.fetchrow(statement.sql, *statement.bind(values))

    async def every(self, statement: Statement, **values: object) -> list[Any]:
        """All rows."""
        return await self._connection.fetch(statement.sql, *statement.bind(values))

    async def change(self, statement: Statement, **values: object) -> bool:
        """Run a change and tell whether it changed anything."""
        status = await self._connection.execute(statement.sql, *statement.bind(values))
        return not status.endswith(" 0")

    async def change_many(self, statement: Statement, rows: Iterable[Mapping[str, object]]) -> None:
        """Run a change once for each row of values, all sent at once."""
        bound = [statement.bind(row) for row in rows]
        if bound:
            await self._connection.executemany(statement.sql, bound)


class PostgresDatabase:
    """A ``Database`` at ``url``, on up to ``connections`` at a time; nothing takes longer than ``patience`` seconds.

    It is reached, and gets its tables, when it is first asked. Used by one event loop.
    """

    def __init__(self, url: str, connections: int, patience: float) -> None:
        self._url = url
        self._pool = Pool(lambda: connect(url), connections)
        self._patience = patience
        self._preparation: asyncio.Task[None] | None = None
        self._is_prepared = False
        self._is_closed = False
        self._accepted: set[asyncio.Task[Any]] = set()

    async def one(self, statement: Statement, **values: object) -> Any:
        """The only row, or ``None``, of a question that is one statement."""
        bound = statement.bind(values)
        return await self._ask(lambda connection: connection.fetchrow(statement.sql, *bound))

    async def every(self, statement: Statement, **values: object) -> list[Any]:
        """All rows of a question that is one statement."""
        bound = statement.bind(values)
        return await self._ask(lambda connection: connection.fetch(statement.sql, *bound))

    async def ask(self, question: Work[Given, Result], *given: Given.args, **more: Given.kwargs) -> Result:
        """Answer a question of several statements, all as of one time. It changes nothing."""
        return await self._ask(lambda connection: _answer(connection, question, *given, **more))

    async def ask_apart(self, question: Work[Given, Result], *given: Given.args, **more: Given.kwargs) -> Result:
        """The same on a connection of its own, however long it takes."""
        await self._prepare()
        with translating():
            connection = await connect(self._url, PATIENT)
            try:
                return await _answer(connection, question, *given, **more)
            finally:
                connection.terminate()

    async def run(self, mutation: Work[Given, Result], *given: Given.args, **more: Given.kwargs) -> Result:
        """Change something, and return once it is durable. When this raises, nothing of it stays, unless the connection
        was lost during the commit.
        """
        if self._is_closed:
            raise StoreUnavailable("the metadata database is closed")

        async def change(connection: "Connection") -> Result:
            return await _commit(connection, mutation, *given, **more)

        # In a task of its own: a caller that goes away would leave a transaction whose end nobody knows.
        task = asyncio.create_task(self._repeat(change))
        self._accepted.add(task)
        task.add_done_callback(self._accepted.discard)
        return await asyncio.shield(task)

    async def _ask(self, question: Callable[["Connection"], Awaitable[Result]]) -> Result:
        if self._is_closed:
            raise StoreUnavailable("the metadata database is closed")
        return await self._repeat(question)

    async def _repeat(self, work: Callable[["Connection"], Awaitable[Result]]) -> Result:
        """Do something on a connection, anew if that has certainly come to nothing.

        Raises:
            StoreUnavailable: it has failed, or takes too long.
        """
        try:
            async with asyncio.timeout(self._patience):
                if not self._is_prepared:
                    await self._prepare()
                for attempt in range(1, _ATTEMPTS):
                    try:
                        return await self._try(work)
                    except _Undone:
                        # Those that were in each other's way should not meet again.
                        await asyncio.sleep(_PAUSE_SECONDS * (attempt - 1) * random.random())  # noqa: S311
                return await self._try(work)
        except _Undone as error:
            raise translated(error.__cause__ or error) from error
        except DRIVER_ERRORS as error:
            raise translated(error) from error

    async def _try(self, work: Callable[["Connection"], Awaitable[Result]]) -> Result:
        """Do something on a connection.

        Raises:
            _Undone: it came to nothing, and may be done anew.
        """
        async with self._pool.connection() as connection:
            try:
                return await work(connection)
            except UNDONE as error:
                raise _Undone from error
            except DRIVER_ERRORS as error:
                if not connection.is_closed():
                    raise
                self._pool.clear()
                raise _Undone from error

    async def _prepare(self) -> None:
        """See that the database has its tables, once. It goes on where a caller gives up: tables may take long."""
        if self._is_prepared:
            return
        if self._preparation is None or self._preparation.done():
            self._preparation = asyncio.create_task(self._look_and_prepare())
        await asyncio.shield(self._preparation)

    async def _look_and_prepare(self) -> None:
        async with self._pool.connection() as connection:
            self._is_prepared = await is_prepared(connection)
        if not self._is_prepared:
            await prepare(self._url)
            self._is_prepared = True

    async def close(self) -> None:
        """Finish what was accepted and release everything; the last call."""
        self._is_closed = True
        if self._accepted:
            await asyncio.wait(self._accepted)
        if self._preparation is not None:
            await asyncio.wait([self._preparation])
        await self._pool.close()


async def _commit(
    connection: "Connection", mutation: Work[Given, Result], *given: Given.args, **more: Given.kwargs
) -> Result:
    """Run a mutation in a transaction.

    Raises:
        StoreUnavailable: nobody knows whether it was committed.
    """
    await connection.execute("BEGIN")
    try:
        result = await mutation(PostgresTransaction(connection), *given, **more)
    except Exception:
        await _roll_back(connection)
        raise
    try:
        await connection.execute("COMMIT")
    except UNDONE:
        raise
    except DRIVER_ERRORS as error:
        raise StoreUnavailable(f"the metadata database may or may not have committed a change: {error}") from error
    return result


async def _answer(
    connection: "Connection", question: Work[Given, Result], *given: Given.args, **more: Given.kwargs
) -> Result:
    """Answer a question in a transaction."""
    await connection.execute(_BEGIN_QUESTION)
    try:
        result = await question(PostgresTransaction(connection), *given, **more)
    except Exception:
        await _roll_back(connection)
        raise
    await _roll_back(connection)
    return result


async def _roll_back(connection: "Connection") -> None:
    """End a transaction. A connection on which that fails is not used again."""
    try:
        await connection.execute("ROLLBACK")
    except DRIVER_ERRORS:
        connection.terminate()
