"""What crosses a port: plain values, so that a store needs to know nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from ferro_oci_server.oci.descriptor import Descriptor
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.name import RepositoryName

__all__ = [
    "Blob",
    "Collected",
    "Condition",
    "ManifestInfo",
    "ManifestRecord",
    "ReviewKind",
    "StagedBytes",
    "StoredManifest",
    "UploadId",
    "UploadSession",
    "Verdict",
    "Waste",
]

UploadId = NewType("UploadId", str)
"""Names an upload session: the text of a random UUID, which nobody can guess."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob whose bytes are stored: ``size`` bytes that hash to ``digest``."""

    digest: Digest
    size: int
    location: str
    """Where its blob store keeps the bytes; chosen by that store, and opaque to all others."""
    checksum: str | None = None
    """What ``core.checksum`` makes of the bytes: much faster to compare than the digest. ``None`` where not known."""


@dataclass(frozen=True, slots=True)
class ManifestInfo:
    """What HEAD tells of a manifest; ``size`` is in bytes."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was pushed, byte for byte."""

    digest: Digest
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A manifest to store, and what was read in it."""

    digest: Digest
    media_type: str
    content: bytes
    blobs: tuple[Digest, ...] = ()
    """What must be linked in the repository as a blob."""
    children: tuple[Digest, ...] = ()
    """What must be in the repository as a manifest or as a blob."""
    optional: tuple[Digest, ...] = ()
    """What is referred to and may be missing."""
    subject: Digest | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] | None = None

    def descriptor(self) -> Descriptor:
        """What the referrers list says of it."""
        return Descriptor(self.media_type, self.digest, len(self.content), self.artifact_type, self.annotations)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a tag or a manifest must be for a change to happen: the digests of ``If-Match`` or ``If-None-Match``.

    ``None`` stands for ``*``: anything that exists.
    """

    match: frozenset[str] | None = frozenset()
    none_match: frozenset[str] | None = frozenset()

    def holds(self, current: str | None) -> bool:
        """Whether the change may happen where the reference now resolves to ``current`` (``None``: to nothing)."""
        if self.match is None and current is None:
            return False
        if self.match and current not in self.match:
            return False
        if self.none_match is None:
            return current is None
        return current not in self.none_match


class ReviewKind(StrEnum):
    """What waits for a review."""

    LINK = "link"
    """A blob in a repository, by its digest: kept where a manifest of the repository refers to it."""
    MANIFEST = "manifest"
    """A manifest without a tag, by its digest: kept where an index refers to it, or its subject is there."""
    UPLOAD = "upload"
    """An upload session, by its id: kept while it moves."""
    TRASH = "trash"
    """Bytes of a blob that no repository links, by their location: a quarantine."""
    SUPERSEDED = "superseded"
    """Bytes that were pushed again since, by their location."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a review came to."""

    kind: ReviewKind
    repository: str
    """Empty for bytes, which are of no repository."""
    key: str
    """A digest, an upload's id or a location, by the kind."""
    removed: bool
    reason: str
    """What keeps it, or that nothing does."""
    size: int = 0
    """How many bytes go with it."""


@dataclass(frozen=True, slots=True)
class Waste:
    """Bytes to remove."""

    location: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What waits for a review, and what has been removed since the registry began, by kind."""

    waiting: Mapping[ReviewKind, int]
    removed: Mapping[ReviewKind, int]
    bytes: Mapping[ReviewKind, int]


@dataclass(frozen=True, slots=True)
class StagedBytes:
    """What is staged for an upload."""

    size: int = 0
    """How many bytes count; those behind them are garbage."""
    note: str = ""
    """What their blob store must be told to find them again; opaque to all others."""


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload in progress. ``offset`` bytes of it are kept; staged bytes behind them are garbage."""

    id: UploadId
    repository: RepositoryName
    algorithm: Algorithm
    """The algorithm that the kept bytes are hashed with while they arrive."""
    offset: int = 0
    digest: Digest | None = None
    """The digest of the kept bytes; ``None`` where it is not known and they must be read again."""
    checksum: str | None = None
    """The same with the checksum."""
    note: str = ""
    """What the blob store said of the kept bytes."""
    location: str | None = None
    """Set once the closing PUT has taken all in and checked it: the bytes may be a blob there, staged no longer."""
    owner: str = ""
    """Whose it is, in plain characters; empty where nobody asked who the client is."""

    @property
    def staged(self) -> StagedBytes:
        """The kept bytes, for their blob store."""
        return StagedBytes(self.offset, self.note)
