"""Whether the bytes of blobs are what they should be, and what is done where they are not.

damaged --found by a GET--> marked as suspect: not found any more, so clients push it again, and that repairs it
        --found by the scrub, or verify --repair--> good bytes from the quarantine, or else the mark
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from ferro_oci_server.core.fingerprint import Checker
from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.core.inspection import Inspection
from ferro_oci_server.core.ports import BlobReader, BlobStore, StoreCorrupted, StoreError
from ferro_oci_server.core.records import Blob

__all__ = ["CheckedReader", "Integrity"]

Pace = Callable[[int], Awaitable[None]]

_log = logging.getLogger("ferro_oci_server")


class Integrity:
    """Looks at bytes, and keeps account of damage where the metadata store can."""

    def __init__(self, store: BlobStore, inspection: Inspection | None, hashing: Hashing | None = None) -> None:
        self.hashing = hashing or Hashing()
        self._store = store
        self._inspection = inspection

    async def examine(self, blob: Blob, pace: Pace | None = None) -> str | None:
        """Read and hash a blob; say what is wrong with it. ``pace`` is awaited with the size of each piece.

        Raises:
            StoreUnavailable: it cannot be read now, which tells nothing of it.
        """
        reader = await self._store.open(blob.location)
        if reader is None:
            return "its bytes are gone"
        try:
            if reader.size != blob.size:
                return f"it has {reader.size} bytes instead of {blob.size}"
            # By its digest: what the checksum stands for is looked at here.
            checker = Checker(blob.digest, None)
            async with aclosing(reader.pieces(0, reader.size)) as pieces:
                async for piece in pieces:
                    if (hashing := self.hashing.update(checker, piece)) is not None:
                        await hashing
                    if pace is not None:
                        await pace(len(piece))
        except StoreCorrupted as exc:
            return f"its bytes cannot be read: {exc}"
        finally:
            await reader.close()
        return None if checker.holds() else "its bytes have another digest"

    async def report(self, blob: Blob, problem: str) -> bool:
        """Log damage and mark the blob; tell whether it was marked: it may have been pushed again meanwhile.

        Whoever has come across the damage goes on as it would without the mark, so a store that fails is only logged.
        """
        try:
            marked = self._inspection is not None and await self._inspection.mark_blob(blob, suspect=True)
        except StoreError as exc:
            _log.warning("a damaged blob cannot be marked", exc_info=exc)
            marked = False
        extra = {"digest": blob.digest, "location": blob.location, "problem": problem, "marked": marked}
        _log.warning("a blob is damaged", extra=extra)
        return marked

    async def mend(self, blob: Blob, problem: str) -> str:
        """Bring good bytes back, if any wait for their removal, or mark the blob; say which."""
        if self._inspection is None:
            return ""
        for spare in await self._inspection.spare_bytes(blob.digest):
            candidate = Blob(blob.digest, spare.size, spare.location)
            # Read first, and swapped only if nobody has begun to remove them by then.
            if await self.examine(candidate) is None and await self._inspection.restore_blob(blob, spare):
                extra = {"digest": blob.digest, "location": spare.location, "problem": problem}
                _log.warning("a damaged blob was restored", extra=extra)
                return "restored from the quarantine"
        return "must be pushed again" if await self.report(blob, problem) else "has changed meanwhile"


class CheckedReader:
    """An open blob that hashes itself while it is read as a whole; its last piece is given only if it is right."""

    def __init__(self, reader: BlobReader, blob: Blob, integrity: Integrity) -> None:
        self._reader = reader
        self._blob = blob
        self._integrity = integrity

    @property
    def size(self) -> int:
        """The number of bytes there are."""
        return self._reader.size

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Read a part as it is, or all of the blob, hashed.

        Raises:
            StoreUnavailable: the bytes cannot be read now.
            StoreCorrupted: they are not those of the blob, which is then marked.
        """
        whole = (start, stop) == (0, self.size)
        try:
            async with aclosing(self._reader.pieces(start, stop)) as pieces:
                async for piece in self._hashed(pieces) if whole else pieces:
                    yield piece
        except StoreCorrupted as exc:
            await self._integrity.report(self._blob, str(exc))
            raise

    async def _hashed(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Hash each piece while it is sent and the next is read. What is sent is at most a piece ahead of its hash."""
        checker = Checker(self._blob.digest, self._blob.checksum)
        hashing: asyncio.Future[None] | None = None
        left = self.size
        async for piece in pieces:
            left -= len(piece)
            if hashing is not None:
                await hashing
            hashing = self._integrity.hashing.update(checker, piece, quick=checker.is_quick)
            if left:
                yield piece
                continue
            if hashing is not None:
                await hashing
            if not checker.holds():
                raise StoreCorrupted("the bytes of a blob are not those that were pushed")
            yield piece

    async def close(self) -> None:
        """Release the blob. May be called twice."""
        await self._reader.close()
