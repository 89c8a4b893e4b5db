"""What an application holds: the two stores, and the services on them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Self

from ferro_oci_server.core.blobs import Blobs
from ferro_oci_server.core.catalog import Catalog
from ferro_oci_server.core.collector import Collector, Grace
from ferro_oci_server.core.credentials import Credentials
from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.core.inspection import Finding, Inspection, ScrubCount
from ferro_oci_server.core.integrity import Integrity
from ferro_oci_server.core.manifests import Manifests
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import BlobStore, RegistryMeta, Reviews
from ferro_oci_server.core.quota import Quota, Quotas
from ferro_oci_server.core.records import Collected, Verdict
from ferro_oci_server.core.recovery import Recovery
from ferro_oci_server.core.referrers import Referrers
from ferro_oci_server.core.scrubber import Scrub, Scrubber
from ferro_oci_server.core.tags import Tags
from ferro_oci_server.core.uploads import Uploads
from ferro_oci_server.core.verifier import Verifier

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
        scrub: Scrub | None = None,
        quota: Quota | None = None,
    ) -> None:
        self._blob_store = blob_store
        self._registry_meta = registry_meta
        self._reviews = registry_meta if isinstance(registry_meta, Reviews) else None
        self._inspection = registry_meta if isinstance(registry_meta, Inspection) else None
        self._hashing = hashing = Hashing()
        integrity = Integrity(blob_store, self._inspection, hashing)
        missing_references = missing_references or MissingReferences()
        quotas = Quotas(quota or Quota(), registry_meta)
        self.blobs = Blobs(blob_store, registry_meta, integrity, quotas)
        self.uploads = Uploads(blob_store, registry_meta, quotas, hashing)
        self.manifests = Manifests(registry_meta, missing_references, quotas, hashing)
        self.tags = Tags(registry_meta)
        self.referrers = Referrers(registry_meta)
        self.catalog = Catalog(registry_meta)
        self.collector: Collector | None = None
        """Removes what nothing needs, where the metadata store can tell."""
        if self._reviews is not None:
            self.collector = Collector(blob_store, self._reviews, self.uploads, grace or Grace())
        self.scrubber: Scrubber | None = None
        """Looks for damaged blobs, and ``verifier`` at everything, where the metadata store can be inspected."""
        self.verifier: Verifier | None = None
        self._recovery: Recovery | None = None
        if self._inspection is not None:
            self.scrubber = Scrubber(self._inspection, integrity, scrub or Scrub())
            self.verifier = Verifier(blob_store, registry_meta, self._inspection, integrity, missing_references)
            self._recovery = Recovery(blob_store, registry_meta, self._inspection, integrity, missing_references)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin with what goes on in the background, on the running loop."""
        if self._tasks:
            return
        background: list[Coroutine[Any, Any, None]] = []
        if self.collector is not None:
            background.append(self.collector.run())
        if self.scrubber is not None:
            background.append(self.scrubber.run())
        self._tasks = [asyncio.create_task(work) for work in background]

    @property
    def blob_store(self) -> BlobStore:
        """Where the bytes of blobs are: for what works on stores, beside the registry."""
        return self._blob_store

    @property
    def registry_meta(self) -> RegistryMeta:
        """Where everything else is, likewise."""
        return self._registry_meta

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
        return Collected({}, {}, {}) if self._reviews is None else await self._reviews.collected()

    async def verify(self, *, repair: bool = False) -> AsyncIterator[Finding]:
        """Look at everything and tell of what is wrong; with ``repair``, do about damaged blobs what can be done."""
        if self.verifier is None:
            return
        async for finding in self.verifier.verify(repair=repair):
            yield finding

    async def recover(self) -> AsyncIterator[Finding]:
        """Look for bytes that rows have lost, or never had, give them to those, and tell of each."""
        if self._recovery is None:
            return
        async for finding in self._recovery.recover():
            yield finding

    async def scrub_count(self) -> ScrubCount:
        """What the scrub has done, and how many blobs must be pushed again."""
        return ScrubCount(0, 0, 0, 0) if self._inspection is None else await self._inspection.scrub_count()

    async def count_uploads(self, owner: str | None = None) -> int:
        """How many upload sessions are open, of everybody or of one owner."""
        return await self._registry_meta.count_uploads(owner)

    @property
    def credentials(self) -> Credentials | None:
        """Where credentials are kept that the registry gives out; ``None`` where its metadata store keeps none."""
        return self._registry_meta if isinstance(self._registry_meta, Credentials) else None

    async def close(self) -> None:
        """Finish what was accepted and release both stores; the last call."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        try:
            await self._registry_meta.close()
        finally:
            try:
                await self._blob_store.close()
            finally:
                await self._hashing.close()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
