"""What the tests of a ``RegistryMeta`` are made of."""

from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import uuid4

from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.core.records import Blob, ManifestRecord, UploadId, UploadSession
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = [
    "NAME",
    "OTHER",
    "OpenMeta",
    "add_blob",
    "digest_of",
    "manifest",
    "new_session",
    "tags",
]

OpenMeta: TypeAlias = Callable[[], RegistryMeta]
"""Opens the store of one test; called again, it opens the same content, where the store is persistent."""

NAME = RepositoryName("library/app")
OTHER = RepositoryName("library/other")


def digest_of(text: str) -> Digest:
    """Some digest, the same for the same text."""
    return Digest.of(text.encode())


def tags(*names: str) -> tuple[Tag, ...]:
    """Tags with these names."""
    return tuple(map(Tag, names))


def manifest(text: str = "manifest", media_type: str = OCI_IMAGE_MANIFEST, **fields: Any) -> ManifestRecord:
    """A manifest with this content: a store does not read it."""
    content = text.encode()
    return ManifestRecord(Digest.of(content), media_type, content, **fields)


def new_session(name: RepositoryName = NAME, algorithm: Algorithm = Algorithm.SHA256) -> UploadSession:
    """A session that no store has seen."""
    return UploadSession(UploadId(str(uuid4())), name, algorithm)


async def add_blob(
    meta: RegistryMeta, name: RepositoryName = NAME, text: str = "blob", location: str | None = None
) -> Blob:
    """Upload a blob to a repository."""
    session = new_session(name)
    await meta.create_upload(session)
    blob = Blob(digest_of(text), len(text), location or f"place of {text}")
    assert await meta.complete_upload(session, blob)
    return blob
