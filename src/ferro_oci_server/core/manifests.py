"""Manifests: stored byte for byte, in one transaction with their tags and references.

Spec: end-3, end-7a, end-7b, end-9.
"""

from collections.abc import Sequence

from ferro_oci_server.core.access import OPEN, Access
from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import RegistryMeta, StoreCorrupted
from ferro_oci_server.core.quota import Quotas
from ferro_oci_server.core.records import Condition, ManifestInfo, ManifestRecord, StoredManifest
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import DigestInvalid, ManifestUnknown
from ferro_oci_server.oci.manifest import parse_manifest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Reference, Tag

__all__ = ["Manifests", "read_record"]

# Hashing and parsing more than this would hold up other requests noticeably.
_LARGE = 64 * 1024


class Manifests:
    """Reads, takes in and removes manifests."""

    def __init__(
        self, meta: RegistryMeta, missing_references: MissingReferences, quotas: Quotas, hashing: Hashing
    ) -> None:
        self._meta = meta
        self._hashing = hashing
        self._quotas = quotas
        self._missing_references = missing_references

    async def get(self, name: RepositoryName, reference: Reference) -> StoredManifest:
        """The manifest a reference resolves to, exactly as it was pushed.

        Raises:
            ManifestUnknown: the repository has no such tag or digest, or does not exist.
            StoreCorrupted: it is not as it was pushed; pushing it again repairs it.
        """
        manifest = await self._meta.get_manifest(name, reference)
        if manifest is None:
            raise _unknown()
        content, algorithm = manifest.content, manifest.digest.algorithm
        large = len(content) > _LARGE
        digest = await self._hashing.run(Digest.of, content, algorithm) if large else Digest.of(content, algorithm)
        if digest != manifest.digest:
            raise StoreCorrupted(f"the content of manifest {manifest.digest} in {name} is damaged")
        return manifest

    async def stat(self, name: RepositoryName, reference: Reference) -> ManifestInfo:
        """What a reference resolves to, without the content.

        A manifest that is asked for by its digest will stay for a while, so that a client that need not push it may
        refer to it.

        Raises:
            ManifestUnknown: the repository has no such tag or digest, or does not exist.
        """
        info = await self._meta.stat_manifest(name, reference, lease=isinstance(reference, Digest))
        if info is None:
            raise _unknown()
        return info

    async def put(
        self,
        name: RepositoryName,
        reference: Reference,
        content: bytes,
        content_type: str | None,
        *,
        tags: Sequence[Tag] = (),
        condition: Condition | None = None,
        access: Access = OPEN,
    ) -> ManifestRecord:
        """Store a manifest under a digest, or under a tag; point further ``tags`` at it.

        Raises:
            DigestInvalid: the reference is a digest, and not that of ``content``.
            ManifestInvalid: the content is no manifest, or not of ``content_type``.
            ManifestBlobUnknown: it refers to what the repository does not hold, and that is not allowed there.
            PreconditionFailed: the condition does not hold.
            Denied: ``access`` forbids to make or to move a tag.
            QuotaExceeded: the repository has as many manifests or tags as it may.
        """
        named = (reference, *tags) if isinstance(reference, Tag) else tags
        guard = await access.guard(name, named) if named else None
        if len(content) > _LARGE:
            record = await self._hashing.run(read_record, reference, content, content_type)
        else:
            record = read_record(reference, content, content_type)
        await self._quotas.admit_manifest(name, record.digest, named)
        allow_missing = self._missing_references.allowed_in(name)
        await self._meta.put_manifest(
            name, record, named, allow_missing=allow_missing, condition=condition, guard=guard
        )
        return record

    async def delete(self, name: RepositoryName, reference: Reference) -> None:
        """Remove a tag, or a manifest with every tag that points at it.

        Raises:
            ManifestUnknown: there is no such thing.
        """
        if isinstance(reference, Digest):
            found = await self._meta.delete_manifest(name, reference)
        else:
            found = await self._meta.delete_tag(name, reference)
        if not found:
            raise _unknown()
        self._quotas.doubt(name)


def read_record(reference: Reference, content: bytes, content_type: str | None) -> ManifestRecord:
    """Read a manifest for what a store must know of it.

    Raises:
        DigestInvalid: the reference is a digest, and not that of ``content``.
        ManifestInvalid: the content is no manifest, or not of ``content_type``.
    """
    algorithm = reference.algorithm if isinstance(reference, Digest) else Algorithm.SHA256
    digest = Digest.of(content, algorithm)
    if isinstance(reference, Digest) and digest != reference:
        raise DigestInvalid("the manifest does not have this digest")
    manifest = parse_manifest(content, content_type)
    return ManifestRecord(
        digest=digest,
        media_type=manifest.media_type,
        content=content,
        blobs=manifest.blobs,
        children=manifest.children,
        optional=manifest.optional,
        subject=manifest.subject,
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
    )


def _unknown() -> ManifestUnknown:
    return ManifestUnknown("this repository has no such manifest")
