"""A blob store in memory: for tests, and for registries that may forget."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from ferro_oci_server.core.ports import StagedBytesMissing, UploadBusy
from ferro_oci_server.core.records import StagedBytes, UploadId
from ferro_oci_server.oci.digest import Digest

__all__ = ["InMemoryBlobStore"]

# As large as those of files, so that a server sees the same everywhere.
_PIECE = 512 * 1024


class InMemoryBlobStore:
    """Keeps everything until it is closed or its process ends."""

    chunk_min_length = 0

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._stored_at: dict[str, float] = {}
        self._staged: dict[UploadId, bytearray] = {}
        self._busy: set[UploadId] = set()

    def location(self, upload: UploadId, digest: Digest) -> str:
        """Where an upload's blob will be, if that is its digest."""
        return f"{digest}.{upload}"

    async def open(self, location: str) -> "_Reader | None":
        """Open a blob; the reader keeps the bytes alive."""
        content = self._blobs.get(location)
        return None if content is None else _Reader(content)

    async def delete(self, location: str) -> bool:
        """Remove a blob; tell whether it was there."""
        self._stored_at.pop(location, None)
        return self._blobs.pop(location, None) is not None

    async def list(self) -> AsyncIterator[str]:
        """The locations of the blobs that were there at the first step."""
        for location in tuple(self._blobs):
            yield location

    async def age(self, location: str) -> float | None:
        """For how many seconds a blob has been there; ``None`` where there is none."""
        return monotonic() - self._stored_at[location] if location in self._blobs else None

    @asynccontextmanager
    async def claim(self, upload: UploadId) -> AsyncIterator["_StagedUpload"]:
        """Be the only one to work on what is staged for an upload.

        Raises:
            UploadBusy: another has the claim.
        """
        if upload in self._busy:
            raise UploadBusy
        self._busy.add(upload)
        try:
            yield _StagedUpload(self, upload, self._staged, self._blobs, self._stored_at)
        finally:
            self._busy.discard(upload)

    async def discard(self, upload: UploadId) -> None:
        """Drop what is staged for an upload, if anything is."""
        self._staged.pop(upload, None)

    async def check(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """Forget everything."""
        self._blobs.clear()
        self._staged.clear()


class _StagedUpload:
    """What is staged for one upload, while it is claimed."""

    def __init__(
        self,
        store: InMemoryBlobStore,
        upload: UploadId,
        staged: dict[UploadId, bytearray],
        blobs: dict[str, bytes],
        stored_at: dict[str, float],
    ) -> None:
        self._store = store
        self._upload = upload
        self._staged = staged
        self._blobs = blobs
        self._stored_at = stored_at

    async def append(self, staged: StagedBytes, pieces: AsyncIterator[bytes]) -> StagedBytes:
        """Write pieces behind what is staged; return what is staged then.

        Raises:
            StagedBytesMissing: there are fewer bytes than ``staged`` says.
        """
        if len(self._content) < staged.size:
            raise StagedBytesMissing
        content = self._staged.setdefault(self._upload, bytearray())
        try:
            del content[staged.size :]
            async for piece in pieces:
                content += piece
        except BaseException:
            del content[staged.size :]
            raise
        return StagedBytes(len(content))

    async def read(self, staged: StagedBytes) -> AsyncGenerator[bytes, None]:
        """Read what is staged, a piece at a time.

        Raises:
            StagedBytesMissing: there are fewer bytes.
        """
        for start in range(0, staged.size, _PIECE):
            if len(self._content) < staged.size:
                raise StagedBytesMissing
            yield bytes(self._content[start : min(start + _PIECE, staged.size)])

    async def commit(self, staged: StagedBytes, digest: Digest) -> None:
        """Make what is staged the blob ``digest``.

        Raises:
            StagedBytesMissing: there are fewer bytes, and no blob that this upload has become.
        """
        location = self._store.location(self._upload, digest)
        if len(self._content) >= staged.size:
            self._blobs[location] = bytes(memoryview(self._content)[: staged.size])
            self._stored_at[location] = monotonic()
        elif len(self._blobs.get(location, b"")) != staged.size:
            raise StagedBytesMissing
        self._staged.pop(self._upload, None)

    @property
    def _content(self) -> bytearray:
        return self._staged.get(self._upload, bytearray())


class _Reader:
    """A blob that stays as it was, since bytes do not change."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        """The number of bytes there are."""
        return len(self._content)

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Copy the bytes from ``start`` up to ``stop``, a piece at a time."""
        for at in range(start, stop, _PIECE):
            yield self._content[at : min(at + _PIECE, stop)]

    async def close(self) -> None:
        """Nothing is held."""
