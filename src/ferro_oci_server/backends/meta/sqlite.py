"""All that a registry knows except the bytes of blobs, in a SQLite file.

Several processes of one machine may use the same file.
"""

import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.dialects import sqlite

from ferro_oci_server.backends.meta.sql import SqlRegistryMeta
from ferro_oci_server.backends.meta.sqlite_connection import DATABASE
from ferro_oci_server.backends.meta.sqlite_database import SqliteDatabase, SqliteTransaction
from ferro_oci_server.core.inspection import Finding, FindingKind
from ferro_oci_server.core.quota import Resource
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["SqliteRegistryMeta"]


class SqliteRegistryMeta(SqlRegistryMeta):
    """Keeps everything in the file ``path``, which is made if it is not there; its folder must be.

    Used by one event loop at a time. Times are read from ``clock``, in seconds.

    Raises:
        ValueError: the path is SQLite's word for a database in memory; ``InMemoryRegistryMeta`` is one.
        StoreCorrupted: the file is damaged, or is no database of this program. It is left as it is.
        SchemaTooNew: a newer version has changed its tables. It is left as it is.
        StoreUnavailable: the file cannot be opened or written.
    """

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        if str(path) in {"", ":memory:"}:
            raise ValueError("a database needs a file; to keep everything in memory, use InMemoryRegistryMeta")
        # Absolute: the process may change its folder, and SQLite looks for the log beside the file.
        self._file = SqliteDatabase(Path(path).absolute())
        super().__init__(self._file, sqlite.dialect(paramstyle="qmark"), clock)

    async def inspect_rows(self, limit: int) -> list[Finding]:
        """What is wrong with the file, and records that belong to nothing; everything is read for it, in a thread."""
        return await self._file.ask_apart(self._look_through, limit)

    async def usage(self, name: RepositoryName, resource: Resource) -> int:
        """How much of something a repository has, counted in a thread."""
        return await self._file.ask_apart(self._count, name, resource)

    async def _look_through(self, transaction: SqliteTransaction, limit: int) -> list[Finding]:
        problems = await transaction.problems(limit)
        damage = [Finding(FindingKind.ROW, "", DATABASE, problem) for problem in problems]
        return damage + await self._inspection.loose_rows(transaction, limit)
