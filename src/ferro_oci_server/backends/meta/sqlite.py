"""All that a registry knows except the bytes of blobs, in a SQLite file.

1. Reads run where they are asked, on the event loop: each is one statement that walks an index, and takes less time
   than handing it to a thread.
2. Writes go through one writer, which commits those that wait in groups.
3. Several processes of one machine may use the same file.
"""

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.dialects import sqlite

from ferro_oci_server.backends.meta.inspection_statements import InspectionStatements
from ferro_oci_server.backends.meta.review_statements import ReviewStatements
from ferro_oci_server.backends.meta.sqlite_connection import (
    READ_PATIENCE,
    WRITE_PATIENCE,
    connect,
    every,
    one,
    prepare,
    translated,
)
from ferro_oci_server.backends.meta.sqlite_inspection import InspectionMutations
from ferro_oci_server.backends.meta.sqlite_mutations import Mutations
from ferro_oci_server.backends.meta.sqlite_reviews import ReviewMutations, upload_of
from ferro_oci_server.backends.meta.sqlite_writer import GroupWriter
from ferro_oci_server.backends.meta.statements import Statement, Statements
from ferro_oci_server.backends.meta.usage_statements import UsageStatements
from ferro_oci_server.core.inspection import Finding, InspectedBlob, InspectedManifest, ScrubCount
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.quota import Resource
from ferro_oci_server.core.records import (
    Blob,
    Collected,
    Condition,
    ManifestInfo,
    ManifestRecord,
    ReviewKind,
    StoredManifest,
    UploadId,
    UploadSession,
    Verdict,
    Waste,
)
from ferro_oci_server.oci.descriptor import Descriptor
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Reference, Tag

__all__ = ["SqliteRegistryMeta"]

Answer = TypeVar("Answer")


class SqliteRegistryMeta:
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
        path = Path(path).absolute()
        dialect = sqlite.dialect(paramstyle="qmark")
        self._statements = Statements(dialect)
        self._review_statements = ReviewStatements(dialect)
        self._reviews = ReviewMutations(self._review_statements)
        self._mutations = Mutations(self._statements, self._reviews, clock)
        self._inspection = InspectionMutations(InspectionStatements(dialect), self._reviews, clock)
        self._usage_statements = UsageStatements(dialect)
        self._path = path
        prepare(path)
        self._reader = _open(path, READ_PATIENCE)
        try:
            _sync_folder(path.parent)
            self._writer = GroupWriter(_open(path, WRITE_PATIENCE))
        except BaseException:
            self._reader.close()
            raise

    def _one(self, statement: Statement, **values: object) -> Any:
        try:
            return one(self._reader, statement, **values)
        except sqlite3.Error as error:
            raise translated(error) from error

    def _every(self, statement: Statement, **values: object) -> list[Any]:
        try:
            return every(self._reader, statement, **values)
        except sqlite3.Error as error:
            raise translated(error) from error

    async def get_manifest(self, name: RepositoryName, reference: Reference) -> StoredManifest | None:
        """The manifest that a tag points at, or that has a digest."""
        if isinstance(reference, Digest):
            row = self._one(self._statements.manifest_by_digest, repository=name, digest=reference)
        else:
            row = self._one(self._statements.manifest_by_tag, repository=name, tag=reference)
        return row and StoredManifest(Digest(row[0]), row[1], row[2])

    async def stat_manifest(
        self, name: RepositoryName, reference: Reference, *, lease: bool = False
    ) -> ManifestInfo | None:
        """The same without its content; with ``lease``, its review begins to wait anew."""
        if isinstance(reference, Digest):
            row = self._one(self._statements.outline_by_digest, repository=name, digest=reference)
        else:
            row = self._one(self._statements.outline_by_tag, repository=name, tag=reference)
        if row is None or (lease and not await self._lease(ReviewKind.MANIFEST, name, Digest(row[0]))):
            return None
        return ManifestInfo(Digest(row[0]), row[1], row[2])

    async def put_manifest(
        self,
        name: RepositoryName,
        manifest: ManifestRecord,
        tags: Sequence[Tag] = (),
        *,
        allow_missing: bool = False,
        condition: Condition | None = None,
    ) -> None:
        """Record a manifest with its references, point the tags at it and index its subject: all or nothing."""
        await self._writer.run(
            lambda connection: self._mutations.put_manifest(
                connection, name, manifest, tags, condition, allow_missing=allow_missing
            )
        )

    async def delete_manifest(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest, every tag that points at it and its entry among the referrers of its subject."""
        return await self._writer.run(lambda connection: self._mutations.delete_manifest(connection, name, digest))

    async def delete_tag(self, name: RepositoryName, tag: Tag) -> bool:
        """Remove a tag; its manifest stays."""
        return await self._writer.run(lambda connection: self._mutations.delete_tag(connection, name, tag))

    async def list_tags(self, name: RepositoryName, after: str, limit: int) -> list[Tag] | None:
        """Up to ``limit`` tags that sort behind ``after``; ``None`` where the repository does not exist."""
        # A page of none must still tell whether the repository exists: its row comes with the first tag, or alone.
        rows = self._every(self._statements.tag_page, repository=name, after=_plain(after), limit=max(limit, 1))
        if not rows:
            return None
        return [Tag(tag) for (tag,) in rows[:limit] if tag is not None]

    async def list_repositories(self, after: str, limit: int) -> list[RepositoryName]:
        """Up to ``limit`` repositories that sort behind ``after``."""
        rows = self._every(self._statements.repository_page, after=_plain(after), limit=limit)
        return [RepositoryName(name) for (name,) in rows]

    async def list_referrers(
        self, name: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[Descriptor]:
        """Up to ``limit`` manifests with that subject, of that type if one is given, by digest behind ``after``."""
        values = {"repository": name, "subject": subject, "after": _plain(after), "limit": limit}
        if artifact_type is None:
            rows = self._every(self._statements.referrer_page, **values)
        elif artifact_type.isascii():
            rows = self._every(self._statements.referrer_page_of_type, artifact_type=artifact_type, **values)
        else:
            rows = []
        return [_referrer(*row) for row in rows]

    async def get_blob(self, name: RepositoryName, digest: Digest, *, lease: bool = False) -> Blob | None:
        """The blob, if it is linked in this repository; with ``lease``, its review begins to wait anew."""
        row = self._one(self._statements.linked_blob, repository=name, digest=digest)
        if row is None or (lease and not await self._lease(ReviewKind.LINK, name, digest)):
            return None
        return Blob(digest, *row)

    async def _lease(self, kind: ReviewKind, name: RepositoryName, digest: Digest) -> bool:
        """Put the review off, if it has waited for a while; tell whether it is still there."""
        if self._one(self._review_statements.has_waited, kind=kind, repository=name, key=digest) is None:
            return True
        return await self._writer.run(lambda connection: self._reviews.lease(connection, kind, name, digest))

    async def mount_blob(self, name: RepositoryName, digest: Digest, source: RepositoryName | None) -> Blob | None:
        """Link a blob that is linked in ``source`` (``None``: in any repository) in this repository as well."""
        return await self._writer.run(lambda connection: self._mutations.mount_blob(connection, name, digest, source))

    async def unlink_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove the link of a blob in this repository; other repositories keep theirs."""
        return await self._writer.run(lambda connection: self._mutations.unlink_blob(connection, name, digest))

    async def create_upload(self, session: UploadSession) -> None:
        """Record a new upload session. Its repository need not exist, and does not come to exist by it."""
        await self._writer.run(lambda connection: self._mutations.create_upload(connection, session))

    async def get_upload(self, name: RepositoryName, upload: UploadId) -> UploadSession | None:
        """The open session with that id, if it belongs to this repository."""
        row = self._one(self._statements.upload, repository=name, id=upload)
        return row and upload_of(name, upload, row)

    async def advance_upload(self, session: UploadSession, advanced: UploadSession) -> bool:
        """Replace an open session by what it is after a chunk, or after its sealing."""
        return await self._writer.run(lambda connection: self._mutations.advance_upload(connection, session, advanced))

    async def complete_upload(self, session: UploadSession, blob: Blob) -> bool:
        """End an open session: record the blob, or its new location, and link it in the session's repository."""
        return await self._writer.run(lambda connection: self._mutations.complete_upload(connection, session, blob))

    async def delete_upload(self, name: RepositoryName, upload: UploadId) -> bool:
        """End a session without a blob."""
        return await self._writer.run(lambda connection: self._mutations.delete_upload(connection, name, upload))

    async def tick(self, last: int, milliseconds: int) -> int:
        """Let the registry's own clock go on, if no other process has since ``last``; return the last tick."""
        return await self._writer.run(lambda connection: self._reviews.tick(connection, last, milliseconds))

    async def review(self, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        """Review links or manifests that have waited for ``age`` milliseconds, oldest first."""
        # Most of the time nothing is due, which is seen without a transaction that others have to wait for.
        if not self._reviews.oldest(self._reader, kind, age, 1):
            return []
        return await self._writer.run(lambda connection: self._reviews.review(connection, kind, age, limit))

    async def preview(self, kind: ReviewKind, after: int, limit: int) -> list[tuple[int, Verdict]]:
        """Say of what waits what a review would come to now, and change nothing."""
        rows = self._every(self._review_statements.following, kind=kind, after=after, limit=limit)
        return [(number, self._reviews.judge(self._reader, kind, repository, key)) for number, repository, key in rows]

    async def waste(self, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        """Bytes that have waited for ``age`` milliseconds, oldest first: they cannot be brought back any more."""
        if not self._reviews.oldest(self._reader, kind, age, 1):
            return []
        return await self._writer.run(lambda connection: self._reviews.doom(connection, kind, age, limit))

    async def forget_waste(self, kind: ReviewKind, locations: Sequence[str]) -> None:
        """Forget bytes that have been removed, and count them."""
        await self._writer.run(lambda connection: self._reviews.forget_waste(connection, kind, locations))

    async def idle_uploads(self, age: int, limit: int) -> list[UploadSession]:
        """Open sessions that have not moved for ``age`` milliseconds, oldest first."""
        return self._reviews.idle_uploads(self._reader, age, limit)

    async def collected(self) -> Collected:
        """What waits for a review, and what has been removed."""
        waiting = self._every(self._review_statements.waiting)
        removed = self._every(self._review_statements.removed)
        return Collected(
            waiting={ReviewKind(kind): count for kind, count in waiting},
            removed={ReviewKind(kind): count for kind, count, _ in removed},
            bytes={ReviewKind(kind): size for kind, _, size in removed},
        )

    async def inspect_blob(self, digest: Digest) -> InspectedBlob | None:
        """What is recorded of one blob."""
        return self._ask(lambda connection: self._inspection.blob(connection, digest))

    async def inspect_blobs(self, after: str, limit: int) -> list[InspectedBlob]:
        """Up to ``limit`` blobs, of all repositories, whose digests sort behind ``after``."""
        return self._ask(lambda connection: self._inspection.blobs(connection, after, limit))

    async def inspect_manifests(self, name: RepositoryName, after: str, limit: int) -> list[InspectedManifest]:
        """Up to ``limit`` manifests of a repository whose digests sort behind ``after``."""
        return self._ask(lambda connection: self._inspection.manifests(connection, name, after, limit))

    async def inspect_rows(self, limit: int) -> list[Finding]:
        """What is wrong with the file, and records that belong to nothing; everything is read for it, in a thread."""
        return await self._ask_apart(lambda connection: self._inspection.loose_rows(connection, limit))

    async def usage(self, name: RepositoryName, resource: Resource) -> int:
        """How much of something a repository has, counted in a thread."""
        statement = self._usage_statements.of(resource)
        (count,) = await self._ask_apart(lambda connection: one(connection, statement, repository=name))
        return int(count)

    async def _ask_apart(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Ask in a thread, on a connection of its own: for what takes long."""

        def ask() -> Answer:
            connection = connect(self._path, READ_PATIENCE)
            try:
                return question(connection)
            finally:
                connection.close()

        try:
            return await asyncio.to_thread(ask)
        except sqlite3.Error as error:
            raise translated(error) from error

    async def mark_blob(self, blob: Blob, *, suspect: bool) -> bool:
        """Say that the bytes of a blob are damaged, or are not, if it is still where it was."""
        return await self._writer.run(lambda connection: self._inspection.mark_blob(connection, blob, suspect=suspect))

    async def spare_bytes(self, digest: Digest) -> list[Waste]:
        """Bytes that wait for their removal and should have this digest, and can be brought back."""
        return self._ask(lambda connection: self._inspection.spares(connection, digest))

    async def restore_blob(self, blob: Blob, spare: Waste) -> bool:
        """Give a blob the bytes that were found to be good at another location; those it had wait as superseded."""
        return await self._writer.run(lambda connection: self._inspection.restore_blob(connection, blob, spare))

    async def known_locations(self, locations: Sequence[str]) -> Set[str]:
        """Those among ``locations`` that a blob has, or where bytes wait for their removal."""
        return self._ask(lambda connection: self._inspection.known(connection, locations))

    async def trash_bytes(self, waste: Waste) -> bool:
        """Let bytes that nothing knows wait as trash; ``False`` where something does know them."""
        return await self._writer.run(lambda connection: self._inspection.trash_bytes(connection, waste))

    async def next_to_scrub(self, limit: int, interval: int) -> list[InspectedBlob]:
        """Take the next blobs of the scrub's cycle."""
        if self._ask(lambda connection: self._inspection.is_resting(connection, interval)):
            return []
        return await self._writer.run(lambda connection: self._inspection.next_to_scrub(connection, limit, interval))

    async def scrub_count(self) -> ScrubCount:
        """What the scrub has done, and what must be pushed again."""
        return self._ask(self._inspection.scrub_count)

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            return question(self._reader)
        except sqlite3.Error as error:
            raise translated(error) from error

    async def count_uploads(self) -> int:
        """How many sessions are open."""
        return int(self._one(self._statements.upload_count)[0])

    async def check(self) -> None:
        """Read one row's worth of an index.

        Raises:
            StoreUnavailable: it cannot be read, or the store is closed.
        """
        self._every(self._statements.repository_page, after="", limit=1)

    async def close(self) -> None:
        """Finish what was accepted and release everything; the last call."""
        await self._writer.close()
        self._reader.close()


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


def _open(path: Path, patience: float) -> sqlite3.Connection:
    try:
        return connect(path, patience)
    except sqlite3.Error as error:
        raise translated(error) from error


def _plain(position: str) -> str:
    """A place in the order of names that databases take: names are ASCII, and this sorts alike among them."""
    for index, character in enumerate(position):
        if not character.isascii():
            return position[:index] + "\x7f"
    return position


def _referrer(
    digest: str, media_type: str, size: int, artifact_type: str | None, annotations: bytes | None
) -> Descriptor:
    return Descriptor(
        media_type,
        Digest(digest),
        size,
        artifact_type,
        None if annotations is None else json.loads(annotations),
    )
