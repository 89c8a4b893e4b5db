"""A blob store of your own: in memory, compressed, for registries that live as long as a test run.

Clients get the bytes that they pushed. ``tests/embedding`` runs the suite on it that every store should pass.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from ferro_oci_server import Digest, StagedBytes, StagedBytesMissing, UploadBusy, UploadId


class Piece(NamedTuple):
    """Some bytes, compressed, and how many they are when they are not."""

    size: int
    packed: bytes

    @classmethod
    def pack(cls, content: bytes) -> "Piece":
        return cls(len(content), zlib.compress(content, level=1))

    def unpack(self) -> bytes:
        return zlib.decompress(self.packed)


class CompressedBlobStore:
    """Keeps blobs as compressed pieces."""

    chunk_min_length = 0

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[Piece, ...]] = {}
        self._staged: dict[UploadId, tuple[Piece, ...]] = {}
        self._claimed: set[UploadId] = set()

    def location(self, upload: UploadId, digest: Digest) -> str:
        return f"{digest}.{upload}"

    async def open(self, location: str) -> "Reader | None":
        pieces = self._blobs.get(location)
        return None if pieces is None else Reader(pieces)

    async def delete(self, location: str) -> bool:
        return self._blobs.pop(location, None) is not None

    async def list(self) -> AsyncIterator[str]:
        for location in tuple(self._blobs):
            yield location

    @asynccontextmanager
    async def claim(self, upload: UploadId) -> AsyncIterator["StagedPieces"]:
        if upload in self._claimed:
            raise UploadBusy
        self._claimed.add(upload)
        try:
            yield StagedPieces(self, upload, self._staged, self._blobs)
        finally:
            self._claimed.remove(upload)

    async def discard(self, upload: UploadId) -> None:
        self._staged.pop(upload, None)

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        self._blobs.clear()
        self._staged.clear()


class StagedPieces:
    """What is staged for one upload, while it is claimed."""

    def __init__(
        self,
        store: CompressedBlobStore,
        upload: UploadId,
        staged: dict[UploadId, tuple[Piece, ...]],
        blobs: dict[str, tuple[Piece, ...]],
    ) -> None:
        self._store = store
        self._upload = upload
        self._staged = staged
        self._blobs = blobs

    async def append(self, staged: StagedBytes, pieces: AsyncIterator[bytes]) -> StagedBytes:
        content = first_bytes(self._staged.get(self._upload, ()), staged.size)
        async for piece in pieces:
            content.append(Piece.pack(piece))
        # Put in its place as a whole, so that an append that fails has changed nothing.
        self._staged[self._upload] = tuple(content)
        return StagedBytes(sum(piece.size for piece in content))

    async def read(self, staged: StagedBytes) -> AsyncGenerator[bytes, None]:
        for piece in first_bytes(self._staged.get(self._upload, ()), staged.size):
            yield piece.unpack()

    async def commit(self, staged: StagedBytes, digest: Digest) -> None:
        location = self._store.location(self._upload, digest)
        try:
            self._blobs[location] = tuple(first_bytes(self._staged.get(self._upload, ()), staged.size))
        except StagedBytesMissing:
            # A commit that is repeated finds its blob.
            if sum(piece.size for piece in self._blobs.get(location, ())) != staged.size:
                raise
        self._staged.pop(self._upload, None)


class Reader:
    """A blob that stays as it was when it was opened."""

    def __init__(self, content: tuple[Piece, ...]) -> None:
        self._content = content
        self.size = sum(piece.size for piece in content)

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        at = 0
        for piece in self._content:
            if at < stop and at + piece.size > start:
                yield piece.unpack()[max(0, start - at) : stop - at]
            at += piece.size

    async def close(self) -> None:
        pass


def first_bytes(pieces: Iterable[Piece], size: int) -> list[Piece]:
    """The first ``size`` bytes of all pieces, the last of which may have to be cut."""
    kept = []
    for piece in pieces:
        if size <= 0:
            break
        kept.append(piece if piece.size <= size else Piece.pack(piece.unpack()[:size]))
        size -= piece.size
    if size > 0:
        raise StagedBytesMissing
    return kept
