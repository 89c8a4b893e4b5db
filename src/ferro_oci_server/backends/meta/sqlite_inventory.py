"""What a registry's SQLite file says that there is, for backups; and copies of it. Everything here blocks.

1. A copy is one file without a log beside it, so it can be renamed, copied and read where nothing can be written.
2. It holds what was committed when copying began. Neither readers nor the writer of the registry wait for it.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy.dialects import sqlite

from ferro_oci_server.backends.meta.inventory_statements import InventoryStatements
from ferro_oci_server.backends.meta.migrate import HEAD
from ferro_oci_server.backends.meta.review_statements import ReviewStatements
from ferro_oci_server.backends.meta.sqlite_connection import (
    WRITE_PATIENCE,
    change,
    change_many,
    connect,
    one,
    prepare,
    revision,
    translating,
)
from ferro_oci_server.backends.meta.statements import Statement
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.records import Blob, ReviewKind
from ferro_oci_server.oci.digest import Digest

__all__ = ["Contents", "Inventory", "adopt", "suspect"]

_DIALECT = sqlite.dialect(paramstyle="qmark")
_STATEMENTS = InventoryStatements(_DIALECT)
_BLOB = ReviewStatements(_DIALECT).blob

# Whose bytes are in no backup.
_LEFT_OUT = (ReviewKind.UPLOAD, ReviewKind.TRASH, ReviewKind.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Contents:
    """How much a registry has; ``bytes`` are those of its blobs."""

    repositories: int
    manifests: int
    tags: int
    blobs: int
    bytes: int


class Inventory:
    """Reads a registry's file from one end to the other. Blobs that are known to be damaged do not count."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take over a connection, which ``close`` will close."""
        self._connection = connection

    @classmethod
    def of_registry(cls, path: Path) -> Self:
        """Open the file of a registry that may be serving.

        Raises:
            StoreUnavailable: there is none, or its tables are those of another version.
            StoreCorrupted: it is damaged, or some other program's.
        """
        if not path.is_file():
            raise StoreUnavailable(f"{path}: there is no registry")
        with translating():
            connection = connect(path, WRITE_PATIENCE)
            try:
                found = revision(connection)
                if found != HEAD:
                    raise StoreUnavailable(
                        f"{path}: its tables have revision {found}, and this version of ferro-oci-server works with "
                        f"{HEAD}: use the version that serves it"
                    )
            except BaseException:
                connection.close()
                raise
        return cls(connection)

    @classmethod
    def of_copy(cls, path: Path) -> Self:
        """Open a copy, to which nobody writes.

        Raises:
            StoreUnavailable: it cannot be opened.
        """
        with translating():
            return cls(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True))

    def copy(self, target: Path) -> None:
        """Write all that is committed now into a new file.

        Raises:
            StoreUnavailable: it cannot be read or written.
        """
        with translating():
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                # Whoever calls syncs the file when it is whole. Until then nobody needs it.
                copy.execute("PRAGMA synchronous = OFF")
                # In one step, as nobody waits for it: several would begin anew whenever somebody writes.
                self._connection.backup(copy, pages=-1)
                _leave_wal_mode(copy)
            finally:
                copy.close()

    def blobs(self) -> Iterator[Blob]:
        """All blobs, in the order of their digests."""
        with translating():
            for digest, size, location in self._rows(_STATEMENTS.every_blob):
                yield Blob(Digest(digest), size, location)

    def blob(self, digest: Digest) -> Blob | None:
        """One blob, as it is recorded now, damaged or not."""
        with translating():
            row = one(self._connection, _BLOB, digest=digest)
        return None if row is None else Blob(digest, *row)

    def contents(self) -> Contents:
        """How much there is."""
        with translating():
            return Contents(*one(self._connection, _STATEMENTS.contents))

    def damage(self) -> str | None:
        """What SQLite finds wrong with the file; the first of it, if there is more."""
        try:
            (found,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error as error:
            return str(error)
        return None if found == "ok" else str(found)

    def damaged_manifests(self) -> Iterator[str]:
        """Those whose bytes are not what their digest names, as ``repository@digest``."""
        with translating():
            for name, digest, content in self._rows(_STATEMENTS.every_manifest):
                if Digest.of(content, Digest(digest).algorithm) != digest:
                    yield f"{name}@{digest}"

    def _rows(self, statement: Statement) -> sqlite3.Cursor:
        """All rows, as they are asked for: there may be millions."""
        return self._connection.execute(statement.sql, statement.bind({}))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def adopt(path: Path) -> None:
    """Make a copy the beginning of a registry of this version, without what has its bytes in no backup.

    These are upload sessions, and bytes that only waited to be removed.

    Raises:
        SchemaTooNew: a newer version has written it.
        StoreError: it cannot be changed.
    """
    prepare(path)
    with _changing(path) as connection:
        change(connection, _STATEMENTS.drop_uploads)
        change(connection, _STATEMENTS.drop_trash)
        change_many(connection, _STATEMENTS.drop_reviews, [{"kind": kind} for kind in _LEFT_OUT])


def suspect(path: Path, digests: Iterable[Digest]) -> None:
    """Record in a copy that blobs are damaged: they are not served, and are whole again when they are pushed again.

    Raises:
        StoreError: it cannot be changed.
    """
    with _changing(path) as connection:
        change_many(connection, _STATEMENTS.suspect, [{"which": digest} for digest in digests])


@contextmanager
def _changing(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction, after which the file is a copy as before: alone."""
    with translating():
        connection = connect(path, WRITE_PATIENCE)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            _leave_wal_mode(connection)
        finally:
            connection.close()


def _leave_wal_mode(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = DELETE").fetchone()
