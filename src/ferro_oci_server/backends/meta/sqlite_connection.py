"""Connections to a SQLite file, and what its errors mean.

The file is in WAL mode: readers never wait for the writer, and one writer at a time, of any process, appends to the log
and syncs it with each commit.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as EngineConnection
from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from ferro_oci_server.backends.meta.migrate import HEAD, SELECT_REVISION, upgrade
from ferro_oci_server.backends.meta.sqlite_turns import POLL_SECONDS
from ferro_oci_server.backends.meta.statements import Statement
from ferro_oci_server.core.ports import StoreCorrupted, StoreError, StoreFull, StoreUnavailable

__all__ = [
    "DATABASE",
    "READ_PATIENCE",
    "WRITE_PATIENCE",
    "change",
    "change_many",
    "connect",
    "every",
    "insist",
    "one",
    "prepare",
    "revision",
    "translated",
    "translating",
    "viewing",
]

DATABASE = "registry.db"
"""How the file is called in a storage folder."""

# Another process holds the lock for one group of writes: milliseconds. Longer than this, something hangs.
WRITE_PATIENCE = 5.0
# Reads wait only while another process recovers the log, and they keep the event loop waiting with them.
READ_PATIENCE = 0.25
# Changing tables may copy them.
UPGRADE_PATIENCE = 60.0

_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA trusted_schema = OFF",
    # 32 MiB: the upper levels of every index of some million rows. A page is kept until somebody writes.
    "PRAGMA cache_size = -32768",
    # 16 MiB between checkpoints, not 4: a page that many pushes change is then copied to its place once for all.
    "PRAGMA wal_autocheckpoint = 4000",
    # A log that one large burst has grown is cut to this when it starts over.
    "PRAGMA journal_size_limit = 67108864",
)

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def translated(error: sqlite3.Error) -> StoreError:
    """What an error of the driver is to the caller of a store."""
    # Extended codes keep the plain one in their lowest byte. Errors of the Python module itself have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return StoreCorrupted(f"the metadata database is damaged: {error}")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"the metadata database has no room: {error}")
    return StoreUnavailable(f"the metadata database does not answer: {error}")


@contextmanager
def translating() -> Iterator[None]:
    """Let the driver's errors become those of a store.

    Raises:
        StoreUnavailable: the database does not answer.
        StoreCorrupted: it is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error) from error


@contextmanager
def viewing(connection: sqlite3.Connection) -> Iterator[None]:
    """Let several questions be answered as of one time."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        # After some errors SQLite itself has ended it.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def connect(path: Path, patience: float, *, foreign_keys: bool = True) -> sqlite3.Connection:
    """Open a connection that begins and ends no transaction by itself.

    Raises:
        sqlite3.Error: the file cannot be opened, or is no database.
        StoreUnavailable: the file system cannot share the memory that the log is indexed in.
    """
    connection = sqlite3.connect(
        path, timeout=patience, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        _enter_wal_mode(connection, time.monotonic() + patience)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
    except BaseException:
        connection.close()
        raise
    return connection


def insist(connection: sqlite3.Connection, sql: str, deadline: float) -> sqlite3.Cursor:
    """Run a statement as soon as no other connection is in its way.

    SQLite itself would not wait, or sleep longer and longer, up to a tenth of a second.


    ``deadline`` is one of ``time.monotonic``.

    Raises:
        sqlite3.Error: others were in its way until then, or something else is wrong.
    """
    while True:
        try:
            return connection.execute(sql)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _enter_wal_mode(connection: sqlite3.Connection, deadline: float) -> None:
    # The switch does not wait for others that switch the same new file.
    (mode,) = insist(connection, "PRAGMA journal_mode = WAL", deadline).fetchone()
    if mode != "wal":
        raise StoreUnavailable("the metadata database must be on a local file system, for its write-ahead log")


def prepare(path: Path, patience: float = UPGRADE_PATIENCE) -> None:
    """Check that a file is, or can become, a database of this version, and make it one.

    Several processes may do so at the same time. A file that is damaged or of another kind is left as it is.

    Raises:
        StoreCorrupted: it is damaged, or some other program's.
        SchemaTooNew: a newer version has changed its tables.
        StoreUnavailable: it cannot be opened, or another process does not let go of it.
    """
    try:
        _refuse_remains(path)
        connection = connect(path, patience, foreign_keys=False)
        try:
            if revision(connection) != HEAD:
                _upgrade(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        failure = translated(error)
        advice = ": restore it from a backup" if isinstance(failure, StoreCorrupted) else ""
        raise type(failure)(f"{path}: {failure}{advice}") from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except StoreError as error:
        raise type(error)(f"{path}: {error}") from error


def _refuse_remains(path: Path) -> None:
    """Refuse a log without its database: opening the missing file would delete the log."""
    log = path.with_name(path.name + "-wal")
    if _size(log) and not _size(path):
        raise StoreCorrupted("it is missing or empty, and its write-ahead log is not: restore both from a backup")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def revision(connection: sqlite3.Connection) -> str | None:
    """The revision of the tables, ``None`` for an empty file."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    rows = connection.execute(SELECT_REVISION).fetchall() if "alembic_version" in tables else []
    if not rows:
        raise StoreCorrupted("this is a database of some other program: choose another file")
    return str(rows[0][0])


def _upgrade(connection: sqlite3.Connection) -> None:
    # Foreign keys are off here: a table that is copied to change it is dropped, and that would delete what refers
    # to its rows.
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def lock(engine_connection: EngineConnection) -> None:
        engine_connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as locked:
            upgrade(locked)
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from error
        raise


def one(connection: sqlite3.Connection, statement: Statement, **values: object) -> Any:
    """The only row, or ``None``."""
    return connection.execute(statement.sql, statement.bind(values)).fetchone()


def every(connection: sqlite3.Connection, statement: Statement, **values: object) -> list[Any]:
    """All rows."""
    return connection.execute(statement.sql, statement.bind(values)).fetchall()


def change(connection: sqlite3.Connection, statement: Statement, **values: object) -> bool:
    """Run a change and tell whether it changed anything."""
    return connection.execute(statement.sql, statement.bind(values)).rowcount > 0


def change_many(connection: sqlite3.Connection, statement: Statement, rows: Iterable[Mapping[str, object]]) -> None:
    """Run a change once for each row of values."""
    connection.executemany(statement.sql, map(statement.bind, rows))
