"""How a PostgreSQL database is reached, what its errors mean, and how it gets its tables."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from ferro_oci_server.backends.meta.migrate import HEAD, SELECT_REVISION, script
from ferro_oci_server.core.ports import StoreCorrupted, StoreError, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

__all__ = ["DRIVER_ERRORS", "PATIENT", "UNDONE", "connect", "is_prepared", "prepare", "translated", "translating"]

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises; a ``TimeoutError`` is an ``OSError``."""

UNDONE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.InvalidCachedStatementError)
"""What says that a transaction has come to nothing, and may well come to something the next time."""

_DAMAGED = (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)

_CONNECT_SECONDS = 5.0

# A statement takes a millisecond. One that takes seconds waits for something that hangs, or reads what it should not;
# and nobody may hold locks without doing anything. What the URL says of these counts more.
_SETTINGS = {
    "application_name": "ferro-oci-server",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    # The transactions are written for it, whatever the server's default is.
    "default_transaction_isolation": "read committed",
}
PATIENT = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""For what takes as long as there is content."""

# Any number does that nobody else takes: who has this lock may change the tables.
_MIGRATION_LOCK = 0x6665_7272_6F20_6F63
# Who changes a table waits for all that use it, and makes all wait who come later.
_LOCK_TABLE = "SET LOCAL lock_timeout = '5s'"


def translated(error: BaseException) -> StoreError:
    """What an error of the driver is to the caller of a store."""
    if isinstance(error, _DAMAGED):
        return StoreCorrupted(f"the metadata database is damaged: {error}")
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFull(f"the metadata database has no room: {error}")
    return StoreUnavailable(f"the metadata database does not answer: {str(error) or type(error).__name__}")


@contextmanager
def translating() -> Iterator[None]:
    """Let the driver's errors become those of a store.

    Raises:
        StoreUnavailable: the database does not answer.
        StoreFull: it has no room.
        StoreCorrupted: it is damaged.
    """
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translated(error) from error


async def connect(url: str, settings: Mapping[str, str] | None = None) -> "Connection":
    """Open a connection. The URL's parameters are those of libpq, or settings of the server.

    Raises:
        asyncpg.PostgresError: the server refuses.
        OSError: it cannot be reached.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    # The one parameter of libpq that people use and asyncpg takes for a setting of the server.
    seconds = float(query.pop("connect_timeout", _CONNECT_SECONDS))
    chosen = {name: value for name, value in _SETTINGS.items() if name not in query}
    return await asyncpg.connect(
        urlunsplit(parts._replace(query=urlencode(query))),
        timeout=seconds,
        server_settings={**chosen, **(settings or {})},
        # All statements that there are, for as long as the connection lives.
        statement_cache_size=250,
        max_cached_statement_lifetime=0,
    )


async def is_prepared(connection: "Connection") -> bool:
    """Whether the database has the tables of this version."""
    return await _revision(connection) == HEAD


async def prepare(url: str) -> None:
    """Give a database the tables of this version, if it does not have them.

    Several processes may do so at the same time, while others serve.

    Raises:
        SchemaTooNew: a newer version has changed its tables.
        StoreUnavailable: it cannot be reached, or somebody does not let go of a table.
    """
    with translating():
        connection = await connect(url, PATIENT)
        try:
            await _upgrade(connection)
        finally:
            await connection.close()


async def _revision(connection: "Connection") -> str | None:
    """The revision of the tables, ``None`` where there are none."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    found = await connection.fetchval(SELECT_REVISION)
    return None if found is None else str(found)


async def _upgrade(connection: "Connection") -> None:
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        # Another process may have done it meanwhile.
        sql = await asyncio.to_thread(script, await _revision(connection))
        if sql:
            await connection.execute(_LOCK_TABLE)
            await connection.execute(sql)
