"""Verification and the scrub on a registry's tables. Each function runs within a transaction."""

from collections.abc import Callable, Sequence
from typing import Any

from ferro_oci_server.backends.meta.database import Transaction
from ferro_oci_server.backends.meta.inspection_statements import InspectionStatements
from ferro_oci_server.backends.meta.reviews import ReviewMutations
from ferro_oci_server.core.inspection import Finding, FindingKind, InspectedBlob, InspectedManifest, ScrubCount
from ferro_oci_server.core.records import Blob, ManifestInfo, ReviewKind, StoredManifest, Waste
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["InspectionMutations"]


class InspectionMutations:
    """The questions and the changes."""

    def __init__(self, statements: InspectionStatements, reviews: ReviewMutations, clock: Callable[[], float]) -> None:
        self._statements = statements
        self._reviews = reviews
        self._clock = clock

    # Questions

    async def blob(self, transaction: Transaction, digest: Digest) -> InspectedBlob | None:
        """One blob."""
        row = await transaction.one(self._statements.inspected_blob, digest=digest)
        return None if row is None else _blob(row)

    async def blobs(self, transaction: Transaction, after: str, limit: int) -> list[InspectedBlob]:
        """A page of blobs."""
        return [_blob(row) for row in await transaction.every(self._statements.blob_page, after=after, limit=limit)]

    async def manifests(
        self, transaction: Transaction, name: RepositoryName, after: str, limit: int
    ) -> list[InspectedManifest]:
        """A page of manifests, with what they refer to at the same time."""
        rows = await transaction.every(self._statements.manifest_page, repository=name, after=after, limit=limit)
        return [await self._manifest(transaction, name, row) for row in rows]

    async def _manifest(self, transaction: Transaction, name: RepositoryName, row: Any) -> InspectedManifest:
        manifest_id, repository_id, digest, media_type, size, subject, artifact_type, content = row
        presence = await transaction.every(
            self._statements.presence, manifest_id=manifest_id, repository_id=repository_id
        )
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

    async def links(
        self, transaction: Transaction, name: RepositoryName, after: str, limit: int
    ) -> list[InspectedBlob]:
        """A page of the blobs that a repository links."""
        rows = await transaction.every(self._statements.link_page, repository=name, after=after, limit=limit)
        return [_blob(row) for row in rows]

    async def outlines(
        self, transaction: Transaction, name: RepositoryName, after: str, limit: int
    ) -> list[ManifestInfo]:
        """A page of manifests without their content."""
        rows = await transaction.every(self._statements.outline_page, repository=name, after=after, limit=limit)
        return [ManifestInfo(Digest(digest), media_type, size) for digest, media_type, size in rows]

    async def targets(
        self, transaction: Transaction, name: RepositoryName, after: str, limit: int
    ) -> list[tuple[Tag, Digest]]:
        """A page of tags with what they point at."""
        rows = await transaction.every(self._statements.target_page, repository=name, after=after, limit=limit)
        return [(Tag(tag), Digest(digest)) for tag, digest in rows]

    async def loose_rows(self, transaction: Transaction, limit: int) -> list[Finding]:
        """Records that belong to nothing."""
        findings: list[Finding] = []
        for problem, statement in self._statements.loose_rows.items():
            rows = await transaction.every(statement, limit=limit)
            findings += [Finding(FindingKind.ROW, repository, key, problem) for repository, key in rows]
        return findings

    async def spares(self, transaction: Transaction, digest: Digest) -> list[Waste]:
        """Bytes that can be brought back."""
        rows = await transaction.every(self._statements.spares, digest=digest)
        return [Waste(location, Digest(key), size) for location, key, size in rows]

    async def known(self, transaction: Transaction, locations: Sequence[str]) -> set[str]:
        """Those locations that something knows."""
        rows = await transaction.every(self._statements.known, texts=self._statements.texts(locations))
        return {location for (location,) in rows}

    async def scrub_count(self, transaction: Transaction) -> ScrubCount:
        """What was scrubbed."""
        cycles, blobs, size = await transaction.one(self._statements.scrub_total) or (0, 0, 0)
        (suspects,) = await transaction.one(self._statements.suspects)
        return ScrubCount(cycles, blobs, size, suspects)

    async def is_resting(self, transaction: Transaction, interval: int) -> bool:
        """Whether the next cycle of the scrub has not begun and should not yet."""
        row = await transaction.one(self._statements.scrub)
        return row is not None and self._is_rest(row[1], interval)

    def _is_rest(self, rested_at: int | None, interval: int) -> bool:
        # A clock that was set back ends the rest: a cycle too many does no harm.
        return rested_at is not None and 0 <= self._now() - rested_at < interval

    # Changes

    async def mark_blob(self, transaction: Transaction, blob: Blob, *, suspect: bool) -> bool:
        """Set or lift the mark, if the blob is where it was."""
        return await transaction.change(
            self._statements.mark_blob,
            digest=blob.digest,
            location=blob.location,
            is_suspect=int(suspect),
        )

    async def restore_blob(self, transaction: Transaction, blob: Blob, spare: Waste) -> bool:
        """Swap the bytes of a blob for others that wait, if both are where they were."""
        row = await transaction.one(self._statements.held_blob, digest=blob.digest)
        known = None if row is None else _blob(row)
        if known is None or known.blob.location != blob.location:
            return False
        if not await self._reviews.take_waste(transaction, spare.location):
            return False
        damaged = Waste(known.blob.location, known.blob.digest, known.blob.size)
        await self._reviews.waste(transaction, ReviewKind.SUPERSEDED, damaged)
        return await transaction.change(
            self._statements.move_blob,
            digest=blob.digest,
            location=blob.location,
            spare=spare.location,
            spare_size=spare.size,
        )

    async def trash_bytes(self, transaction: Transaction, waste: Waste) -> bool:
        """Let bytes wait as trash, if nothing knows them."""
        if await self.known(transaction, [waste.location]):
            return False
        await self._reviews.waste(transaction, ReviewKind.TRASH, waste)
        return True

    async def next_to_scrub(self, transaction: Transaction, limit: int, interval: int) -> list[InspectedBlob]:
        """Move the scrub's place forward by a page; or, at the end, let it rest."""
        await transaction.change(self._statements.begin_scrub)
        cursor, rested_at = await transaction.one(self._statements.held_scrub)
        if self._is_rest(rested_at, interval):
            return []
        page = await self.blobs(transaction, cursor, limit)
        if page:
            size = sum(inspected.blob.size for inspected in page)
            values = {"new_cursor": page[-1].blob.digest, "more_blobs": len(page), "more_bytes": size}
            await transaction.change(self._statements.advance_scrub, **values)
        else:
            await transaction.change(self._statements.rest_scrub, now=self._now())
        return page

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _blob(row: Any) -> InspectedBlob:
    digest, size, location, checksum, suspect = row
    return InspectedBlob(Blob(Digest(digest), size, location, checksum), bool(suspect))
