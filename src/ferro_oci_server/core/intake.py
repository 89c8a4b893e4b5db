"""The way of a body into a store: gathered, counted, and hashed while it is written.

    pieces of the server --gather--> batches --hash in a thread--+
                                        +--------------------> store

While one batch is hashed in one thread and written by the store in another, the next is gathered. So an upload holds
about three batches in memory, whatever its size, and smaller ones when there are many uploads.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from ferro_oci_server.core.fingerprint import Fingerprint
from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.oci.errors import SizeInvalid
from ferro_oci_server.oci.ranges import ContentRange

__all__ = ["ClientVanished", "Intake", "Room"]

# Pieces may be single bytes, and as objects they are much larger than that.
_MAX_PIECES = 512


Room = Callable[[int], Awaitable[int]]
"""How many bytes a chunk may have, given how many it has at least. It raises where those are too many."""


async def _any_room(_: int) -> int:
    return sys.maxsize


class ClientVanished(Exception):
    """Raised by the pieces of a body when the client went away before it had sent all of it."""


class Intake:
    """One chunk on its way in.

    ``fingerprint`` has seen all before the chunk, and sees the chunk; ``None`` where nothing has seen all before it.
    ``room`` is asked before the first byte, for the ``announced`` ones, and for those that turn out to be more.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        fingerprint: Fingerprint | None,
        content_range: ContentRange | None,
        hashing: Hashing,
        room: Room = _any_room,
        announced: int = 0,
    ) -> None:
        self.fingerprint = fingerprint
        self.vanished = False
        self._hashing = hashing
        self._expected = content_range.length if content_range else None
        self._announced = max(announced, self._expected or 0)
        self._room = room
        self._most = 0
        self._received = 0
        self._batches = self._gather(pieces)
        self._first: bytes | None = None

    async def has_bytes(self) -> bool:
        """Wait for the first bytes, and tell whether there are any.

        Raises:
            OciError: raised by ``room``; so too by ``pieces``.
        """
        self._most = await self._room(self._announced)
        self._first = await anext(self._batches, None)
        if self._first is None:
            self._check_length()
        return self._first is not None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The chunk, for a store.

        Raises:
            SizeInvalid: it has more or fewer bytes than its range.
        """
        batch, hashing = self._first, None
        with self._hashing.body():
            while batch is not None:
                if hashing:
                    await hashing
                hashing = self._hashing.update(self.fingerprint, batch) if self.fingerprint else None
                yield batch
                batch = await anext(self._batches, None)
            if hashing:
                await hashing
        self._check_length()

    def finish(self) -> None:
        """Tell the one who waits for an answer that nobody is there to read it.

        Raises:
            ClientVanished: the chunk ended because its client went away.
        """
        if self.vanished:
            raise ClientVanished

    async def _gather(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        gathered: list[bytes] = []
        # Many bodies may begin at the same time: none gathers much before all of them are counted.
        size, enough = 0, self._hashing.least_batch
        try:
            async for piece in pieces:
                self._count(len(piece))
                if self._received > self._most:
                    self._most = await self._room(self._received)
                gathered.append(piece)
                size += len(piece)
                if size >= enough:
                    yield b"".join(gathered)
                    gathered, size, enough = [], 0, min(2 * enough, self._hashing.batch)
                elif len(gathered) == _MAX_PIECES:
                    gathered = [b"".join(gathered)]
        except ClientVanished:
            self.vanished = True
        if size:
            yield b"".join(gathered)

    def _count(self, size: int) -> None:
        self._received += size
        if self._expected is not None and self._received > self._expected:
            raise SizeInvalid("the chunk has more bytes than its Content-Range")

    def _check_length(self) -> None:
        if self._expected is not None and self._received < self._expected and not self.vanished:
            raise SizeInvalid("the chunk has fewer bytes than its Content-Range")
