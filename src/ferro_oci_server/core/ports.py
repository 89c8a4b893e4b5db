"""What a registry needs from the places that keep its content.

Two protocols: bytes of blobs, and everything else. Each has a behaviour suite in ``ferro_oci_server.testing`` that
any implementation should pass. Rules for both:

1. Nothing is promised of a call that has raised, except where it says so; every call may be repeated.
2. A store raises ``StoreUnavailable``, ``StoreFull`` or ``StoreCorrupted``, and never an exception of its driver.
3. Absence is ``None`` or ``False``.
4. Names, tags and digests that arrive here are well formed.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from ferro_oci_server.core.access import TagGuard
from ferro_oci_server.core.records import (
    Blob,
    Collected,
    Condition,
    ManifestInfo,
    ManifestRecord,
    ReviewKind,
    StagedBytes,
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

__all__ = [
    "BlobReader",
    "BlobStore",
    "LinkedBlobs",
    "RegistryMeta",
    "Reviews",
    "StagedBytesMissing",
    "StagedUpload",
    "StoreCorrupted",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "UploadBusy",
]


class StoreError(Exception):
    """Raised when a store could not do its work; the request may be right."""


class StoreUnavailable(StoreError):
    """Raised when a store cannot be reached or is too busy: the call may be repeated later."""


class StoreFull(StoreUnavailable):
    """Raised when a store has no room for what it should keep: somebody has to make some."""


class StoreCorrupted(StoreError):
    """Raised when a store finds that what it kept is damaged."""


class UploadBusy(Exception):
    """Raised when another request is working on the same upload session."""


class StagedBytesMissing(Exception):
    """Raised when a blob store no longer has the bytes that an upload session counts on."""


class BlobReader(Protocol):
    """An open blob. What is deleted meanwhile is still read as it was or, where a store cannot keep it, found lost."""

    @property
    def size(self) -> int:
        """The number of bytes there are."""
        ...

    def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Read the bytes from ``start`` up to ``stop``, a piece at a time, never all at once.

        Raises:
            StoreUnavailable: the bytes cannot be read now.
            StoreCorrupted: there are fewer than there were, or they are lost.
        """
        ...

    async def close(self) -> None:
        """Release the blob. May be called twice."""
        ...


class StagedUpload(Protocol):
    """What is staged for one upload, for the one who has claimed it."""

    async def append(self, staged: StagedBytes, pieces: AsyncIterator[bytes]) -> StagedBytes:
        """Write pieces behind what is staged; return what is staged then.

        What was written behind ``staged`` before is dropped. When this returns, the bytes survive a loss of power. When
        ``pieces`` raises, that exception passes through, and what was staged is as it was.

        Raises:
            StagedBytesMissing: there are fewer bytes than ``staged`` says.
            StoreUnavailable: what was staged is as it was, or, where what was written cannot be trusted, nothing is
                staged any more.
        """
        ...

    def read(self, staged: StagedBytes) -> AsyncGenerator[bytes, None]:
        """Read what is staged, a piece at a time.

        Raises:
            StagedBytesMissing: there are fewer bytes.
        """
        ...

    async def commit(self, staged: StagedBytes, digest: Digest) -> None:
        """Make what is staged the blob ``digest``, at the ``location`` of this upload and that digest.

        When this returns, the blob survives a loss of power and nothing is staged any more. Committing again after a
        success changes nothing.

        Raises:
            StagedBytesMissing: there are fewer bytes, and no blob that this upload has become.
            StoreUnavailable: the blob may or may not be there; the call may be repeated.
        """
        ...


class BlobStore(Protocol):
    """Keeps the bytes of blobs, and those of uploads until they become one.

    Bytes are not checked here: the caller hashes them and says where they belong.
    """

    chunk_min_length: int
    """The fewest bytes that a chunk other than the last should have, for ``OCI-Chunk-Min-Length``; 0 for any."""

    def location(self, upload: UploadId, digest: Digest) -> str:
        """Where an upload's blob will be, if that is its digest.

        Each upload makes a blob of its own, whatever else has the digest: a location is given once, so that what is
        removed is never what came later. It is known before the blob is there, so that it can be recorded first, and
        no loss of power leaves bytes that nobody knows.
        """
        ...

    async def open(self, location: str) -> BlobReader | None:
        """Open a blob at its location.

        Raises:
            StoreUnavailable: it may be there, but cannot be read now.
        """
        ...

    async def delete(self, location: str) -> bool:
        """Remove a blob; tell whether it was there."""
        ...

    def list(self) -> AsyncIterator[str]:
        """The locations of all blobs, in no order. Changes meanwhile may be seen or not."""
        ...

    def claim(self, upload: UploadId) -> AbstractAsyncContextManager["StagedUpload"]:
        """Be the only one to work on what is staged for an upload, until the block ends.

        An upload for which nothing is staged is claimed like any other. A claim ends with the process that has it.
        Where a store cannot keep other processes away, what each of them writes stays apart: the one whose bytes are
        noted in the session is the one that counts.

        Raises:
            UploadBusy: another has the claim.
            StagedBytesMissing: the upload was committed or discarded while it was being claimed.
        """
        ...

    async def discard(self, upload: UploadId) -> None:
        """Drop what is staged for an upload, if anything is, whoever has claimed it."""
        ...

    async def check(self) -> None:
        """Do as little as shows that the store works.

        Raises:
            StoreUnavailable: it does not.
        """
        ...

    async def close(self) -> None:
        """Release everything; the last call."""
        ...


@runtime_checkable
class LinkedBlobs(Protocol):
    """What a ``BlobStore`` has besides, if clients may fetch blobs from where it keeps them."""

    async def url(self, location: str, seconds: float) -> str | None:
        """Where whoever has the URL can read a blob, and any part of it, for some time; it is as good as a password.

        Returns:
            ``None`` where there is none, and the blob must be read through this store: also one that is not there, or
            not whole, which is for the reader to find.

        Raises:
            StoreUnavailable: it cannot be found out now.
        """
        ...


class RegistryMeta(Protocol):
    """Keeps all that a registry knows except the bytes of blobs.

    Every method is one transaction: a reader sees the state before it or after it. When a method that changes
    something returns, the change survives a loss of power (where the store keeps anything at all).

    A repository comes into being with its first blob or manifest. Names, tags and digests sort by their bytes.
    """

    async def get_manifest(self, name: RepositoryName, reference: Reference) -> StoredManifest | None:
        """The manifest that a tag points at, or that has a digest."""
        ...

    async def stat_manifest(
        self, name: RepositoryName, reference: Reference, *, lease: bool = False
    ) -> ManifestInfo | None:
        """The same without its content.

        With ``lease``, its review begins to wait anew: whoever asks whether it is there may be about to refer to it.
        """
        ...

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
        """Record a manifest with its references, point the tags at it and index its subject: all or nothing.

        A manifest without a tag, and one that a tag is moved from, begin to wait for a review.

        Putting the same digest again records its media type anew and moves the tags. The condition is asked of
        every tag, or, where there is none, of the digest. The guard is asked of every tag.

        Raises:
            Denied: the guard refuses a tag; nothing was changed.
            ManifestBlobUnknown: a blob or child is not in the repository, and ``allow_missing`` is not set; nothing
                was changed.
            PreconditionFailed: the condition does not hold; nothing was changed.
        """
        ...

    async def delete_manifest(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest, every tag that points at it and its entry among the referrers of its subject.

        What it referred to, and what referred to it as its subject, begins to wait for a review.
        """
        ...

    async def delete_tag(self, name: RepositoryName, tag: Tag) -> bool:
        """Remove a tag; its manifest stays, and begins to wait for a review."""
        ...

    async def list_tags(self, name: RepositoryName, after: str, limit: int) -> list[Tag] | None:
        """Up to ``limit`` tags that sort behind ``after``; ``None`` where the repository does not exist."""
        ...

    async def list_repositories(self, after: str, limit: int) -> list[RepositoryName]:
        """Up to ``limit`` repositories that sort behind ``after``."""
        ...

    async def list_referrers(
        self, name: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[Descriptor]:
        """Up to ``limit`` manifests with that subject, of that type if one is given, by digest behind ``after``."""
        ...

    async def get_blob(self, name: RepositoryName, digest: Digest, *, lease: bool = False) -> Blob | None:
        """The blob, if it is linked in this repository, and not known to be damaged.

        With ``lease``, its review begins to wait anew: whoever asks whether it is there may be about to refer to it.
        """
        ...

    async def mount_blob(self, name: RepositoryName, digest: Digest, source: RepositoryName | None) -> Blob | None:
        """Link a blob that is linked in ``source`` (``None``: in any repository) in this repository as well.

        The new link waits for a review, as that of an upload does.
        """
        ...

    async def unlink_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Remove the link of a blob in this repository; other repositories keep theirs.

        Bytes that no repository links any more begin to wait as trash.
        """
        ...

    async def create_upload(self, session: UploadSession) -> None:
        """Record a new upload session. Its repository need not exist, and does not come to exist by it."""
        ...

    async def get_upload(self, name: RepositoryName, upload: UploadId) -> UploadSession | None:
        """The open session with that id, if it belongs to this repository."""
        ...

    async def advance_upload(self, session: UploadSession, advanced: UploadSession) -> bool:
        """Replace an open session by what it is after a chunk, or after its sealing.

        Returns:
            Whether it was still at ``session.offset``. If not, nothing was changed.
        """
        ...

    async def complete_upload(self, session: UploadSession, blob: Blob) -> bool:
        """End an open session: record the blob, or its new location, and link it in the session's repository.

        The link waits for a review, by which time a manifest should refer to it. Bytes at another location that the
        blob had until now begin to wait as superseded. A blob that was known to be damaged is not any more.

        Returns:
            Whether the session was still open and at ``session.offset``, and the bytes were not being removed as
            something that nothing knew. If not, nothing was changed.
        """
        ...

    async def delete_upload(self, name: RepositoryName, upload: UploadId) -> bool:
        """End a session without a blob. If it was sealed, what may be at its location waits as trash."""
        ...

    async def count_uploads(self, owner: str | None = None) -> int:
        """How many sessions are open, of everybody or of one owner."""
        ...

    async def check(self) -> None:
        """Do as little as shows that the store works.

        Raises:
            StoreUnavailable: it does not.
        """
        ...

    async def close(self) -> None:
        """Finish what was accepted and release everything; the last call."""
        ...


@runtime_checkable
class Reviews(Protocol):
    """What a ``RegistryMeta`` has besides, if what nothing needs is to be removed.

    A review is what waits to be looked at again: it was stored without anything that keeps it, or has lost what kept
    it. The longer grace of one kind does not hold up another.
    """

    async def tick(self, last: int, milliseconds: int) -> int:
        """Let the registry's own clock go on, if no other process has since the tick ``last``; return the last tick.

        The clock counts the time for which the registry was running, so setting the machine's clock moves no review.
        The first tick is after 0.
        """
        ...

    async def review(self, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        """Review links or manifests that have waited for ``age`` milliseconds of the registry's clock, oldest first.

        Each of up to ``limit`` is looked at and, where nothing keeps it, removed, all in one transaction. What a
        removed manifest referred to, and what referred to it as its subject, begins to wait. Bytes that no repository
        links any more begin to wait as trash. What is kept waits no longer: it will when it loses what keeps it.
        """
        ...

    async def preview(self, kind: ReviewKind, after: int, limit: int) -> list[tuple[int, Verdict]]:
        """Say of what waits what a review would come to now, and change nothing.

        Returns:
            Up to ``limit`` reviews with numbers behind ``after``: the number, and the verdict.
        """
        ...

    async def waste(self, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        """Bytes (trash or superseded) that have waited for ``age`` milliseconds, oldest first.

        Whoever asks is about to remove them: nothing can bring them back any more.
        """
        ...

    async def forget_waste(self, kind: ReviewKind, locations: Sequence[str]) -> None:
        """Forget bytes that have been removed, and count them."""
        ...

    async def idle_uploads(self, age: int, limit: int) -> list[UploadSession]:
        """Open sessions that have not moved for ``age`` milliseconds of the registry's clock, oldest first."""
        ...

    async def collected(self) -> Collected:
        """What waits for a review, and what has been removed."""
        ...
