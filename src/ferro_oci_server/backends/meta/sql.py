"""All that a registry knows except the bytes of blobs, in tables of whatever database holds them."""

import json
from collections.abc import Callable, Sequence, Set

from sqlalchemy.engine import Dialect

from ferro_oci_server.backends.meta.credentials import CredentialMutations, credential_of
from ferro_oci_server.backends.meta.database import Database, Transaction
from ferro_oci_server.backends.meta.inspection import InspectionMutations
from ferro_oci_server.backends.meta.inspection_statements import InspectionStatements
from ferro_oci_server.backends.meta.mutations import Mutations
from ferro_oci_server.backends.meta.review_statements import ReviewStatements
from ferro_oci_server.backends.meta.reviews import ReviewMutations, upload_of
from ferro_oci_server.backends.meta.statements import Statements
from ferro_oci_server.backends.meta.usage_statements import UsageStatements
from ferro_oci_server.core.access import TagGuard
from ferro_oci_server.core.credentials import Credential, CredentialKind
from ferro_oci_server.core.inspection import Finding, InspectedBlob, InspectedManifest, ScrubCount
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

__all__ = ["SqlRegistryMeta"]


class SqlRegistryMeta:
    """A ``RegistryMeta`` with ``Inspection``, over a database. Each database has a subclass, which opens it."""

    def __init__(self, database: Database, dialect: Dialect, clock: Callable[[], float]) -> None:
        """Take over a database, which ``close`` will close; times are read from ``clock``, in seconds."""
        self._database = database
        self._statements = Statements(dialect)
        self._review_statements = ReviewStatements(dialect)
        self._reviews = ReviewMutations(self._review_statements)
        self._mutations = Mutations(self._statements, self._reviews, clock)
        self._credentials = CredentialMutations(dialect)
        self._inspection = InspectionMutations(InspectionStatements(dialect), self._reviews, clock)
        self._usage_statements = UsageStatements(dialect)

    async def get_manifest(self, name: RepositoryName, reference: Reference) -> StoredManifest | None:
        """The manifest that a tag points at, or that has a digest."""
        if isinstance(reference, Digest):
            row = await self._database.one(self._statements.manifest_by_digest, repository=name, digest=reference)
        else:
            row = await self._database.one(self._statements.manifest_by_tag, repository=name, tag=reference)
        return row and StoredManifest(Digest(row[0]), row[1], row[2])

    async def stat_manifest(
        self, name: RepositoryName, reference: Reference, *, lease: bool = False
    ) -> ManifestInfo | None:
        """The same without its content; with ``lease``, its review begins to wait anew."""
        by_tag, by_digest = self._statements.outline_by_tag, self._statements.outline_by_digest
        if lease:
            by_tag, by_digest = self._statements.leased_by_tag, self._statements.leased_by_digest
        if isinstance(reference, Digest):
            row = await self._database.one(by_digest, repository=name, digest=reference)
        else:
            row = await self._database.one(by_tag, repository=name, tag=reference)
        if row is None:
            return None
        digest, media_type, size, *has_waited = row
        if has_waited and has_waited[0] and not await self._lease(ReviewKind.MANIFEST, name, Digest(digest)):
            return None
        return ManifestInfo(Digest(digest), media_type, size)

    async def put_manifest(
        self,
        name: RepositoryName,
        manifest: ManifestRecord,
        tags: Sequence[Tag] = (),
        *,
        allow_missing: bool = False,
        condition: Condition | None = None,
        guard: TagGuard | None = None,
    ) -> None:
        """Record a manifest with its references, point the tags at it and index its subject: all or nothing."""
        await self._database.run(
            self._mutations.put_manifest, name, manifest, tags, condition, guard, allow_missing=allow_missing
        )

    async def delete_manifest(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest, every tag that points at it and its entry among the referrers of its subject."""
        return await self._database.run(self._mutations.delete_manifest, name, digest)

    async def delete_tag(self, name: RepositoryName, tag: Tag) -> bool:
        """Remove a tag; its manifest stays."""
        return await self._database.run(self._mutations.delete_tag, name, tag)

    async def list_tags(self, name: RepositoryName, after: str, limit: int) -> list[Tag] | None:
        """Up to ``limit`` tags that sort behind ``after``; ``None`` where the repository does not exist."""
        # A page of none must still tell whether the repository exists: its row comes with the first tag, or alone.
        rows = await self._database.every(
            self._statements.tag_page, repository=name, after=_plain(after), limit=max(limit, 1)
        )
        if not rows:
            return None
        return [Tag(tag) for (tag,) in rows[:limit] if tag is not None]

    async def list_repositories(self, after: str, limit: int) -> list[RepositoryName]:
        """Up to ``limit`` repositories that sort behind ``after``."""
        rows = await self._database.every(self._statements.repository_page, after=_plain(after), limit=limit)
        return [RepositoryName(name) for (name,) in rows]

    async def list_referrers(
        self, name: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[Descriptor]:
        """Up to ``limit`` manifests with that subject, of that type if one is given, by digest behind ``after``."""
        values = {"repository": name, "subject": subject, "after": _plain(after), "limit": limit}
        if artifact_type is None:
            rows = await self._database.every(self._statements.referrer_page, **values)
        elif _plain(artifact_type) == artifact_type:
            rows = await self._database.every(
                self._statements.referrer_page_of_type, artifact_type=artifact_type, **values
            )
        else:
            rows = []
        return [_referrer(*row) for row in rows]

    async def get_blob(self, name: RepositoryName, digest: Digest, *, lease: bool = False) -> Blob | None:
        """The blob, if it is linked in this repository; with ``lease``, its review begins to wait anew."""
        statement = self._statements.leased_blob if lease else self._statements.linked_blob
        row = await self._database.one(statement, repository=name, digest=digest)
        if row is None:
            return None
        size, location, checksum, *has_waited = row
        if has_waited and has_waited[0] and not await self._lease(ReviewKind.LINK, name, digest):
            return None
        return Blob(digest, size, location, checksum)

    async def _lease(self, kind: ReviewKind, name: RepositoryName, digest: Digest) -> bool:
        """Put a review off that has waited for a while; tell whether what it is of is still there."""
        return await self._database.run(self._reviews.lease, kind, name, digest)

    async def mount_blob(self, name: RepositoryName, digest: Digest, source: RepositoryName | None) -> Blob | None:
        """Link a blob that is linked in ``source`` (``None``: in any repository) in this repository as well."""
        return await self._database.run(self._mutations.mount_blob, name, digest, source)

    async def unlink_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove the link of a blob in this repository; other repositories keep theirs."""
        return await self._database.run(self._mutations.unlink_blob, name, digest)

    async def create_upload(self, session: UploadSession) -> None:
        """Record a new upload session. Its repository need not exist, and does not come to exist by it."""
        await self._database.run(self._mutations.create_upload, session)

    async def get_upload(self, name: RepositoryName, upload: UploadId) -> UploadSession | None:
        """The open session with that id, if it belongs to this repository."""
        row = await self._database.one(self._statements.upload, repository=name, id=upload)
        return row and upload_of(name, upload, row)

    async def advance_upload(self, session: UploadSession, advanced: UploadSession) -> bool:
        """Replace an open session by what it is after a chunk, or after its sealing."""
        return await self._database.run(self._mutations.advance_upload, session, advanced)

    async def complete_upload(self, session: UploadSession, blob: Blob) -> bool:
        """End an open session: record the blob, or its new location, and link it in the session's repository."""
        return await self._database.run(self._mutations.complete_upload, session, blob)

    async def delete_upload(self, name: RepositoryName, upload: UploadId) -> bool:
        """End a session without a blob."""
        return await self._database.run(self._mutations.delete_upload, name, upload)

    async def tick(self, last: int, milliseconds: int) -> int:
        """Let the registry's own clock go on, if no other process has since ``last``; return the last tick."""
        return await self._database.run(self._reviews.tick, last, milliseconds)

    async def review(self, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        """Review links or manifests that have waited for ``age`` milliseconds, oldest first."""
        # Most of the time nothing is due, which is seen without a transaction that others have to wait for.
        if not await self._database.ask(self._reviews.oldest, kind, age, 1):
            return []
        return await self._database.run(self._reviews.review, kind, age, limit)

    async def preview(self, kind: ReviewKind, after: int, limit: int) -> list[tuple[int, Verdict]]:
        """Say of what waits what a review would come to now, and change nothing."""
        return await self._database.ask(self._reviews.preview, kind, after, limit)

    async def waste(self, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        """Bytes that have waited for ``age`` milliseconds, oldest first: they cannot be brought back any more."""
        if not await self._database.ask(self._reviews.oldest, kind, age, 1):
            return []
        return await self._database.run(self._reviews.doom, kind, age, limit)

    async def forget_waste(self, kind: ReviewKind, locations: Sequence[str]) -> None:
        """Forget bytes that have been removed, and count them."""
        await self._database.run(self._reviews.forget_waste, kind, locations)

    async def idle_uploads(self, age: int, limit: int) -> list[UploadSession]:
        """Open sessions that have not moved for ``age`` milliseconds, oldest first."""
        return await self._database.ask(self._reviews.idle_uploads, age, limit)

    async def collected(self) -> Collected:
        """What waits for a review, and what has been removed."""
        return await self._database.ask(self._reviews.collected)

    async def inspect_blob(self, digest: Digest) -> InspectedBlob | None:
        """What is recorded of one blob."""
        return await self._database.ask(self._inspection.blob, digest)

    async def inspect_blobs(self, after: str, limit: int) -> list[InspectedBlob]:
        """Up to ``limit`` blobs, of all repositories, whose digests sort behind ``after``."""
        return await self._database.ask(self._inspection.blobs, after, limit)

    async def inspect_manifests(self, name: RepositoryName, after: str, limit: int) -> list[InspectedManifest]:
        """Up to ``limit`` manifests of a repository whose digests sort behind ``after``."""
        return await self._database.ask(self._inspection.manifests, name, after, limit)

    async def list_links(self, name: RepositoryName, after: str, limit: int) -> list[InspectedBlob]:
        """Up to ``limit`` blobs that a repository links, damaged or not, whose digests sort behind ``after``."""
        return await self._database.ask(self._inspection.links, name, after, limit)

    async def list_manifests(self, name: RepositoryName, after: str, limit: int) -> list[ManifestInfo]:
        """Up to ``limit`` manifests of a repository, without their content, by digest behind ``after``."""
        return await self._database.ask(self._inspection.outlines, name, after, limit)

    async def list_tag_targets(self, name: RepositoryName, after: str, limit: int) -> list[tuple[Tag, Digest]]:
        """Up to ``limit`` tags of a repository that sort behind ``after``, with the manifests that they point at."""
        return await self._database.ask(self._inspection.targets, name, after, limit)

    async def inspect_rows(self, limit: int) -> list[Finding]:
        """Records that belong to nothing, up to ``limit`` of each sort; everything is read for it."""
        return await self._database.ask(self._inspection.loose_rows, limit)

    async def mark_blob(self, blob: Blob, *, suspect: bool) -> bool:
        """Say that the bytes of a blob are damaged, or are not, if it is still where it was."""
        return await self._database.run(self._inspection.mark_blob, blob, suspect=suspect)

    async def spare_bytes(self, digest: Digest) -> list[Waste]:
        """Bytes that wait for their removal and should have this digest, and can be brought back."""
        return await self._database.ask(self._inspection.spares, digest)

    async def restore_blob(self, blob: Blob, spare: Waste) -> bool:
        """Give a blob the bytes that were found to be good at another location; those it had wait as superseded."""
        return await self._database.run(self._inspection.restore_blob, blob, spare)

    async def known_locations(self, locations: Sequence[str]) -> Set[str]:
        """Those among ``locations`` that a blob has, or where bytes wait for their removal."""
        return await self._database.ask(self._inspection.known, locations)

    async def trash_bytes(self, waste: Waste) -> bool:
        """Let bytes that nothing knows wait as trash; ``False`` where something does know them."""
        return await self._database.run(self._inspection.trash_bytes, waste)

    async def next_to_scrub(self, limit: int, interval: int) -> list[InspectedBlob]:
        """Take the next blobs of the scrub's cycle."""
        if await self._database.ask(self._inspection.is_resting, interval):
            return []
        return await self._database.run(self._inspection.next_to_scrub, limit, interval)

    async def scrub_count(self) -> ScrubCount:
        """What the scrub has done, and what must be pushed again."""
        return await self._database.ask(self._inspection.scrub_count)

    async def usage(self, name: RepositoryName, resource: Resource) -> int:
        """How much of something a repository has; each row of it is counted."""
        return await self._database.ask(self._count, name, resource)

    async def _count(self, transaction: Transaction, name: RepositoryName, resource: Resource) -> int:
        return int((await transaction.one(self._usage_statements.of(resource), repository=name))[0])

    async def count_uploads(self, owner: str | None = None) -> int:
        """How many sessions are open, of everybody or of one owner."""
        if owner is None:
            return int((await self._database.one(self._statements.upload_count))[0])
        return int((await self._database.one(self._statements.upload_count_of_owner, owner=owner))[0])

    async def add_credential(self, credential: Credential) -> bool:
        """Keep a credential; ``False`` where there is one of its kind and key, which stays as it is."""
        return await self._database.run(self._credentials.add, credential)

    async def get_credential(self, kind: CredentialKind, key: str) -> Credential | None:
        """The credential, whether it has expired or not."""
        row = await self._database.one(self._credentials.one, kind=kind, key=key)
        return row and credential_of(kind, row)

    async def list_credentials(self, kind: CredentialKind, after: str, limit: int) -> list[Credential]:
        """Up to ``limit`` credentials of a kind whose keys sort behind ``after``."""
        rows = await self._database.every(self._credentials.page, kind=kind, after=_plain(after), limit=limit)
        return [credential_of(kind, row) for row in rows]

    async def delete_credential(self, kind: CredentialKind, key: str) -> bool:
        """Forget a credential; tell whether it was there."""
        return await self._database.run(self._credentials.delete, kind, key)

    async def expire_credentials(self, before: float) -> None:
        """Forget what expired earlier than ``before``."""
        await self._database.run(self._credentials.expire, before)

    async def check(self) -> None:
        """Read one row's worth of an index.

        Raises:
            StoreUnavailable: it cannot be read, or the store is closed.
        """
        await self._database.every(self._statements.repository_page, after="", limit=1)

    async def close(self) -> None:
        """Finish what was accepted and release everything; the last call."""
        await self._database.close()


def _plain(position: str) -> str:
    """A place in the order of names that databases take: names are of plain ASCII, and this sorts alike among them."""
    for index, character in enumerate(position):
        if character == "\0":
            return position[:index]
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
