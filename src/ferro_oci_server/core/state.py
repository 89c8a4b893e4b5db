"""What an application holds: the two stores, and the services on them."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from ferro_oci_server.core.blobs import Blobs
from ferro_oci_server.core.catalog import Catalog
from ferro_oci_server.core.collector import Collector, Grace
from ferro_oci_server.core.manifests import Manifests
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import BlobStore, RegistryMeta, Reviews
from ferro_oci_server.core.records import Collected, Verdict
from ferro_oci_server.core.referrers import Referrers
from ferro_oci_server.core.tags import Tags
from ferro_oci_server.core.uploads import Uploads

__all__ = ["PACKAGE_NAME", "AppState"]

PACKAGE_NAME = "ferro-oci-server"
"""The name of the distribution, for diagnostics and the labels of metrics."""


class AppState:
    """A registry on two stores. It owns them: closing it closes them.

    Made before the event loop runs or within it, and used by one loop.
    """

    def __init__(
        self,
        blob_store: BlobStore,
        registry_meta: RegistryMeta,
        *,
        missing_references: MissingReferences | None = None,
        grace: Grace | None = None,
    ) -> None:
        self._blob_store = blob_store
        self._registry_meta = registry_meta
        self.blobs = Blobs(blob_store, registry_meta)
        self.uploads = Uploads(blob_store, registry_meta)
        self.manifests = Manifests(registry_meta, missing_references or MissingReferences())
        self.tags = Tags(registry_meta)
        self.referrers = Referrers(registry_meta)
        self.catalog = Catalog(registry_meta)
        self.collector: Collector | None = None
        """Removes what nothing needs, where the metadata store can tell."""
        if isinstance(registry_meta, Reviews):
            self.collector = Collector(blob_store, registry_meta, self.uploads, grace or Grace())
        self._collecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what goes on in the background, on the running loop."""
        if self.collector is not None and self._collecting is None:
            self._collecting = asyncio.create_task(self.collector.run())

    async def check(self) -> None:
        """Ask both stores whether they work.

        Raises:
            StoreUnavailable: one does not.
        """
        await self._registry_meta.check()
        await self._blob_store.check()

    async def collect(self, *, dry_run: bool = False) -> AsyncIterator[Verdict]:
        """Remove what is due now and tell of it, or, dry, tell what would become of everything that waits."""
        if self.collector is None:
            return
        async for verdict in self.collector.explain() if dry_run else self.collector.collect():
            yield verdict

    async def collected(self) -> Collected:
        """What waits for a review, and what has been removed."""
        if not isinstance(self._registry_meta, Reviews):
            return Collected({}, {}, {})
        return await self._registry_meta.collected()

    async def count_uploads(self) -> int:
        """How many upload sessions are open."""
        return await self._registry_meta.count_uploads()

    async def close(self) -> None:
        """Finish what was accepted and release both stores; the last call."""
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.wait([self._collecting])
        try:
            await self._registry_meta.close()
        finally:
            await self._blob_store.close()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
