"""What the tests of a blob store are made of."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias
from uuid import uuid4

from ferro_oci_server.core.ports import BlobStore
from ferro_oci_server.core.records import StagedBytes, UploadId
from ferro_oci_server.oci.digest import Digest

__all__ = [
    "MIB",
    "NOTHING",
    "OpenStore",
    "append",
    "commit",
    "content_of",
    "endless",
    "failing",
    "new_upload",
    "pieces_of",
    "put",
    "read",
    "read_staged",
    "waiting",
]

MIB = 1024 * 1024

NOTHING = StagedBytes()
"""What is staged for an upload that has just begun."""

OpenStore: TypeAlias = Callable[[], BlobStore]
"""Opens the store of one test; called again, it opens the same content, where the store is persistent."""


def new_upload() -> UploadId:
    """An id that no upload has had."""
    return UploadId(str(uuid4()))


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    """The pieces, as if they arrived one by one."""
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


async def append(store: BlobStore, upload: UploadId, staged: StagedBytes, pieces: AsyncIterator[bytes]) -> StagedBytes:
    """Claim an upload for one append."""
    async with store.claim(upload) as claimed:
        return await claimed.append(staged, pieces)


async def commit(store: BlobStore, upload: UploadId, staged: StagedBytes, digest: Digest) -> str:
    """Claim an upload for its commit; return the location of the blob."""
    async with store.claim(upload) as claimed:
        await claimed.commit(staged, digest)
    return store.location(upload, digest)


async def put(store: BlobStore, content: bytes, upload: UploadId | None = None) -> str:
    """Store a blob; return its location."""
    upload = upload or new_upload()
    async with store.claim(upload) as claimed:
        await claimed.commit(await claimed.append(NOTHING, pieces_of(content)), Digest.of(content))
    return store.location(upload, Digest.of(content))


async def read(store: BlobStore, location: str) -> bytes | None:
    """All of a blob; ``None`` where there is none."""
    reader = await store.open(location)
    if reader is None:
        return None
    try:
        return b"".join([piece async for piece in reader.pieces(0, reader.size)])
    finally:
        await reader.close()


async def read_staged(store: BlobStore, upload: UploadId, staged: StagedBytes) -> bytes:
    """What is staged for an upload."""
    async with store.claim(upload) as claimed:
        return b"".join([piece async for piece in claimed.read(staged)])


def content_of(size: int) -> bytes:
    """Bytes that differ from place to place, and from those of another size."""
    return hashlib.shake_128(b"%d" % size).digest(size)


async def failing(failure: Exception, *pieces: bytes) -> AsyncIterator[bytes]:
    """Pieces, and then the failure."""
    async for piece in pieces_of(*pieces):
        yield piece
    raise failure


async def endless(arrived: asyncio.Event) -> AsyncIterator[bytes]:
    """Pieces without end; ``arrived`` is set when some have been taken."""
    while True:
        for _ in range(40):
            await asyncio.sleep(0)
            yield bytes(64 * 1024)
        arrived.set()


async def waiting(arrived: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    """Two pieces, the second when ``go_on`` is set."""
    yield b"first"
    arrived.set()
    await go_on.wait()
    yield b"second"
