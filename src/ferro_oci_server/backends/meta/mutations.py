"""What changes a registry's tables: each function runs within a transaction, and is undone whole if it raises."""

import json
from collections.abc import Callable, Mapping, Sequence

from ferro_oci_server.backends.meta.database import Transaction
from ferro_oci_server.backends.meta.reviews import ReviewMutations, upload_of
from ferro_oci_server.backends.meta.statements import Statement, Statements
from ferro_oci_server.core.access import TagGuard
from ferro_oci_server.core.records import (
    Blob,
    Condition,
    ManifestRecord,
    ReviewKind,
    UploadId,
    UploadSession,
    Waste,
)
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import ManifestBlobUnknown, PreconditionFailed
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["Mutations"]


class Mutations:
    """The changes."""

    def __init__(self, statements: Statements, reviews: ReviewMutations, clock: Callable[[], float]) -> None:
        self._statements = statements
        self._reviews = reviews
        self._clock = clock

    async def put_manifest(
        self,
        transaction: Transaction,
        name: RepositoryName,
        manifest: ManifestRecord,
        tags: Sequence[Tag],
        condition: Condition | None,
        guard: TagGuard | None,
        *,
        allow_missing: bool,
    ) -> None:
        """Record a manifest, its references and its tags, if the guard, the condition and the references hold."""
        if condition is None and guard is None:
            repository_id = await self._reviews.share(transaction, name)
        else:
            # Of two that want the tag to be what it is, or not to be there, one must see what the other made of it.
            repository_id = await self._reviews.hold(transaction, name)
        if guard is not None:
            await self._check_guard(transaction, name, manifest.digest, tags, guard)
        if condition is not None:
            await self._check_condition(transaction, name, manifest.digest, tags, condition)
        if not allow_missing:
            await self._check_references(transaction, repository_id, manifest)
        if repository_id is None:
            repository_id = await self._make_repository(transaction, name)
        manifest_id = await self._put_manifest(transaction, repository_id, manifest)
        here = {"repository_id": repository_id, "manifest_id": manifest_id}
        references = self._statements.texts({*manifest.blobs, *manifest.children, *manifest.optional})
        await transaction.change(self._statements.put_references, **here, texts=references)
        for tag in sorted(set(tags)):
            await self._point(transaction, name, tag, here)
        if tags:
            await self._reviews.drop(transaction, ReviewKind.MANIFEST, name, manifest.digest)
        else:
            await self._reviews.wait(transaction, ReviewKind.MANIFEST, name, [manifest.digest])

    async def delete_manifest(self, transaction: Transaction, name: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest; its tags and references go with it, by their foreign keys."""
        return await self._reviews.remove_manifest(transaction, name, digest) is not None

    async def delete_tag(self, transaction: Transaction, name: RepositoryName, tag: Tag) -> bool:
        """Remove a tag; its manifest begins to wait."""
        repository_id = await self._reviews.hold(transaction, name)
        row = await transaction.one(self._statements.delete_tag, repository_id=repository_id, tag=tag)
        if row is None:
            return False
        await self._untagged(transaction, name, row[0])
        return True

    async def mount_blob(
        self,
        transaction: Transaction,
        name: RepositoryName,
        digest: Digest,
        source: RepositoryName | None,
    ) -> Blob | None:
        """Link a blob that some repository, or the source, has."""
        repository_id = await self._reviews.share(transaction, name)
        if source is None:
            found = await transaction.one(self._statements.mountable_anywhere, digest=digest)
        else:
            found = await transaction.one(self._statements.mountable, digest=digest, repository=source)
        if found is None:
            return None
        await self._link_blob(transaction, name, repository_id, digest)
        return Blob(digest, *found)

    async def unlink_blob(self, transaction: Transaction, name: RepositoryName, digest: Digest) -> bool:
        """Remove a link."""
        return await self._reviews.unlink(transaction, name, digest)

    async def create_upload(self, transaction: Transaction, session: UploadSession) -> None:
        """Record a session."""
        now = self._now()
        await transaction.change(
            self._statements.create_upload,
            id=session.id,
            repository=session.repository,
            algorithm=session.algorithm,
            offset=session.offset,
            digest=session.digest,
            checksum=session.checksum,
            note=session.note,
            location=session.location,
            owner=session.owner,
            started_at=now,
            updated_at=now,
        )
        await self._reviews.wait(transaction, ReviewKind.UPLOAD, "", [session.id])

    async def advance_upload(self, transaction: Transaction, session: UploadSession, advanced: UploadSession) -> bool:
        """Move a session, if it has not moved."""
        moved = await transaction.change(
            self._statements.advance_upload,
            id=session.id,
            repository=session.repository,
            offset=session.offset,
            new_offset=advanced.offset,
            new_digest=advanced.digest,
            new_checksum=advanced.checksum,
            new_note=advanced.note,
            new_location=advanced.location,
            now=self._now(),
        )
        if moved:
            await self._reviews.wait(transaction, ReviewKind.UPLOAD, "", [session.id])
        return moved

    async def complete_upload(self, transaction: Transaction, session: UploadSession, blob: Blob) -> bool:
        """End a session, if it has not moved, and put its blob in its place.

        Bytes that were committed long ago may have been taken for garbage meanwhile, and be gone.
        """
        name = session.repository
        repository_id = await self._reviews.share(transaction, name)
        if await self._reviews.is_doomed(transaction, blob.location):
            return False
        unmoved = await transaction.change(
            self._statements.complete_upload,
            id=session.id,
            repository=session.repository,
            offset=session.offset,
        )
        if not unmoved:
            return False
        await self._reviews.drop(transaction, ReviewKind.UPLOAD, "", session.id)
        await self._reviews.take_waste(transaction, blob.location)
        await self._put_blob(transaction, blob)
        await self._link_blob(transaction, name, repository_id, blob.digest)
        return True

    async def delete_upload(self, transaction: Transaction, name: RepositoryName, upload: UploadId) -> bool:
        """End a session. Where it was sealed, there may be bytes that only it knows."""
        row = await transaction.one(self._statements.held_upload, repository=name, id=upload)
        if row is None:
            return False
        session = upload_of(name, upload, row)
        if session.location is not None and session.digest is not None:
            waste = Waste(session.location, session.digest, session.offset)
            await self._reviews.waste(transaction, ReviewKind.TRASH, waste)
        await self._reviews.drop(transaction, ReviewKind.UPLOAD, "", upload)
        return await transaction.change(self._statements.delete_upload, repository=name, id=upload)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    async def _make_repository(self, transaction: Transaction, name: RepositoryName) -> int:
        await transaction.change(self._statements.put_repository, repository=name)
        return int((await transaction.one(self._statements.repository_id, repository=name))[0])

    async def _put_blob(self, transaction: Transaction, blob: Blob) -> None:
        """Record a blob. Bytes at another location that it had until now begin to wait."""
        size, location = await transaction.one(
            self._statements.claim_blob,
            digest=blob.digest,
            size=blob.size,
            location=blob.location,
            checksum=blob.checksum,
            stored_at=self._now(),
        )
        if location != blob.location:
            await self._reviews.waste(transaction, ReviewKind.SUPERSEDED, Waste(location, blob.digest, size))
            values = {"digest": blob.digest, "new_size": blob.size, "new_location": blob.location}
            await transaction.change(self._statements.move_blob, **values)

    async def _point(self, transaction: Transaction, name: RepositoryName, tag: Tag, here: Mapping[str, int]) -> None:
        """Point a tag at a manifest. The one that it pointed at until now begins to wait."""
        (former,) = await transaction.one(self._statements.claim_tag, **here, name=tag, updated_at=self._now())
        if former != here["manifest_id"]:
            await self._untagged(transaction, name, former)
            values = {"repository_id": here["repository_id"], "new_manifest_id": here["manifest_id"]}
            await transaction.change(self._statements.move_tag, **values, tag=tag)

    async def _untagged(self, transaction: Transaction, name: RepositoryName, manifest_id: int) -> None:
        (digest,) = await transaction.one(self._statements.manifest_digest, manifest_id=manifest_id)
        await self._reviews.wait(transaction, ReviewKind.MANIFEST, name, [digest])

    async def _link_blob(
        self, transaction: Transaction, name: RepositoryName, repository_id: int | None, digest: Digest
    ) -> None:
        if repository_id is None:
            repository_id = await self._make_repository(transaction, name)
        await transaction.change(self._statements.link_blob, repository_id=repository_id, digest=digest)
        await self._reviews.wait(transaction, ReviewKind.LINK, name, [digest])

    async def _put_manifest(self, transaction: Transaction, repository_id: int, manifest: ManifestRecord) -> int:
        annotations = manifest.annotations
        row = await transaction.one(
            self._statements.put_manifest,
            repository_id=repository_id,
            digest=manifest.digest,
            media_type=manifest.media_type,
            size=len(manifest.content),
            subject=manifest.subject,
            artifact_type=manifest.artifact_type,
            pushed_at=self._now(),
            # In ASCII, JSON carries what no encoding of text can: halves of surrogate pairs.
            annotations=None if annotations is None else json.dumps(dict(annotations)).encode("ascii"),
            content=manifest.content,
        )
        return int(row[0])

    async def _check_references(
        self, transaction: Transaction, repository_id: int | None, manifest: ManifestRecord
    ) -> None:
        """See that all blobs and children are there, with at most two questions however many there are.

        Raises:
            ManifestBlobUnknown: some are not.
        """
        missing = {*manifest.blobs, *manifest.children}
        if not missing:
            return
        if repository_id is not None:
            missing = await self._among(transaction, self._statements.unlinked_among, repository_id, missing)
            # What is needed as a blob is not found as a manifest.
            children = missing.intersection(manifest.children).difference(manifest.blobs)
            if children:
                missing -= children
                missing |= await self._among(transaction, self._statements.unheld_among, repository_id, children)
        if missing:
            raise ManifestBlobUnknown(missing)

    async def _among(
        self, transaction: Transaction, statement: Statement, repository_id: int, digests: set[Digest]
    ) -> set[Digest]:
        texts = self._statements.texts(digests)
        rows = await transaction.every(statement, repository_id=repository_id, texts=texts)
        return {Digest(digest) for (digest,) in rows}

    async def _check_guard(
        self,
        transaction: Transaction,
        name: RepositoryName,
        digest: Digest,
        tags: Sequence[Tag],
        guard: TagGuard,
    ) -> None:
        """Ask the guard of every tag.

        Raises:
            Denied: it refuses one.
        """
        for tag in tags:
            row = await transaction.one(self._statements.outline_by_tag, repository=name, tag=tag)
            guard.check(tag, None if row is None else row[0], digest)

    async def _check_condition(
        self,
        transaction: Transaction,
        name: RepositoryName,
        digest: Digest,
        tags: Sequence[Tag],
        condition: Condition,
    ) -> None:
        """Ask the condition of every tag, or of the digest where there is none.

        Raises:
            PreconditionFailed: it does not hold.
        """
        outline_by_tag, outline_by_digest = self._statements.outline_by_tag, self._statements.outline_by_digest
        current = [await transaction.one(outline_by_tag, repository=name, tag=tag) for tag in tags] or [
            await transaction.one(outline_by_digest, repository=name, digest=digest)
        ]
        if not all(condition.holds(None if row is None else row[0]) for row in current):
            raise PreconditionFailed("the condition of the request does not hold")
