"""Verification: everything that is kept is looked at once, and what is not as it should be is reported.

    bytes       of every blob: there, as many as recorded, of their digest          --repair--> restored, or marked
    manifests   of their digest; what is recorded of each is what it says; what it needs is there; its subject lists it
    rows        none that belongs to nothing
    files       none that no row knows, the fresh ones aside                        --repair--> wait as trash

1. It runs beside a registry that serves. What has changed since it was looked at is not reported.
2. It holds a page of rows and some pieces of one blob in memory, whatever the registry's size.
3. Nothing is changed but by ``repair``, and that changes nothing else.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from ferro_oci_server.core.inspection import (
    DatedBlobs,
    Finding,
    FindingKind,
    InspectedBlob,
    InspectedManifest,
    Inspection,
)
from ferro_oci_server.core.integrity import Integrity
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import BlobStore, RegistryMeta, StoreCorrupted, StoreUnavailable
from ferro_oci_server.core.records import Waste
from ferro_oci_server.oci.digest import Algorithm, Digest, Hasher
from ferro_oci_server.oci.errors import ManifestInvalid
from ferro_oci_server.oci.manifest import Manifest, parse_manifest
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["Progress", "Verifier"]

_BLOBS = 200
_REPOSITORIES = 200
# Each may have megabytes.
_MANIFESTS = 10
_FILES = 500
# Where more than this is wrong, the rest will be, too.
_ROWS = 1000

# Bytes get their row right after their name, or when a push goes on that was cut off between the two.
_FRESH_SECONDS = 3600
# How long a row may take to follow its file on a slow disk.
_SETTLE_SECONDS = 1


@dataclass(slots=True)
class Progress:
    """What has been looked at so far."""

    files: int = 0
    blobs: int = 0
    bytes: int = 0
    manifests: int = 0


class Verifier:
    """Looks through two stores."""

    def __init__(
        self,
        store: BlobStore,
        meta: RegistryMeta,
        inspection: Inspection,
        integrity: Integrity,
        missing_references: MissingReferences,
    ) -> None:
        self._store = store
        self._meta = meta
        self._inspection = inspection
        self._integrity = integrity
        self._missing_references = missing_references
        self.progress = Progress()

    async def verify(self, *, repair: bool = False) -> AsyncIterator[Finding]:
        """Look at everything, and tell of what is wrong as it is found."""
        # Files first: what no row knows may be what a damaged blob lacks.
        async for finding in self._files(repair=repair):
            yield finding
        async for finding in self._blobs(repair=repair):
            yield finding
        async for finding in self._manifests():
            yield finding
        for finding in await self._inspection.inspect_rows(_ROWS):
            yield finding

    # Blobs

    async def _blobs(self, *, repair: bool) -> AsyncIterator[Finding]:
        after = ""
        while page := await self._inspection.inspect_blobs(after, _BLOBS):
            after = page[-1].blob.digest
            for inspected in page:
                finding = await self._blob(inspected, repair=repair)
                if finding is not None:
                    yield finding
                self.progress.blobs += 1

    async def _blob(self, inspected: InspectedBlob, *, repair: bool) -> Finding | None:
        blob = inspected.blob
        try:
            problem = await self._integrity.examine(blob, self._count)
        except StoreUnavailable as exc:
            return Finding(FindingKind.BLOB, "", blob.digest, f"it cannot be read now: {exc}")
        if problem is None and not inspected.suspect:
            return None
        current = await self._inspection.inspect_blob(blob.digest)
        if current is None or current.blob.location != blob.location:
            return None
        if problem is None:
            sound = repair and await self._inspection.mark_blob(blob, suspect=False)
            outcome = "found again" if sound else ""
            return Finding(FindingKind.BLOB, "", blob.digest, "it is marked as damaged, and is not", outcome)
        outcome = await self._integrity.mend(blob, problem) if repair else ""
        return Finding(FindingKind.BLOB, "", blob.digest, problem, outcome)

    async def _count(self, size: int) -> None:
        self.progress.bytes += size

    # Manifests

    async def _manifests(self) -> AsyncIterator[Finding]:
        last = ""
        while names := await self._meta.list_repositories(last, _REPOSITORIES):
            last = names[-1]
            for name in names:
                async for finding in self._repository(name):
                    yield finding

    async def _repository(self, name: RepositoryName) -> AsyncIterator[Finding]:
        after = ""
        while page := await self._inspection.inspect_manifests(name, after, _MANIFESTS):
            after = page[-1].stored.digest
            for inspected in page:
                for finding in await self._integrity.hashing.run(self._manifest, inspected):
                    yield finding
                if not await self._is_listed(inspected):
                    yield _of_manifest(inspected, "the referrers of its subject do not list it as it is")
                self.progress.manifests += 1

    def _manifest(self, inspected: InspectedManifest) -> list[Finding]:
        stored = inspected.stored
        if Digest.of(stored.content, stored.digest.algorithm) != stored.digest:
            return [_of_manifest(inspected, "its content has another digest: push it again")]
        try:
            manifest = parse_manifest(stored.content, stored.media_type)
        except ManifestInvalid as exc:
            return [_of_manifest(inspected, f"its content is no manifest: {exc}")]
        findings = [_of_manifest(inspected, problem) for problem in _wrong_records(inspected, manifest)]
        if findings or self._missing_references.allowed_in(inspected.repository):
            return findings
        missing = {*manifest.blobs} - inspected.linked | {*manifest.children} - inspected.linked - inspected.held
        problem = f"manifest {stored.digest} needs it, and it is not in the repository"
        return [Finding(FindingKind.REFERENCE, inspected.repository, digest, problem) for digest in sorted(missing)]

    async def _is_listed(self, inspected: InspectedManifest) -> bool:
        """Whether the list of referrers has a manifest that has a subject."""
        digest, subject = inspected.stored.digest, inspected.subject
        if subject is None:
            return True
        name = inspected.repository
        for artifact_type in {None, inspected.artifact_type}:
            found = await self._meta.list_referrers(name, subject, artifact_type, _before(digest), 1)
            listed = [(it.digest, it.media_type, it.size, it.artifact_type) for it in found]
            if listed != [(digest, inspected.stored.media_type, inspected.size, inspected.artifact_type)]:
                # It may have been removed or pushed anew since it was inspected.
                again = await self._inspection.inspect_manifests(name, _before(digest), 1)
                return again != [inspected]
        return True

    # Files

    async def _files(self, *, repair: bool) -> AsyncIterator[Finding]:
        if not isinstance(self._store, DatedBlobs):
            return
        batch: list[str] = []
        async for location in self._store.list():
            batch.append(location)
            if len(batch) == _FILES:
                for finding in await self._strangers(batch, self._store, repair=repair):
                    yield finding
                batch = []
        for finding in await self._strangers(batch, self._store, repair=repair):
            yield finding

    async def _strangers(self, locations: list[str], store: DatedBlobs, *, repair: bool) -> list[Finding]:
        self.progress.files += len(locations)
        unknown = await self._unknown(locations)
        ages = {location: await store.age(location) for location in unknown}
        old = [location for location, age in ages.items() if age is not None and age >= _FRESH_SECONDS]
        if not old:
            return []
        await asyncio.sleep(_SETTLE_SECONDS)
        findings = []
        for location in await self._unknown(old):
            outcome = "waits as trash" if repair and await self._trash(location) else ""
            findings.append(Finding(FindingKind.FILE, "", location, "no record knows these bytes", outcome))
        return findings

    async def _unknown(self, locations: list[str]) -> list[str]:
        known = await self._inspection.known_locations(locations)
        return [location for location in locations if location not in known]

    async def _trash(self, location: str) -> bool:
        """Let bytes wait as trash, under their digest: a damaged blob may need them."""
        reader = await self._store.open(location)
        if reader is None:
            return False
        hasher = Hasher(Algorithm.SHA256)
        try:
            async with aclosing(reader.pieces(0, reader.size)) as pieces:
                async for piece in pieces:
                    if (hashing := self._integrity.hashing.update(hasher, piece)) is not None:
                        await hashing
        except StoreCorrupted:
            return False
        finally:
            await reader.close()
        return await self._inspection.trash_bytes(Waste(location, hasher.digest(), hasher.size))


def _wrong_records(inspected: InspectedManifest, manifest: Manifest) -> Iterator[str]:
    if inspected.size != len(inspected.stored.content):
        yield "its size is not what is recorded"
    if inspected.references != {*manifest.blobs, *manifest.children, *manifest.optional}:
        yield "what it refers to is not what is recorded: push it again"
    if (inspected.subject, inspected.artifact_type) != (manifest.subject, manifest.artifact_type):
        yield "its subject or its type is not what is recorded: push it again"


def _of_manifest(inspected: InspectedManifest, problem: str) -> Finding:
    return Finding(FindingKind.MANIFEST, inspected.repository, inspected.stored.digest, problem)


def _before(digest: Digest) -> str:
    """A text that sorts before a digest, and behind all digests before it."""
    return digest[:-1] + chr(ord(digest[-1]) - 1)
