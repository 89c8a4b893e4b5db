"""Writing a segment: batches of what arrives are handed to the library, which sends them in parts, several at a time.

    pieces as they arrive --gather--> a batch --handed over--> a part that fills
                                                               parts that are being sent

1. What fits into one part is one request. Else it is as many as there are parts, and two more.
2. An upload holds a few parts in memory, whatever its size; where many uploads are large, each holds two small ones.
3. Batches are taken from whoever has the pieces, in the caller's own task, so what the pieces raise reaches the caller
   as it is. What has been sent by then becomes an object, and is deleted: a store that is told to drop an object while
   its parts are on their way may keep them for ever, where nobody lists them.
4. Whether a write has taken effect that seemed to fail is asked, not assumed.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from ferro_oci_server.backends.blob.bucket import Bucket
from ferro_oci_server.backends.blob.threads import finish, settle
from ferro_oci_server.core.ports import StoreUnavailable

__all__ = ["SegmentWriter", "batches_of"]

# A handover costs some 100 us, and sending this much about five times as much.
_BATCH = 256 * 1024

# Parts, and how many are in memory, one of which fills. Large enough that some at a time fill a line.
_PART = 8 * 1024 * 1024
_PARTS = 4
# Where more uploads than this are large at the same time, further ones have less: parts as small as stores take them.
_RICH_UPLOADS = 4
_LEAN_PART = 5 * 1024 * 1024
_LEAN_PARTS = 2

# Stores take no more parts of one object.
_MAX_PARTS = 10_000


class SegmentWriter:
    """Writes segments into a bucket, of many uploads at once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._large = 0

    async def write(self, key: str, batches: AsyncGenerator[bytes, None]) -> int:
        """Write the next batches as one object, which is whole when this returns; return how many bytes it has.

        There may be some left, where there are more than an object may have. Where there are none, there is no object.

        Raises:
            StoreUnavailable: nothing counts, but there may be an object.
        """
        head: list[bytes] = []
        size = 0
        async for batch in batches:
            head.append(batch)
            size += len(batch)
            if size > _PART:
                break
        if size > _PART:
            self._large += 1
            try:
                return await self._write_parts(key, head, batches)
            finally:
                self._large -= 1
        if size:
            await self._finish(asyncio.ensure_future(self._bucket.put(key, head)), key, size)
        return size

    async def _write_parts(self, key: str, head: list[bytes], batches: AsyncGenerator[bytes, None]) -> int:
        part, parts = (_PART, _PARTS) if self._large <= _RICH_UPLOADS else (_LEAN_PART, _LEAN_PARTS)
        handover = _Handover()
        writing = asyncio.ensure_future(self._bucket.put_parts(key, handover, part, parts))
        size = 0
        try:
            while size < part * (_MAX_PARTS - 1) and (batch := head.pop(0) if head else await anext(batches, b"")):
                await handover.give(batch, writing)
                size += len(batch)
        except BaseException:
            handover.end()
            await settle(writing)
            if writing.exception() is None:
                with suppress(StoreUnavailable):
                    await self._bucket.delete([key])
            raise
        handover.end()
        await self._finish(writing, key, size)
        # Parts that got lost or were counted twice have happened to others.
        stat = await self._bucket.stat(key)
        if stat is None or stat.size != size:
            raise StoreUnavailable(f"the object store has {stat and stat.size} of {size} bytes")
        return size

    async def _finish(self, writing: "asyncio.Future[None]", key: str, size: int) -> None:
        """Wait for the end of a write. What seems to have failed may have taken effect."""
        try:
            await finish(writing)
        except StoreUnavailable:
            if not await self._bucket.has(key, size):
                raise


class _Handover:
    """Gives batches to the library, which takes them as an iterator when it is ready for more."""

    def __init__(self) -> None:
        self._batch: bytes | None = None
        self._is_over = False
        self._given = asyncio.Event()
        self._taken = asyncio.Event()

    async def give(self, batch: bytes, writing: "asyncio.Future[None]") -> None:
        """Wait until a batch is taken. If the write ends before that, raise what it has raised."""
        self._batch = batch
        self._taken.clear()
        self._given.set()
        writing.add_done_callback(self._wake)
        try:
            await self._taken.wait()
        finally:
            writing.remove_done_callback(self._wake)
        if self._batch is not None:
            writing.result()
            raise StoreUnavailable("the object store took less than it was given")

    def end(self) -> None:
        """There are no more batches."""
        self._is_over = True
        self._given.set()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await self._given.wait()
        if self._is_over or self._batch is None:
            raise StopAsyncIteration
        batch, self._batch = self._batch, None
        self._given.clear()
        self._taken.set()
        return batch

    def _wake(self, _: "asyncio.Future[None]") -> None:
        self._taken.set()


async def batches_of(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Gather small pieces; none of what comes out is empty."""
    gathered = bytearray()
    async for piece in pieces:
        if not gathered and len(piece) >= _BATCH:
            yield piece
            continue
        gathered += piece
        if len(gathered) >= _BATCH:
            yield bytes(gathered)
            gathered = bytearray()
    if gathered:
        yield bytes(gathered)
