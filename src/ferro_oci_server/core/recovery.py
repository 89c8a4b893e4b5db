"""Rebuilding what digests lead to from the bytes alone: for metadata that came back older than the bytes, or in part.

    rows whose bytes are not where they should be        --+--> bytes of the same digest that no row knows
    what manifests need and their repository does not have -+       --read and hashed--> the row, and the link, again

1. A blob store knows of each of its blobs what it is. Only what a row is about to get is read.
2. Bytes that nothing needs are left as they are: whoever has lost more than this finds them again later. ``verify``
   tells of them.
3. Where manifests may refer to what is not there, a reference is no right to it: there, none gets anything.
4. It runs beside a registry that serves, as often as one likes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

from ferro_oci_server.core.inspection import DescribedBlobs, Finding, FindingKind, Inspection
from ferro_oci_server.core.integrity import Integrity
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import BlobStore, RegistryMeta
from ferro_oci_server.core.records import Blob, UploadId, UploadSession, Waste
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["LOST", "Recovery"]

_ROWS = 200
# Each may have megabytes.
_MANIFESTS = 10
_LOCATIONS = 500

LOST = "must be pushed again"
"""The outcome of a finding about which nothing could be done."""

_GONE = "its bytes are gone"


@dataclass(slots=True)
class _Need:
    """What a digest is needed for."""

    blob: Blob | None = None
    """The row whose bytes are gone."""
    repositories: set[RepositoryName] = field(default_factory=set)
    """Those whose manifests need it."""


class Recovery:
    """Looks for bytes that rows need."""

    def __init__(
        self,
        store: BlobStore,
        meta: RegistryMeta,
        inspection: Inspection,
        integrity: Integrity,
        missing_references: MissingReferences,
    ) -> None:
        self._missing_references = missing_references
        self._store = store
        self._meta = meta
        self._inspection = inspection
        self._integrity = integrity

    async def recover(self) -> AsyncIterator[Finding]:
        """Give rows their bytes back, and tell of each; at the end, tell of what was not found."""
        if not isinstance(self._store, DescribedBlobs):
            return
        needs = await self._needs(self._store)
        batch: list[str] = []
        async for location in self._store.list():
            batch.append(location)
            if len(batch) == _LOCATIONS:
                async for finding in self._use(batch, needs, self._store):
                    yield finding
                batch = []
        async for finding in self._use(batch, needs, self._store):
            yield finding
        for digest, need in needs.items():
            # The quarantine may still have it.
            outcome = await self._integrity.mend(need.blob, _GONE) if need.blob else LOST
            for finding in _findings(digest, need, outcome):
                yield finding

    async def _needs(self, store: DescribedBlobs) -> dict[Digest, _Need]:
        needs: dict[Digest, _Need] = {}
        after = ""
        while page := await self._inspection.inspect_blobs(after, _ROWS):
            after = page[-1].blob.digest
            for inspected in page:
                blob = inspected.blob
                there = await store.describe(blob.location)
                if there is None or (there.digest, there.size) != (blob.digest, blob.size):
                    needs.setdefault(blob.digest, _Need()).blob = blob
        last = ""
        while names := await self._meta.list_repositories(last, _ROWS):
            last = names[-1]
            for name in names:
                async for digest in self._missing(name):
                    needs.setdefault(digest, _Need()).repositories.add(name)
        return needs

    async def _missing(self, name: RepositoryName) -> AsyncIterator[Digest]:
        if self._missing_references.allowed_in(name):
            return
        after = ""
        while page := await self._inspection.inspect_manifests(name, after, _MANIFESTS):
            after = page[-1].stored.digest
            for inspected in page:
                for digest in inspected.references - inspected.linked - inspected.held:
                    yield digest

    async def _use(
        self, locations: list[str], needs: dict[Digest, _Need], store: DescribedBlobs
    ) -> AsyncIterator[Finding]:
        known = await self._inspection.known_locations(locations)
        for location in locations:
            found = None if location in known else await store.describe(location)
            if found is None or found.digest not in needs or await self._integrity.examine(found) is not None:
                continue
            need = needs[found.digest]
            if await self._give(found, need):
                del needs[found.digest]
                for finding in _findings(found.digest, need, "recovered"):
                    yield finding

    async def _give(self, found: Blob, need: _Need) -> bool:
        """Let bytes be those of a blob again; tell whether all that need it have it."""
        if need.blob is not None:
            waste = Waste(found.location, found.digest, found.size)
            # From there nothing can take it away without anybody seeing that.
            if not await self._inspection.trash_bytes(waste):
                return False
            if not await self._inspection.restore_blob(need.blob, waste):
                return False
        for name in need.repositories:
            session = UploadSession(UploadId(str(uuid4())), name, found.digest.algorithm)
            await self._meta.create_upload(session)
            if not await self._meta.complete_upload(session, found):
                await self._meta.delete_upload(name, session.id)
                return False
        return True


def _findings(digest: Digest, need: _Need, outcome: str) -> list[Finding]:
    found = [] if need.blob is None else [Finding(FindingKind.BLOB, "", digest, _GONE, outcome)]
    problem = "a manifest needs it, and it is not in the repository"
    return found + [
        Finding(FindingKind.REFERENCE, name, digest, problem, outcome) for name in sorted(need.repositories)
    ]
