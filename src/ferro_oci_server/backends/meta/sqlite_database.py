"""A SQLite file as a database of a registry's tables.

1. Reads run where they are asked, on the event loop: each walks an index, and takes less time than handing it to a
   thread.
2. Writes go through one writer, which commits those that wait in groups.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ferro_oci_server.backends.meta.database import Work
from ferro_oci_server.backends.meta.sqlite_connection import (
    READ_PATIENCE,
    WRITE_PATIENCE,
    change,
    change_many,
    connect,
    every,
    one,
    prepare,
    translated,
    translating,
    viewing,
)
from ferro_oci_server.backends.meta.sqlite_writer import GroupWriter
from ferro_oci_server.backends.meta.statements import Statement
from ferro_oci_server.core.ports import StoreUnavailable

__all__ = ["SqliteDatabase", "SqliteTransaction", "finish"]

Given = ParamSpec("Given")
Result = TypeVar("Result")


class SqliteTransaction:
    """A transaction that has begun on a connection. SQLite answers at once, so nothing here ever suspends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def one(self, statement: Statement, **values: object) -> Any:
        """The only row, or ``None``."""
        return one(self._connection, statement, **values)

    async def every(self, statement: Statement, **values: object) -> list[Any]:
        """All rows."""
        return every(self._connection, statement, **values)

    async def change(self, statement: Statement, **values: object) -> bool:
        """Run a change and tell whether it changed anything."""
        return change(self._connection, statement, **values)

    async def change_many(self, statement: Statement, rows: Iterable[Mapping[str, object]]) -> None:
        """Run a change once for each row of values."""
        change_many(self._connection, statement, rows)

    async def problems(self, limit: int) -> list[str]:
        """What SQLite itself finds wrong with the file, up to ``limit`` of it."""
        found = self._connection.execute(f"PRAGMA integrity_check({int(limit)})")
        return [problem for (problem,) in found if problem != "ok"]


class SqliteDatabase:
    """A ``Database`` in the file ``path``, which is made if it is not there; its folder must be.

    Raises:
        StoreCorrupted: the file is damaged, or is no database of this program. It is left as it is.
        SchemaTooNew: a newer version has changed its tables. It is left as it is.
        StoreUnavailable: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        prepare(path)
        self._reader = _open(path, READ_PATIENCE)
        try:
            _sync_folder(path.parent)
            self._writer = GroupWriter(_open(path, WRITE_PATIENCE), WRITE_PATIENCE)
        except BaseException:
            self._reader.close()
            raise

    async def one(self, statement: Statement, **values: object) -> Any:
        """The only row, or ``None``, of a question that is one statement."""
        try:
            return one(self._reader, statement, **values)
        except sqlite3.Error as error:
            raise translated(error) from error

    async def every(self, statement: Statement, **values: object) -> list[Any]:
        """All rows of a question that is one statement."""
        try:
            return every(self._reader, statement, **values)
        except sqlite3.Error as error:
            raise translated(error) from error

    async def ask(self, question: Work[Given, Result], *given: Given.args, **more: Given.kwargs) -> Result:
        """Answer a question of several statements, all as of one time. It changes nothing."""
        # All tasks share the connection, so none of them may run before this is over.
        with translating(), viewing(self._reader):
            return finish(question(SqliteTransaction(self._reader), *given, **more))

    async def ask_apart(
        self,
        question: Callable[Concatenate[SqliteTransaction, Given], Coroutine[Any, Any, Result]],
        *given: Given.args,
        **more: Given.kwargs,
    ) -> Result:
        """The same in a thread, on a connection of its own: for what takes long."""

        def answer() -> Result:
            with translating():
                connection = connect(self._path, READ_PATIENCE)
                try:
                    with viewing(connection):
                        return finish(question(SqliteTransaction(connection), *given, **more))
                finally:
                    connection.close()

        return await asyncio.to_thread(answer)

    async def run(self, mutation: Work[Given, Result], *given: Given.args, **more: Given.kwargs) -> Result:
        """Change something, and return once it is durable. When this raises, nothing of it stays."""
        return await self._writer.run(
            lambda connection: finish(mutation(SqliteTransaction(connection), *given, **more))
        )

    async def close(self) -> None:
        """Finish what was accepted and release everything; the last call."""
        await self._writer.close()
        self._reader.close()


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never suspends, and return its result; this needs no event loop.

    A coroutine runs from where it is until it suspends or ends. One that awaits only what SQLite answers has nothing to
    suspend for, so it ends in the first step, wherever that is taken: in the writer's thread, or on the event loop,
    between two tasks.

    Raises:
        RuntimeError: it has suspended, though nobody could wake it here. It is ended.
    """
    try:
        work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    work.close()
    raise RuntimeError("a transaction on SQLite has waited for something that is not SQLite")


def _open(path: Path, patience: float) -> sqlite3.Connection:
    with translating():
        return connect(path, patience)


def _sync_folder(folder: Path) -> None:
    """Make the entry of the log survive a loss of power: SQLite does it, but does not look whether it worked."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreUnavailable(f"{folder}: {error}") from error
