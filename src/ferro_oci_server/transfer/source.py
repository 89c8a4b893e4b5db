"""What a transfer copies from."""

from collections.abc import AsyncIterator
from typing import Protocol

from ferro_oci_server.core.ports import BlobReader
from ferro_oci_server.core.records import StoredManifest
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["DAMAGED", "Source"]

DAMAGED = "damaged"
"""What a list of blobs says of one that is known to be."""


class Source(Protocol):
    """A registry to copy from.

    A list is of pairs, sorted by the bytes of their keys. What comes or goes meanwhile may be on it or not; all else is
    on it once.

    Raises:
        StoreUnavailable: raised by any method; it may be repeated.
    """

    def repositories(self) -> AsyncIterator[tuple[RepositoryName, str]]:
        """The names; nothing is said of them."""
        ...

    def blobs(self, name: RepositoryName) -> AsyncIterator[tuple[Digest, str]]:
        """The digests of the blobs of a repository; some may be said to be ``DAMAGED``."""
        ...

    def manifests(self, name: RepositoryName) -> AsyncIterator[tuple[Digest, str]]:
        """The digests of the manifests of a repository, with their media types; an empty text where it is not known."""
        ...

    def tags(self, name: RepositoryName) -> AsyncIterator[tuple[Tag, str]]:
        """The tags of a repository, with the digests that they point at; an empty text where it cannot be read."""
        ...

    async def open_blob(self, name: RepositoryName, digest: Digest) -> BlobReader | None:
        """Open a blob of a repository; ``None`` where its bytes are not there."""
        ...

    async def owes_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Whether a repository should have a blob now: if its bytes are not there, they are lost."""
        ...

    async def read_manifest(self, name: RepositoryName, digest: Digest) -> StoredManifest | None:
        """A manifest of a repository; ``None`` where it is not there.

        Raises:
            StoreCorrupted: it cannot be read.
        """
        ...
