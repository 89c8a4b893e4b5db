"""What an application holds: the two stores, and the services on them."""

from types import TracebackType
from typing import Self

from ferro_oci_server.core.blobs import Blobs
from ferro_oci_server.core.catalog import Catalog
from ferro_oci_server.core.manifests import Manifests
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import BlobStore, RegistryMeta
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
    ) -> None:
        self._blob_store = blob_store
        self._registry_meta = registry_meta
        self.blobs = Blobs(blob_store, registry_meta)
        self.uploads = Uploads(blob_store, registry_meta)
        self.manifests = Manifests(registry_meta, missing_references or MissingReferences())
        self.tags = Tags(registry_meta)
        self.referrers = Referrers(registry_meta)
        self.catalog = Catalog(registry_meta)

    async def check(self) -> None:
        """Ask both stores whether they work.

        Raises:
            StoreUnavailable: one does not.
        """
        await self._registry_meta.check()
        await self._blob_store.check()

    async def count_uploads(self) -> int:
        """How many upload sessions are open."""
        return await self._registry_meta.count_uploads()

    async def close(self) -> None:
        """Finish what was accepted and release both stores; the last call."""
        try:
            await self._registry_meta.close()
        finally:
            await self._blob_store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
