"""Writing a segment: parts are gathered while the parts before are sent, several at a time.

    pieces as they arrive --gather--> a part --handed over--> sent by the library
                                              a part         being sent
                                                             being sent

1. What fits into one part is one request. Else it is as many as there are parts, and two more.
2. Parts are gathered by whoever has the pieces, and handed over one by one. So what the pieces raise reaches the caller
   as it is, and the library as a reason to drop what it has sent.
3. Whether a write has taken effect that seemed to fail is asked, not assumed.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from ferro_oci_server.backends.blob.bucket import Bucket
from ferro_oci_server.backends.blob.threads import finish, settle
from ferro_oci_server.core.ports import StoreUnavailable

__all__ = ["SegmentWriter", "parts_of"]

# Large enough that some at a time fill a line, and small enough to hold some for each of a few uploads.
_PART = 8 * 1024 * 1024
_AT_ONCE = 4
# Where more uploads than this are large at the same time, each has less: the least that stores take as a part, one of
# which is sent while the next is gathered.
_RICH_UPLOADS = 4
_LEAN_PART = 5 * 1024 * 1024
_LEAN_AT_ONCE = 1

# Stores take no more parts of one object.
_MAX_PARTS = 10_000


class _Abandoned(Exception):
    """Raised in the library, to make it drop what it has sent."""


class SegmentWriter:
    """Writes segments into a bucket, of many uploads at once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._large = 0

    @property
    def part_size(self) -> int:
        """How many bytes the parts of the next segment should have."""
        return _PART if self._large < _RICH_UPLOADS else _LEAN_PART

    async def write(self, key: str, parts: AsyncGenerator[bytes, None], part_size: int) -> int:
        """Write the next parts as one object, which is whole when this returns; return how many bytes it has.

        There may be parts left, where there are more than an object may have. Where there is none, there is no object.

        Raises:
            StoreUnavailable: nothing counts, but there may be an object.
        """
        first = await anext(parts, b"")
        second = await anext(parts, b"") if len(first) == part_size else b""
        if not second:
            if first:
                await self._finish(asyncio.ensure_future(self._bucket.put(key, first)), key, len(first))
            return len(first)
        self._large += 1
        try:
            return await self._write_parts(key, [first, second], parts, part_size)
        finally:
            self._large -= 1

    async def _write_parts(
        self, key: str, head: list[bytes], parts: AsyncGenerator[bytes, None], part_size: int
    ) -> int:
        at_once = _AT_ONCE if part_size == _PART else _LEAN_AT_ONCE
        handover = _Handover()
        writing = asyncio.ensure_future(self._bucket.put_parts(key, handover, part_size, at_once))
        size = count = 0
        try:
            while part := head.pop(0) if head else await anext(parts, b""):
                await handover.give(part, writing)
                size, count = size + len(part), count + 1
                if count == _MAX_PARTS:
                    break
        except BaseException:
            handover.abandon()
            await settle(writing)
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
            stat = None
            with suppress(StoreUnavailable):
                stat = await self._bucket.stat(key)
            if stat is None or stat.size != size:
                raise


class _Handover:
    """Gives parts to the library, which takes them as an iterator when it is ready for more."""

    def __init__(self) -> None:
        self._part: bytes | None = None
        self._is_over = False
        self._is_abandoned = False
        self._given = asyncio.Event()
        self._taken = asyncio.Event()

    async def give(self, part: bytes, writing: "asyncio.Future[None]") -> None:
        """Wait until a part is taken. If the write ends before that, raise what it has raised."""
        self._part = part
        self._taken.clear()
        self._given.set()
        writing.add_done_callback(self._wake)
        try:
            await self._taken.wait()
        finally:
            writing.remove_done_callback(self._wake)
        if self._part is not None:
            writing.result()
            raise StoreUnavailable("the object store took less than it was given")

    def end(self) -> None:
        """There are no more parts."""
        self._is_over = True
        self._given.set()

    def abandon(self) -> None:
        """Make the library drop all that it was given."""
        self._is_abandoned = True
        self._given.set()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await self._given.wait()
        if self._is_abandoned:
            raise _Abandoned
        if self._is_over or self._part is None:
            raise StopAsyncIteration
        part, self._part = self._part, None
        self._given.clear()
        self._taken.set()
        return part

    def _wake(self, _: "asyncio.Future[None]") -> None:
        self._taken.set()


async def parts_of(pieces: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes, None]:
    """Gather pieces to parts of ``size`` bytes each, the last perhaps shorter; none is empty."""
    gathered: list[bytes] = []
    room = size
    async for piece in pieces:
        rest = piece
        while len(rest) >= room:
            gathered.append(rest[:room])
            rest = rest[room:]
            yield await _join(gathered)
            gathered, room = [], size
        if rest:
            gathered.append(rest)
            room -= len(rest)
    if gathered:
        yield await _join(gathered)


async def _join(pieces: list[bytes]) -> bytes:
    """All pieces as one. Copying a large part takes a millisecond or more, and lets others run meanwhile."""
    return b"".join(pieces) if len(pieces) == 1 else await asyncio.to_thread(b"".join, pieces)
