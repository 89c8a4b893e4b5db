"""Blobs: bytes that a repository holds by a link. Another repository's link shows nothing here.

Spec: end-2, end-10, end-11.
"""

from ferro_oci_server.core.access import OPEN, Access
from ferro_oci_server.core.integrity import CheckedReader, Integrity
from ferro_oci_server.core.ports import BlobReader, BlobStore, RegistryMeta
from ferro_oci_server.core.records import Blob
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import BlobUnknown
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["Blobs"]


class Blobs:
    """Reads, links and unlinks blobs."""

    def __init__(self, store: BlobStore, meta: RegistryMeta, integrity: Integrity) -> None:
        self._store = store
        self._meta = meta
        self._integrity = integrity

    async def stat(self, name: RepositoryName, digest: Digest, *, lease: bool = False) -> Blob:
        """What is known of a blob, without opening it.

        With ``lease`` it will stay for a while, so that a client that need not push it may refer to it.

        Raises:
            BlobUnknown: the repository does not hold it.
        """
        blob = await self._meta.get_blob(name, digest, lease=lease)
        if blob is None:
            raise _unknown()
        return blob

    async def open(self, blob: Blob) -> BlobReader:
        """Open a blob that ``stat`` has found; the reader must be closed, and checks the bytes if it reads them all.

        Raises:
            BlobUnknown: its bytes are gone, or are not as many as they were. From now on ``stat`` does not find it, so
                clients push it again, and that repairs it.
        """
        reader = await self._store.open(blob.location)
        if reader is None:
            await self._integrity.report(blob, "its bytes are gone")
            raise _unknown()
        if reader.size != blob.size:
            await reader.close()
            await self._integrity.report(blob, f"it has {reader.size} bytes instead of {blob.size}")
            raise _unknown()
        return CheckedReader(reader, blob, self._integrity)

    async def mount(
        self, name: RepositoryName, digest: Digest, source: RepositoryName | None, access: Access = OPEN
    ) -> Blob | None:
        """Link a blob of ``source``, or of any repository, in this one too; ``None`` where it is not to be had.

        A repository that ``access`` does not show is like one that is not there. Which repositories have a blob is not
        looked for, so a client that is not shown all of them must name the one to take it from.
        """
        if not await access.may_pull(source):
            return None
        return await self._meta.mount_blob(name, digest, source)

    async def delete(self, name: RepositoryName, digest: Digest) -> None:
        """Take a blob out of this repository. The bytes stay until nothing links them.

        Raises:
            BlobUnknown: the repository does not hold it.
        """
        if not await self._meta.unlink_blob(name, digest):
            raise _unknown()


def _unknown() -> BlobUnknown:
    return BlobUnknown("this repository has no such blob")
