"""What stores have besides, if what they keep is to be verified. All protocols are optional.

1. Whoever has looked at bytes says which: a mark is set, or lifted, only while the blob is still at the location that
   was looked at. What was pushed meanwhile is not judged by what was there before.
2. Bytes that wait for their removal can be brought back until somebody has begun to remove them.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ferro_oci_server.core.records import Blob, ManifestInfo, StoredManifest, Waste
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = [
    "DatedBlobs",
    "DescribedBlobs",
    "Finding",
    "FindingKind",
    "InspectedBlob",
    "InspectedManifest",
    "Inspection",
    "ScrubCount",
]


@dataclass(frozen=True, slots=True)
class InspectedBlob:
    """A blob as it is recorded, whether it is linked anywhere or not."""

    blob: Blob
    suspect: bool
    """Whether its bytes are known to be damaged, so that nobody is told of it until it is pushed again."""


@dataclass(frozen=True, slots=True)
class InspectedManifest:
    """A manifest with all that is recorded of it, and what of that there is, all at one time."""

    repository: RepositoryName
    stored: StoredManifest
    size: int
    subject: Digest | None
    artifact_type: str | None
    references: frozenset[Digest]
    """What it is recorded to refer to."""
    linked: frozenset[Digest]
    """Those that the repository has as blobs."""
    held: frozenset[Digest]
    """Those that the repository has as manifests."""


class FindingKind(StrEnum):
    """What a finding is about."""

    BLOB = "blob"
    """The bytes of a blob, by its digest."""
    MANIFEST = "manifest"
    """The content of a manifest, or what is recorded of it, by its digest."""
    REFERENCE = "reference"
    """Something that a manifest needs and its repository does not have, by the digest of what is missing."""
    ROW = "row"
    """A record that belongs to nothing, by its key."""
    FILE = "file"
    """Bytes that no record knows, by their location."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    kind: FindingKind
    repository: str
    """Empty for what is of no repository."""
    key: str
    problem: str
    outcome: str = ""
    """What was done about it; empty for nothing."""


@dataclass(frozen=True, slots=True)
class ScrubCount:
    """What the scrub has done since the registry began, and how many blobs must be pushed again."""

    cycles: int
    blobs: int
    bytes: int
    suspects: int


@runtime_checkable
class DatedBlobs(Protocol):
    """A ``BlobStore`` that knows how old its bytes are."""

    async def age(self, location: str) -> float | None:
        """For how many seconds the bytes at a location have been as they are; ``None`` where there are none."""
        ...


@runtime_checkable
class DescribedBlobs(Protocol):
    """A ``BlobStore`` that knows of its own what each of its blobs is."""

    async def describe(self, location: str) -> Blob | None:
        """The digest and the size that a blob at a location should have, as it was stored; ``None`` where none is."""
        ...


@runtime_checkable
class Inspection(Protocol):
    """A ``RegistryMeta`` that can be looked through as a whole. Every method is one transaction, as there."""

    async def inspect_blob(self, digest: Digest) -> InspectedBlob | None:
        """What is recorded of one blob."""
        ...

    async def inspect_blobs(self, after: str, limit: int) -> list[InspectedBlob]:
        """Up to ``limit`` blobs, of all repositories, whose digests sort behind ``after``."""
        ...

    async def inspect_manifests(self, name: RepositoryName, after: str, limit: int) -> list[InspectedManifest]:
        """Up to ``limit`` manifests of a repository whose digests sort behind ``after``."""
        ...

    async def list_links(self, name: RepositoryName, after: str, limit: int) -> list[InspectedBlob]:
        """Up to ``limit`` blobs that a repository links, damaged or not, whose digests sort behind ``after``."""
        ...

    async def list_manifests(self, name: RepositoryName, after: str, limit: int) -> list[ManifestInfo]:
        """Up to ``limit`` manifests of a repository, without their content, by digest behind ``after``."""
        ...

    async def list_tag_targets(self, name: RepositoryName, after: str, limit: int) -> list[tuple[Tag, Digest]]:
        """Up to ``limit`` tags of a repository that sort behind ``after``, with the manifests that they point at."""
        ...

    async def inspect_rows(self, limit: int) -> list[Finding]:
        """Records that belong to nothing, up to ``limit`` of each sort; this may take as long as reading them all."""
        ...

    async def mark_blob(self, blob: Blob, *, suspect: bool) -> bool:
        """Say that the bytes of a blob are damaged, so that it is not found until it is pushed again, or are not.

        Returns:
            Whether the blob still was at that location. If not, nothing was changed.
        """
        ...

    async def spare_bytes(self, digest: Digest) -> list[Waste]:
        """Bytes that wait for their removal and should have this digest, unless somebody has begun to remove them."""
        ...

    async def restore_blob(self, blob: Blob, spare: Waste) -> bool:
        """Give a blob the bytes that were found to be good at another location; those it had wait as superseded.

        Returns:
            Whether the blob still was at its location, and the other bytes still waited. If not, nothing was changed.
        """
        ...

    async def known_locations(self, locations: Sequence[str]) -> Set[str]:
        """Those among ``locations`` that a blob has or is about to have, or where bytes wait for their removal."""
        ...

    async def trash_bytes(self, waste: Waste) -> bool:
        """Let bytes that nothing knows wait as trash; ``False`` where something does know them."""
        ...

    async def next_to_scrub(self, limit: int, interval: int) -> list[InspectedBlob]:
        """Take the next blobs of the scrub's cycle: each is given to one caller, of any process.

        After the last, and then for ``interval`` milliseconds, there are none; then a new cycle begins. The place is
        kept like everything else, so that a restart goes on from it.
        """
        ...

    async def scrub_count(self) -> ScrubCount:
        """What the scrub has done, and what must be pushed again."""
        ...
