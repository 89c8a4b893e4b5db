"""What changes a registry's tables: each function runs within a transaction, and is undone whole if it raises."""

import json
import sqlite3
from collections.abc import Callable, Sequence

from ferro_oci_server.backends.meta.sqlite_connection import change, change_many, every, one
from ferro_oci_server.backends.meta.sqlite_reviews import ReviewMutations, upload_of
from ferro_oci_server.backends.meta.statements import Statement, Statements
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
    """The changes, on a connection that is in a transaction."""

    def __init__(self, statements: Statements, reviews: ReviewMutations, clock: Callable[[], float]) -> None:
        self._statements = statements
        self._reviews = reviews
        self._clock = clock

    def put_manifest(
        self,
        connection: sqlite3.Connection,
        name: RepositoryName,
        manifest: ManifestRecord,
        tags: Sequence[Tag],
        condition: Condition | None,
        *,
        allow_missing: bool,
    ) -> None:
        """Record a manifest, its references and its tags, if the condition and the references hold."""
        if condition is not None:
            self._check_condition(connection, name, manifest.digest, tags, condition)
        repository_id = self._find_repository(connection, name)
        if not allow_missing:
            self._check_references(connection, repository_id, manifest)
        if repository_id is None:
            repository_id = self._make_repository(connection, name)
        manifest_id = self._put_manifest(connection, repository_id, manifest)
        here = {"repository_id": repository_id, "manifest_id": manifest_id}
        references = dict.fromkeys((*manifest.blobs, *manifest.children, *manifest.optional))
        change_many(connection, self._statements.put_reference, [{**here, "digest": digest} for digest in references])
        now = self._now()
        self._reviews.untag(connection, name, tags)
        change_many(connection, self._statements.put_tag, [{**here, "name": tag, "updated_at": now} for tag in tags])
        if tags:
            self._reviews.drop(connection, ReviewKind.MANIFEST, name, manifest.digest)
        else:
            self._reviews.wait(connection, ReviewKind.MANIFEST, name, [manifest.digest])

    def delete_manifest(self, connection: sqlite3.Connection, name: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest; its tags and references go with it, by their foreign keys."""
        return self._reviews.remove_manifest(connection, name, digest) is not None

    def delete_tag(self, connection: sqlite3.Connection, name: RepositoryName, tag: Tag) -> bool:
        """Remove a tag; its manifest begins to wait."""
        self._reviews.untag(connection, name, [tag])
        return change(connection, self._statements.delete_tag, repository=name, tag=tag)

    def mount_blob(
        self,
        connection: sqlite3.Connection,
        name: RepositoryName,
        digest: Digest,
        source: RepositoryName | None,
    ) -> Blob | None:
        """Link a blob that some repository, or the source, has."""
        if source is None:
            found = one(connection, self._statements.blob_linked_anywhere, digest=digest)
        else:
            found = one(connection, self._statements.linked_blob, digest=digest, repository=source)
        if found is None:
            return None
        self._link_blob(connection, name, digest)
        return Blob(digest, *found)

    def unlink_blob(self, connection: sqlite3.Connection, name: RepositoryName, digest: Digest) -> bool:
        """Remove a link."""
        return self._reviews.unlink(connection, name, digest)

    def create_upload(self, connection: sqlite3.Connection, session: UploadSession) -> None:
        """Record a session."""
        now = self._now()
        change(
            connection,
            self._statements.create_upload,
            id=session.id,
            repository=session.repository,
            algorithm=session.algorithm,
            offset=session.offset,
            digest=session.digest,
            checksum=session.checksum,
            note=session.note,
            location=session.location,
            started_at=now,
            updated_at=now,
        )
        self._reviews.wait(connection, ReviewKind.UPLOAD, "", [session.id])

    def advance_upload(self, connection: sqlite3.Connection, session: UploadSession, advanced: UploadSession) -> bool:
        """Move a session, if it has not moved."""
        self._reviews.wait(connection, ReviewKind.UPLOAD, "", [session.id])
        return change(
            connection,
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

    def complete_upload(self, connection: sqlite3.Connection, session: UploadSession, blob: Blob) -> bool:
        """End a session, if it has not moved, and put its blob in its place.

        Bytes that were committed long ago may have been taken for garbage meanwhile, and be gone.
        """
        if self._reviews.is_doomed(connection, blob.location):
            return False
        unmoved = change(
            connection,
            self._statements.complete_upload,
            id=session.id,
            repository=session.repository,
            offset=session.offset,
        )
        if not unmoved:
            return False
        self._reviews.drop(connection, ReviewKind.UPLOAD, "", session.id)
        self._reviews.take_waste(connection, blob.location)
        self._reviews.supersede(connection, blob.digest, blob.location)
        change(
            connection,
            self._statements.put_blob,
            digest=blob.digest,
            size=blob.size,
            location=blob.location,
            checksum=blob.checksum,
            stored_at=self._now(),
        )
        self._link_blob(connection, session.repository, blob.digest)
        return True

    def delete_upload(self, connection: sqlite3.Connection, name: RepositoryName, upload: UploadId) -> bool:
        """End a session. Where it was sealed, there may be bytes that only it knows."""
        row = one(connection, self._statements.upload, repository=name, id=upload)
        if row is None:
            return False
        session = upload_of(name, upload, row)
        if session.location is not None and session.digest is not None:
            waste = Waste(session.location, session.digest, session.offset)
            self._reviews.waste(connection, ReviewKind.TRASH, waste)
        self._reviews.drop(connection, ReviewKind.UPLOAD, "", upload)
        return change(connection, self._statements.delete_upload, repository=name, id=upload)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _find_repository(self, connection: sqlite3.Connection, name: RepositoryName) -> int | None:
        row = one(connection, self._statements.repository_id, repository=name)
        return None if row is None else int(row[0])

    def _make_repository(self, connection: sqlite3.Connection, name: RepositoryName) -> int:
        change(connection, self._statements.put_repository, repository=name)
        return int(one(connection, self._statements.repository_id, repository=name)[0])

    def _link_blob(self, connection: sqlite3.Connection, name: RepositoryName, digest: Digest) -> None:
        repository_id = self._find_repository(connection, name) or self._make_repository(connection, name)
        change(connection, self._statements.link_blob, repository_id=repository_id, digest=digest)
        self._reviews.wait(connection, ReviewKind.LINK, name, [digest])

    def _put_manifest(self, connection: sqlite3.Connection, repository_id: int, manifest: ManifestRecord) -> int:
        annotations = manifest.annotations
        change(
            connection,
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
        row = one(connection, self._statements.manifest_id, repository_id=repository_id, digest=manifest.digest)
        return int(row[0])

    def _check_references(
        self, connection: sqlite3.Connection, repository_id: int | None, manifest: ManifestRecord
    ) -> None:
        """See that all blobs and children are there, with at most two questions however many there are.

        Raises:
            ManifestBlobUnknown: some are not.
        """
        missing = {*manifest.blobs, *manifest.children}
        if not missing:
            return
        if repository_id is not None:
            missing -= self._among(connection, self._statements.linked_among, repository_id, missing)
            # What is needed as a blob is not found as a manifest.
            children = missing.intersection(manifest.children).difference(manifest.blobs)
            if children:
                missing -= self._among(connection, self._statements.held_among, repository_id, children)
        if missing:
            raise ManifestBlobUnknown(missing)

    @staticmethod
    def _among(
        connection: sqlite3.Connection, statement: Statement, repository_id: int, digests: set[Digest]
    ) -> set[str]:
        rows = every(connection, statement, repository_id=repository_id, texts=json.dumps(list(digests)))
        return {digest for (digest,) in rows}

    def _check_condition(
        self,
        connection: sqlite3.Connection,
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
        current = [one(connection, outline_by_tag, repository=name, tag=tag) for tag in tags] or [
            one(connection, outline_by_digest, repository=name, digest=digest)
        ]
        if not all(condition.holds(None if row is None else row[0]) for row in current):
            raise PreconditionFailed("the condition of the request does not hold")
