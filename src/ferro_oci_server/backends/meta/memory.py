"""All that a registry knows except the bytes of blobs, in memory, for one process.

Every method runs from its first to its last line without a pause, so that on one event loop each is a transaction.
Lists are kept in order, so that a page costs what is on it.
"""

import time
from collections.abc import Sequence, Set
from dataclasses import replace
from heapq import nsmallest

from ferro_oci_server.backends.meta.memory_credentials import InMemoryCredentials
from ferro_oci_server.backends.meta.memory_repository import Repository, SortedSet, references
from ferro_oci_server.backends.meta.memory_reviews import ReviewQueue
from ferro_oci_server.core.access import TagGuard
from ferro_oci_server.core.inspection import Finding, FindingKind, InspectedBlob, InspectedManifest, ScrubCount
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
from ferro_oci_server.oci.errors import ManifestBlobUnknown, PreconditionFailed
from ferro_oci_server.oci.media_types import INDEX_TYPES
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Reference, Tag

__all__ = ["InMemoryRegistryMeta"]


class InMemoryRegistryMeta(InMemoryCredentials):
    """Keeps everything in memory: closing it, or the end of the process, forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self._repositories: dict[RepositoryName, Repository] = {}
        self._names: SortedSet[RepositoryName] = SortedSet()
        self._blobs: dict[Digest, Blob] = {}
        self._links: dict[Digest, int] = {}
        """In how many repositories a blob is linked."""
        self._uploads: dict[UploadId, UploadSession] = {}
        self._trash: dict[str, Waste] = {}
        self._doomed: set[str] = set()
        """Where somebody has begun to remove bytes."""
        self._suspects: set[Digest] = set()
        self._scrub = ScrubCount(0, 0, 0, 0)
        self._scrub_cursor = ""
        self._scrub_rested_at: float | None = None
        self._reviews = ReviewQueue()

    def _find(self, name: RepositoryName) -> Repository:
        """The repository, or an empty one that is not kept."""
        return self._repositories.get(name) or Repository()

    def _make(self, name: RepositoryName) -> Repository:
        repository = self._repositories.get(name)
        if repository is None:
            repository = self._repositories[name] = Repository()
            self._names.add(name)
        return repository

    async def get_manifest(self, name: RepositoryName, reference: Reference) -> StoredManifest | None:
        """The manifest that a tag points at, or that has a digest."""
        repository = self._find(name)
        digest = repository.resolve(reference)
        if digest is None:
            return None
        manifest = repository.manifests[digest]
        return StoredManifest(digest, manifest.media_type, manifest.content)

    async def stat_manifest(
        self, name: RepositoryName, reference: Reference, *, lease: bool = False
    ) -> ManifestInfo | None:
        """The same without its content; with ``lease``, its review begins to wait anew."""
        manifest = await self.get_manifest(name, reference)
        if manifest is None:
            return None
        if lease:
            self._lease(ReviewKind.MANIFEST, name, manifest.digest)
        return ManifestInfo(manifest.digest, manifest.media_type, len(manifest.content))

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
        found = self._find(name)
        if guard is not None:
            for tag in tags:
                guard.check(tag, found.tags.get(tag), manifest.digest)
        references: Sequence[Reference] = tags or (manifest.digest,)
        if condition is not None and not all(condition.holds(found.resolve(it)) for it in references):
            raise PreconditionFailed("the condition of the request does not hold")
        missing = set() if allow_missing else found.missing(manifest)
        if missing:
            raise ManifestBlobUnknown(missing)
        repository = self._make(name)
        repository.put_manifest(manifest)
        self._untag(name, tags)
        for tag in tags:
            repository.put_tag(tag, manifest.digest)
        if tags:
            self._reviews.drop(ReviewKind.MANIFEST, name, manifest.digest)
        else:
            self._reviews.wait(ReviewKind.MANIFEST, name, [manifest.digest])

    async def delete_manifest(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest, every tag that points at it and its entry among the referrers of its subject."""
        repository = self._find(name)
        manifest = repository.manifests.get(digest)
        if manifest is None:
            return False
        repository.delete_manifest(digest)
        self._reviews.wait(ReviewKind.LINK, name, references(manifest))
        if manifest.media_type in INDEX_TYPES:
            self._reviews.wait(ReviewKind.MANIFEST, name, references(manifest))
        referrers = repository.referrers.get((digest, None))
        if referrers is not None:
            self._reviews.wait(ReviewKind.MANIFEST, name, referrers.page("", len(referrers)))
        return True

    async def delete_tag(self, name: RepositoryName, tag: Tag) -> bool:
        """Remove a tag; its manifest stays, and begins to wait for a review."""
        self._untag(name, [tag])
        return self._find(name).delete_tag(tag)

    async def list_tags(self, name: RepositoryName, after: str, limit: int) -> list[Tag] | None:
        """Up to ``limit`` tags that sort behind ``after``; ``None`` where the repository does not exist."""
        repository = self._repositories.get(name)
        return None if repository is None else repository.tag_names.page(after, limit)

    async def list_repositories(self, after: str, limit: int) -> list[RepositoryName]:
        """Up to ``limit`` repositories that sort behind ``after``."""
        return self._names.page(after, limit)

    async def list_referrers(
        self, name: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[Descriptor]:
        """Up to ``limit`` manifests with that subject, of that type if one is given, by digest behind ``after``."""
        repository = self._find(name)
        digests = repository.referrers.get((subject, artifact_type))
        if digests is None:
            return []
        return [repository.manifests[digest].descriptor() for digest in digests.page(after, limit)]

    async def get_blob(self, name: RepositoryName, digest: Digest, *, lease: bool = False) -> Blob | None:
        """The blob, if it is linked in this repository; with ``lease``, its review begins to wait anew."""
        if digest not in self._find(name).blobs or digest in self._suspects:
            return None
        if lease:
            self._lease(ReviewKind.LINK, name, digest)
        return self._blobs[digest]

    def _lease(self, kind: ReviewKind, name: RepositoryName, digest: Digest) -> None:
        if self._reviews.has_waited(kind, name, digest):
            self._reviews.wait(kind, name, [digest])

    def _untag(self, name: RepositoryName, tags: Sequence[Tag]) -> None:
        """Let the manifests that tags point at wait: the tags are about to be moved or removed."""
        pointed_at = [self._find(name).tags.get(tag) for tag in tags]
        self._reviews.wait(ReviewKind.MANIFEST, name, [digest for digest in pointed_at if digest is not None])

    async def mount_blob(self, name: RepositoryName, digest: Digest, source: RepositoryName | None) -> Blob | None:
        """Link a blob that is linked in ``source`` (``None``: in any repository) in this repository as well."""
        linked = digest in self._links if source is None else digest in self._find(source).blobs
        if not linked or digest in self._suspects:
            return None
        self._link(name, digest)
        return self._blobs[digest]

    def _link(self, name: RepositoryName, digest: Digest) -> None:
        repository = self._make(name)
        if digest not in repository.blobs:
            repository.blobs.add(digest)
            self._links[digest] = self._links.get(digest, 0) + 1
        self._reviews.wait(ReviewKind.LINK, name, [digest])

    async def unlink_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove the link of a blob in this repository; other repositories keep theirs."""
        repository = self._find(name)
        if digest not in repository.blobs:
            return False
        repository.blobs.discard(digest)
        self._links[digest] -= 1
        if not self._links[digest]:
            del self._links[digest]
            self._suspects.discard(digest)
            self._waste(ReviewKind.TRASH, _waste_of(self._blobs.pop(digest)))
        return True

    def _waste(self, kind: ReviewKind, waste: Waste) -> None:
        self._trash[waste.location] = waste
        self._reviews.wait(kind, "", [waste.location])

    async def create_upload(self, session: UploadSession) -> None:
        """Record a new upload session. Its repository need not exist, and does not come to exist by it."""
        self._uploads[session.id] = session
        self._reviews.wait(ReviewKind.UPLOAD, "", [session.id])

    async def get_upload(self, name: RepositoryName, upload: UploadId) -> UploadSession | None:
        """The open session with that id, if it belongs to this repository."""
        session = self._uploads.get(upload)
        return session if session is not None and session.repository == name else None

    async def advance_upload(self, session: UploadSession, advanced: UploadSession) -> bool:
        """Replace an open session by what it is after a chunk, or after its sealing."""
        if not await self._is_unmoved(session):
            return False
        self._uploads[session.id] = advanced
        self._reviews.wait(ReviewKind.UPLOAD, "", [session.id])
        return True

    async def complete_upload(self, session: UploadSession, blob: Blob) -> bool:
        """End an open session: record the blob, or its new location, and link it in the session's repository."""
        if blob.location in self._doomed or not await self._is_unmoved(session):
            return False
        del self._uploads[session.id]
        self._reviews.drop(ReviewKind.UPLOAD, "", session.id)
        self._take_waste(blob.location)
        self._suspects.discard(blob.digest)
        known = self._blobs.get(blob.digest)
        if known is not None and known.location != blob.location:
            self._waste(ReviewKind.SUPERSEDED, _waste_of(known))
        self._blobs[blob.digest] = blob
        self._link(session.repository, blob.digest)
        return True

    async def _is_unmoved(self, session: UploadSession) -> bool:
        current = await self.get_upload(session.repository, session.id)
        return current is not None and current.offset == session.offset

    async def delete_upload(self, name: RepositoryName, upload: UploadId) -> bool:
        """End a session without a blob. If it was sealed, what may be at its location waits as trash."""
        session = await self.get_upload(name, upload)
        if session is None:
            return False
        del self._uploads[upload]
        if session.location is not None and session.digest is not None:
            self._waste(ReviewKind.TRASH, Waste(session.location, session.digest, session.offset))
        self._reviews.drop(ReviewKind.UPLOAD, "", upload)
        return True

    async def tick(self, last: int, milliseconds: int) -> int:
        """Let the registry's own clock go on."""
        return self._reviews.tick(last, milliseconds)

    async def review(self, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        """Review links or manifests that have waited for ``age`` milliseconds, oldest first."""
        verdicts = []
        for repository, key in self._reviews.oldest(kind, age, limit):
            verdict = self._judge(kind, RepositoryName(repository), Digest(key))
            self._reviews.drop(kind, repository, key)
            if verdict.removed:
                remove = self.unlink_blob if kind is ReviewKind.LINK else self.delete_manifest
                await remove(RepositoryName(repository), Digest(key))
                self._reviews.count(kind, verdict.size)
            verdicts.append(verdict)
        return verdicts

    def _judge(self, kind: ReviewKind, name: RepositoryName, digest: Digest) -> Verdict:
        repository = self._find(name)
        if kind is ReviewKind.LINK:
            size = self._blobs[digest].size if digest in repository.blobs else None
            keeping = "a manifest refers to it" if repository.referred_to[digest] else None
            reason = "no manifest refers to it"
        elif kind is ReviewKind.MANIFEST:
            manifest = repository.manifests.get(digest)
            size = None if manifest is None else len(manifest.content)
            keeping = None if manifest is None else repository.keeps(manifest)
            reason = "no tag, no index and no subject keeps it"
        else:
            waste = self._trash.get(digest)
            size, keeping, reason = waste.size if waste else 0, None, "nothing needs it"
        if size is None:
            return Verdict(kind, name, digest, removed=False, reason="it is gone")
        if keeping is not None:
            return Verdict(kind, name, digest, removed=False, reason=keeping)
        return Verdict(kind, name, digest, removed=True, reason=reason, size=size)

    async def preview(self, kind: ReviewKind, after: int, limit: int) -> list[tuple[int, Verdict]]:
        """Say of what waits what a review would come to now, and change nothing."""
        return [
            (number, self._judge(kind, RepositoryName(repository), Digest(key)))
            for number, repository, key in self._reviews.following(kind, after, limit)
        ]

    async def waste(self, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        """Bytes that have waited for ``age`` milliseconds, oldest first: they cannot be brought back any more."""
        locations = [location for _, location in self._reviews.oldest(kind, age, limit)]
        self._doomed.update(locations)
        return [self._trash[location] for location in locations]

    async def forget_waste(self, kind: ReviewKind, locations: Sequence[str]) -> None:
        """Forget bytes that have been removed, and count them."""
        for location in locations:
            waste = self._trash.pop(location, None)
            if waste is not None:
                self._reviews.count(kind, waste.size)
            self._doomed.discard(location)
            self._reviews.drop(kind, "", location)

    async def idle_uploads(self, age: int, limit: int) -> list[UploadSession]:
        """Open sessions that have not moved for ``age`` milliseconds, oldest first."""
        return [self._uploads[UploadId(upload)] for _, upload in self._reviews.oldest(ReviewKind.UPLOAD, age, limit)]

    async def collected(self) -> Collected:
        """What waits for a review, and what has been removed."""
        return self._reviews.collected()

    async def inspect_blob(self, digest: Digest) -> InspectedBlob | None:
        """What is recorded of one blob."""
        blob = self._blobs.get(digest)
        return None if blob is None else InspectedBlob(blob, digest in self._suspects)

    async def inspect_blobs(self, after: str, limit: int) -> list[InspectedBlob]:
        """Up to ``limit`` blobs, of all repositories, whose digests sort behind ``after``."""
        digests = nsmallest(limit, (digest for digest in self._blobs if digest > after))
        return [InspectedBlob(self._blobs[digest], digest in self._suspects) for digest in digests]

    async def inspect_manifests(self, name: RepositoryName, after: str, limit: int) -> list[InspectedManifest]:
        """Up to ``limit`` manifests of a repository whose digests sort behind ``after``."""
        repository = self._find(name)
        digests = nsmallest(limit, (digest for digest in repository.manifests if digest > after))
        return [repository.inspect(name, digest) for digest in digests]

    async def list_links(self, name: RepositoryName, after: str, limit: int) -> list[InspectedBlob]:
        """Up to ``limit`` blobs that a repository links, damaged or not, whose digests sort behind ``after``."""
        digests = nsmallest(limit, (digest for digest in self._find(name).blobs if digest > after))
        return [InspectedBlob(self._blobs[digest], digest in self._suspects) for digest in digests]

    async def list_manifests(self, name: RepositoryName, after: str, limit: int) -> list[ManifestInfo]:
        """Up to ``limit`` manifests of a repository, without their content, by digest behind ``after``."""
        manifests = self._find(name).manifests
        digests = nsmallest(limit, (digest for digest in manifests if digest > after))
        return [ManifestInfo(it, manifests[it].media_type, len(manifests[it].content)) for it in digests]

    async def list_tag_targets(self, name: RepositoryName, after: str, limit: int) -> list[tuple[Tag, Digest]]:
        """Up to ``limit`` tags of a repository that sort behind ``after``, with the manifests that they point at."""
        repository = self._find(name)
        return [(tag, repository.tags[tag]) for tag in repository.tag_names.page(after, limit)]

    async def inspect_rows(self, limit: int) -> list[Finding]:
        """Blobs that no repository links, and links of blobs that are not recorded."""
        loose = [(digest, "a blob that no repository links") for digest in self._blobs.keys() - self._links.keys()]
        loose += [(it, "the link of a blob that is not recorded") for it in self._links.keys() - self._blobs.keys()]
        return [Finding(FindingKind.ROW, "", digest, problem) for digest, problem in loose[:limit]]

    async def mark_blob(self, blob: Blob, *, suspect: bool) -> bool:
        """Say that the bytes of a blob are damaged, or are not, if it is still where it was."""
        if not self._is_at(blob):
            return False
        if suspect:
            self._suspects.add(blob.digest)
        else:
            self._suspects.discard(blob.digest)
        return True

    def _is_at(self, blob: Blob) -> bool:
        known = self._blobs.get(blob.digest)
        return known is not None and known.location == blob.location

    async def spare_bytes(self, digest: Digest) -> list[Waste]:
        """Bytes that wait for their removal and should have this digest, and can be brought back."""
        return [it for it in self._trash.values() if it.digest == digest and it.location not in self._doomed]

    async def restore_blob(self, blob: Blob, spare: Waste) -> bool:
        """Give a blob the bytes that were found to be good at another location; those it had wait as superseded."""
        if not self._is_at(blob) or not self._take_waste(spare.location):
            return False
        damaged = self._blobs[blob.digest]
        self._waste(ReviewKind.SUPERSEDED, _waste_of(damaged))
        self._blobs[blob.digest] = replace(damaged, size=spare.size, location=spare.location)
        self._suspects.discard(blob.digest)
        return True

    def _take_waste(self, location: str) -> bool:
        if location in self._doomed or self._trash.pop(location, None) is None:
            return False
        for kind in (ReviewKind.TRASH, ReviewKind.SUPERSEDED):
            self._reviews.drop(kind, "", location)
        return True

    async def known_locations(self, locations: Sequence[str]) -> Set[str]:
        """Those among ``locations`` that a blob has or is about to have, or where bytes wait for their removal."""
        uploads = (session.location for session in self._uploads.values())
        return {*locations} & {*self._trash, *uploads, *(blob.location for blob in self._blobs.values())}

    async def trash_bytes(self, waste: Waste) -> bool:
        """Let bytes that nothing knows wait as trash; ``False`` where something does know them."""
        if await self.known_locations([waste.location]):
            return False
        self._waste(ReviewKind.TRASH, waste)
        return True

    async def next_to_scrub(self, limit: int, interval: int) -> list[InspectedBlob]:
        """Take the next blobs of the scrub's cycle."""
        rested_at, done = self._scrub_rested_at, self._scrub
        if rested_at is not None and time.monotonic() - rested_at < interval / 1000:
            return []
        page = await self.inspect_blobs(self._scrub_cursor, limit)
        if page:
            size = done.bytes + sum(inspected.blob.size for inspected in page)
            self._scrub = replace(done, blobs=done.blobs + len(page), bytes=size)
            self._scrub_cursor, self._scrub_rested_at = page[-1].blob.digest, None
        else:
            self._scrub = replace(done, cycles=done.cycles + 1)
            self._scrub_cursor, self._scrub_rested_at = "", time.monotonic()
        return page

    async def scrub_count(self) -> ScrubCount:
        """What the scrub has done, and what must be pushed again."""
        return replace(self._scrub, suspects=len(self._suspects))

    async def usage(self, name: RepositoryName, resource: Resource) -> int:
        """How much of something a repository has."""
        repository = self._find(name)
        if resource is Resource.TAGS:
            return len(repository.tags)
        if resource is Resource.MANIFESTS:
            return len(repository.manifests)
        return sum(self._blobs[digest].size for digest in repository.blobs - self._suspects)

    async def count_uploads(self, owner: str | None = None) -> int:
        """How many sessions are open, of everybody or of one owner."""
        if owner is None:
            return len(self._uploads)
        return sum(session.owner == owner for session in self._uploads.values())

    async def check(self) -> None:
        """Nothing that could fail."""

    async def close(self) -> None:
        """Forget nothing and release nothing: there is nothing to release."""


def _waste_of(blob: Blob) -> Waste:
    return Waste(blob.location, blob.digest, blob.size)
