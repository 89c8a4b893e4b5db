"""All that a registry knows except the bytes of blobs, in PostgreSQL. Any number of processes may use a database."""

import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from sqlalchemy.dialects.postgresql import asyncpg

from ferro_oci_server.backends.meta.postgres_database import PostgresDatabase
from ferro_oci_server.backends.meta.sql import SqlRegistryMeta
from ferro_oci_server.core.inspection import Finding
from ferro_oci_server.core.records import ReviewKind, UploadSession, Verdict, Waste

__all__ = ["PostgresRegistryMeta"]

_SCHEMES = ("postgresql", "postgres")


class PostgresRegistryMeta(SqlRegistryMeta):
    """Keeps everything in the database at ``url``, which is reached, and gets its tables, when it is first asked.

    Used by one event loop, with up to ``connections`` to the server. What takes longer than ``patience`` seconds fails.
    Times are read from ``clock``, in seconds.

    Raises:
        ValueError: the URL is not one of PostgreSQL.
    """

    def __init__(
        self, url: str, *, connections: int = 10, patience: float = 15.0, clock: Callable[[], float] = time.time
    ) -> None:
        if urlsplit(url).scheme not in _SCHEMES:
            # Without the URL, which may have a password in it.
            raise ValueError("expected a URL such as postgresql://user:password@host/database")
        self._server = PostgresDatabase(url, connections, patience)
        dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
        super().__init__(self._server, dialect, clock)

    async def inspect_rows(self, limit: int) -> list[Finding]:
        """Records that belong to nothing; everything is read for it."""
        return await self._server.ask_apart(self._inspection.loose_rows, limit)

    # Each process takes other reviews than those that are just being done, and does each in a transaction of its own:
    # it holds up whoever pushes to that repository, or links that blob, for this one only.

    async def review(self, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        """Review links or manifests that have waited for ``age`` milliseconds, oldest first."""
        claims = await self._server.run(self._reviews.claim, kind, age, limit)
        verdicts = [await self._server.run(self._reviews.settle, kind, *claim) for claim in claims]
        return [verdict for verdict in verdicts if verdict is not None]

    async def waste(self, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        """Bytes that have waited for ``age`` milliseconds, oldest first: they cannot be brought back any more."""
        claims = await self._server.run(self._reviews.claim, kind, age, limit)
        found = [await self._server.run(self._reviews.doom_one, number, key) for number, _, key in claims]
        return [waste for waste in found if waste is not None]

    async def idle_uploads(self, age: int, limit: int) -> list[UploadSession]:
        """Open sessions that have not moved for ``age`` milliseconds, oldest first."""
        claims: Sequence[tuple[int, str, str]] = await self._server.run(
            self._reviews.claim, ReviewKind.UPLOAD, age, limit
        )
        return await self._server.ask(self._reviews.sessions, [key for _, _, key in claims])
