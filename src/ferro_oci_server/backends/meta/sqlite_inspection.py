"""Verification and the scrub on a registry's tables. What changes them runs within a transaction of the writer."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ferro_oci_server.backends.meta.inspection_statements import InspectionStatements
from ferro_oci_server.backends.meta.sqlite_connection import change, every, one
from ferro_oci_server.backends.meta.sqlite_reviews import ReviewMutations
from ferro_oci_server.core.inspection import Finding, FindingKind, InspectedBlob, InspectedManifest, ScrubCount
from ferro_oci_server.core.records import Blob, ReviewKind, StoredManifest, Waste
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["InspectionMutations"]


class InspectionMutations:
    """What is asked and changed, on whatever connection is handed in."""

    def __init__(self, statements: InspectionStatements, reviews: ReviewMutations, clock: Callable[[], float]) -> None:
        self._statements = statements
        self._reviews = reviews
        self._clock = clock

    # Questions

    def blob(self, connection: sqlite3.Connection, digest: Digest) -> InspectedBlob | None:
        """One blob."""
        row = one(connection, self._statements.inspected_blob, digest=digest)
        return None if row is None else _blob(row)

    def blobs(self, connection: sqlite3.Connection, after: str, limit: int) -> list[InspectedBlob]:
        """A page of blobs."""
        return [_blob(row) for row in every(connection, self._statements.blob_page, after=after, limit=limit)]

    def manifests(
        self, connection: sqlite3.Connection, name: RepositoryName, after: str, limit: int
    ) -> list[InspectedManifest]:
        """A page of manifests, with what they refer to at the same time."""
        with _one_view(connection):
            rows = every(connection, self._statements.manifest_page, repository=name, after=after, limit=limit)
            return [self._manifest(connection, name, row) for row in rows]

    def _manifest(self, connection: sqlite3.Connection, name: RepositoryName, row: Any) -> InspectedManifest:
        manifest_id, repository_id, digest, media_type, size, subject, artifact_type, content = row
        presence = every(connection, self._statements.presence, manifest_id=manifest_id, repository_id=repository_id)
        return InspectedManifest(
            repository=name,
            stored=StoredManifest(Digest(digest), media_type, content),
            size=size,
            subject=subject and Digest(subject),
            artifact_type=artifact_type,
            references=frozenset(Digest(key) for key, _, _ in presence),
            linked=frozenset(Digest(key) for key, linked, _ in presence if linked),
            held=frozenset(Digest(key) for key, _, held in presence if held),
        )

    def loose_rows(self, connection: sqlite3.Connection, limit: int) -> list[Finding]:
        """What SQLite itself finds wrong with its file, and records that belong to nothing."""
        with _one_view(connection):
            problems = [text for (text,) in connection.execute(f"PRAGMA integrity_check({int(limit)})")]
            findings = [Finding(FindingKind.ROW, "", "registry.db", text) for text in problems if text != "ok"]
            for problem, statement in self._statements.loose_rows.items():
                rows = every(connection, statement, limit=limit)
                findings += [Finding(FindingKind.ROW, repository, key, problem) for repository, key in rows]
        return findings

    def spares(self, connection: sqlite3.Connection, digest: Digest) -> list[Waste]:
        """Bytes that can be brought back."""
        rows = every(connection, self._statements.spares, digest=digest)
        return [Waste(location, Digest(key), size) for location, key, size in rows]

    def known(self, connection: sqlite3.Connection, locations: Sequence[str]) -> set[str]:
        """Those locations that something knows."""
        texts = json.dumps(list(locations))
        with _one_view(connection):
            blobs = every(connection, self._statements.located_blobs, texts=texts)
            trash = every(connection, self._statements.located_trash, texts=texts)
            uploads = every(connection, self._statements.located_uploads, texts=texts)
        return {location for (location,) in (*blobs, *trash, *uploads)}

    def scrub_count(self, connection: sqlite3.Connection) -> ScrubCount:
        """What was scrubbed."""
        cycles, blobs, size = one(connection, self._statements.scrub_total) or (0, 0, 0)
        (suspects,) = one(connection, self._statements.suspects)
        return ScrubCount(cycles, blobs, size, suspects)

    def is_resting(self, connection: sqlite3.Connection, interval: int) -> bool:
        """Whether the next cycle of the scrub has not begun and should not yet."""
        row = one(connection, self._statements.scrub)
        # A clock that was set back ends the rest: a cycle too many does no harm.
        return row is not None and row[1] is not None and 0 <= self._now() - row[1] < interval

    # Changes

    def mark_blob(self, connection: sqlite3.Connection, blob: Blob, *, suspect: bool) -> bool:
        """Set or lift the mark, if the blob is where it was."""
        return change(
            connection,
            self._statements.mark_blob,
            digest=blob.digest,
            location=blob.location,
            is_suspect=int(suspect),
        )

    def restore_blob(self, connection: sqlite3.Connection, blob: Blob, spare: Waste) -> bool:
        """Swap the bytes of a blob for others that wait, if both are where they were."""
        known = self.blob(connection, blob.digest)
        if known is None or known.blob.location != blob.location:
            return False
        if not self._reviews.take_waste(connection, spare.location):
            return False
        damaged = Waste(known.blob.location, known.blob.digest, known.blob.size)
        self._reviews.waste(connection, ReviewKind.SUPERSEDED, damaged)
        return change(
            connection,
            self._statements.move_blob,
            digest=blob.digest,
            location=blob.location,
            spare=spare.location,
            spare_size=spare.size,
        )

    def trash_bytes(self, connection: sqlite3.Connection, waste: Waste) -> bool:
        """Let bytes wait as trash, if nothing knows them."""
        if self.known(connection, [waste.location]):
            return False
        self._reviews.waste(connection, ReviewKind.TRASH, waste)
        return True

    def next_to_scrub(self, connection: sqlite3.Connection, limit: int, interval: int) -> list[InspectedBlob]:
        """Move the scrub's place forward by a page; or, at the end, let it rest."""
        if self.is_resting(connection, interval):
            return []
        change(connection, self._statements.begin_scrub)
        (cursor, _) = one(connection, self._statements.scrub)
        page = self.blobs(connection, cursor, limit)
        if page:
            size = sum(inspected.blob.size for inspected in page)
            values = {"new_cursor": page[-1].blob.digest, "more_blobs": len(page), "more_bytes": size}
            change(connection, self._statements.advance_scrub, **values)
        else:
            change(connection, self._statements.rest_scrub, now=self._now())
        return page

    def _now(self) -> int:
        return int(self._clock() * 1000)


@contextmanager
def _one_view(connection: sqlite3.Connection) -> Iterator[None]:
    """Let several questions be answered as of one time; within a transaction they are anyway."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _blob(row: Any) -> InspectedBlob:
    digest, size, location, checksum, suspect = row
    return InspectedBlob(Blob(Digest(digest), size, location, checksum), bool(suspect))
