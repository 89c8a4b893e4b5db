"""A registry as its own stores have it: what is copied from, and the lists of what is copied to."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from ferro_oci_server.core.inspection import Inspection
from ferro_oci_server.core.ports import BlobReader, BlobStore, RegistryMeta
from ferro_oci_server.core.records import StoredManifest
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.transfer.source import DAMAGED
from ferro_oci_server.transfer.walking import patiently

__all__ = ["RegistrySource"]

Entry = TypeVar("Entry")

# Long enough that asking for a page costs little for each entry, and short enough for memory.
_PAGE = 1000


class RegistrySource:
    """A registry on two stores, which somebody else owns."""

    def __init__(self, blob_store: BlobStore, registry_meta: RegistryMeta) -> None:
        """Look through two stores.

        Raises:
            TypeError: the metadata store is no ``Inspection``.
        """
        if not isinstance(registry_meta, Inspection):
            raise TypeError("a registry whose metadata store is no Inspection cannot be transferred")
        self._store = blob_store
        self._meta: RegistryMeta = registry_meta
        self._inspection: Inspection = registry_meta

    async def repositories(self) -> AsyncIterator[tuple[RepositoryName, str]]:
        """The names."""
        async for name in _pages(self._meta.list_repositories, str):
            yield name, ""

    async def blobs(self, name: RepositoryName) -> AsyncIterator[tuple[Digest, str]]:
        """The digests of the blobs of a repository; some may be said to be ``DAMAGED``."""
        links = _pages(lambda after, limit: self._inspection.list_links(name, after, limit), lambda it: it.blob.digest)
        async for link in links:
            yield link.blob.digest, DAMAGED if link.suspect else ""

    async def manifests(self, name: RepositoryName) -> AsyncIterator[tuple[Digest, str]]:
        """The digests of the manifests of a repository, with their media types."""
        outlines = _pages(
            lambda after, limit: self._inspection.list_manifests(name, after, limit), lambda it: it.digest
        )
        async for outline in outlines:
            yield outline.digest, outline.media_type

    async def tags(self, name: RepositoryName) -> AsyncIterator[tuple[Tag, str]]:
        """The tags of a repository, with the digests that they point at."""
        targets = _pages(lambda after, limit: self._inspection.list_tag_targets(name, after, limit), lambda it: it[0])
        async for target in targets:
            yield target

    async def open_blob(self, name: RepositoryName, digest: Digest) -> BlobReader | None:
        """Open a blob wherever it is now; ``None`` where its bytes are not there."""
        # Between the question and the opening it may have been pushed again, and its old bytes have been removed.
        for _ in range(2):
            known = await self._inspection.inspect_blob(digest)
            reader = None if known is None else await self._store.open(known.blob.location)
            if reader is not None:
                return reader
        return None

    async def owes_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Whether a repository links a blob now."""
        links = await self._inspection.list_links(name, digest[:-1], 16)
        return any(link.blob.digest == digest for link in links)

    async def read_manifest(self, name: RepositoryName, digest: Digest) -> StoredManifest | None:
        """A manifest of a repository; ``None`` where it is not there."""
        return await self._meta.get_manifest(name, digest)


async def _pages(
    ask: Callable[[str, int], Awaitable[list[Entry]]], key: Callable[[Entry], str]
) -> AsyncIterator[Entry]:
    after = ""
    while page := await patiently(ask, after, _PAGE):
        for entry in page:
            yield entry
        after = key(page[-1])
