"""Blobs: bytes that a repository holds by a link. Another repository's link shows nothing here.

Spec: end-2, end-10, end-11.
"""

from collections.abc import AsyncGenerator

from ferro_oci_server.core.access import OPEN, Access
from ferro_oci_server.core.integrity import CheckedReader, Integrity
from ferro_oci_server.core.ports import BlobReader, BlobStore, LinkedBlobs, RegistryMeta, StoreCorrupted
from ferro_oci_server.core.quota import Quotas
from ferro_oci_server.core.records import Blob
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import BlobUnknown
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.ranges import ByteRange

__all__ = ["Blobs"]


class Blobs:
    """Reads, links and unlinks blobs."""

    def __init__(self, store: BlobStore, meta: RegistryMeta, integrity: Integrity, quotas: Quotas) -> None:
        self._store = store
        self._links = store if isinstance(store, LinkedBlobs) else None
        self._meta = meta
        self._integrity = integrity
        self._quotas = quotas

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

    async def begin(self, blob: Blob, part: ByteRange) -> BlobReader:
        """Open a blob as ``open`` does, and read the beginning of a part of it: what fails, fails before an answer.

        Raises:
            BlobUnknown: as ``open``, or the bytes are found to be lost or damaged with the first piece.
            StoreUnavailable: the bytes cannot be read now.
        """
        reader = await self.open(blob)
        begun = _BegunReader(reader, part)
        try:
            await begun.begin()
        except BaseException as exc:
            await begun.close()
            # It has been reported by whoever found it.
            if isinstance(exc, StoreCorrupted):
                raise _unknown() from exc
            raise
        return begun

    async def link(self, blob: Blob, seconds: float) -> str | None:
        """Where a client gets a blob that ``stat`` has found, for so long; ``None`` where it must be read here.

        Raises:
            StoreUnavailable: the store cannot be asked now.
        """
        return None if self._links is None else await self._links.url(blob.location, seconds)

    async def mount(
        self, name: RepositoryName, digest: Digest, source: RepositoryName | None, access: Access = OPEN
    ) -> Blob | None:
        """Link a blob of ``source``, or of any repository, in this one too; ``None`` where it is not to be had.

        A repository that ``access`` does not show is like one that is not there. Which repositories have a blob is not
        looked for, so a client that is not shown all of them must name the one to take it from.

        Raises:
            QuotaExceeded: there is no room for it.
        """
        if not await access.may_pull(source) or not await self._quotas.admit_mount(name, digest, source):
            return None
        return await self._meta.mount_blob(name, digest, source)

    async def delete(self, name: RepositoryName, digest: Digest) -> None:
        """Take a blob out of this repository. The bytes stay until nothing links them.

        Raises:
            BlobUnknown: the repository does not hold it.
        """
        if not await self._meta.unlink_blob(name, digest):
            raise _unknown()
        self._quotas.doubt(name)


class _BegunReader:
    """An open blob of whose part the first piece has been read."""

    def __init__(self, reader: BlobReader, part: ByteRange) -> None:
        self._reader = reader
        self._part = part
        self._begun: AsyncGenerator[bytes, None] | None = reader.pieces(*part)
        self._first = b""

    @property
    def size(self) -> int:
        """The number of bytes there are."""
        return self._reader.size

    async def begin(self) -> None:
        """Read the first piece."""
        if self._begun is not None:
            self._first = await anext(self._begun, b"")

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Read a part; the one that has been begun is gone on with, once."""
        begun, self._begun = self._begun, None
        if begun is None or (start, stop) != self._part:
            begun, self._first = self._reader.pieces(start, stop), b""
        try:
            if self._first:
                first, self._first = self._first, b""
                yield first
            async for piece in begun:
                yield piece
        finally:
            await begun.aclose()

    async def close(self) -> None:
        """Release the blob. May be called twice."""
        if self._begun is not None:
            await self._begun.aclose()
        await self._reader.close()


def _unknown() -> BlobUnknown:
    return BlobUnknown("this repository has no such blob")
