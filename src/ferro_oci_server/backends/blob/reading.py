"""Reading a file in pieces, one of which is fetched while the one before is sent."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator
from io import FileIO
from pathlib import Path
from time import perf_counter

from ferro_oci_server.backends.blob.threads import Threads, finish, settle
from ferro_oci_server.core.ports import StoreCorrupted

__all__ = ["FileReader", "ReadFile"]

# A hop to a thread costs some 50 us, and so does reading this much from the page cache twice over.
_PIECE = 1024 * 1024

# Servers take some ten pieces into their hands before they let a reader feel that its client is slow: a hundred slow
# clients with ten large ones each would be a gigabyte. So pieces are small at first, and are four times as large behind
# each sixteen that were taken at this rate, in bytes a second.
_LEAST_PIECE = 64 * 1024
_QUICK_PIECES = 16
_QUICK_RATE = 2 * 1024 * 1024

# So little is read where the file is opened, which is then closed: one hop to a thread, not three.
_SMALL = 64 * 1024


class ReadFile:
    """A small file that has been read."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self._content)

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` up to ``stop``, in one piece."""
        if start < stop:
            yield self._content[start:stop]

    async def close(self) -> None:
        """Nothing is open."""


class FileReader:
    """An open file. What is renamed, replaced or removed meanwhile is still read as it was."""

    def __init__(self, file: FileIO, size: int, threads: Threads) -> None:
        self._file = file
        self._size = size
        self._threads = threads
        self._reads: set[asyncio.Future[bytes]] = set()

    @classmethod
    async def open(cls, path: Path, threads: Threads) -> "FileReader | ReadFile | None":
        """Open a file; ``None`` where there is none.

        Raises:
            StoreUnavailable: the operating system refuses.
        """
        opening = threads.start(_open, path)
        try:
            opened = await finish(opening)
        except asyncio.CancelledError:
            if opening.exception() is None and isinstance(late := opening.result(), tuple):
                await threads.run(late[0].close)
            raise
        return cls(*opened, threads) if isinstance(opened, tuple) else opened

    @property
    def size(self) -> int:
        """The number of bytes there were when the file was opened."""
        return self._size

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Read the bytes from ``start`` up to ``stop``, a piece at a time.

        Raises:
            StoreUnavailable: the operating system refuses.
            StoreCorrupted: the file has become shorter, or the disk does not give it back.
        """
        appetite = _Appetite()
        reading = self._read(start, stop, appetite.size)
        while reading is not None:
            piece = await finish(reading)
            if not piece:
                raise StoreCorrupted("a file has become shorter")
            start += len(piece)
            reading = self._read(start, stop, appetite.size)
            given = perf_counter()
            yield piece
            appetite.learn(len(piece), perf_counter() - given)

    async def close(self) -> None:
        """Close the file, after the reads that have begun. May be called twice."""
        try:
            await settle(asyncio.gather(*self._reads, return_exceptions=True))
        finally:
            # Closing the last handle of a large file that was removed frees its space, which takes time.
            await self._threads.run(self._file.close)

    def _read(self, start: int, stop: int, size: int) -> asyncio.Future[bytes] | None:
        if start >= stop:
            return None
        reading = self._threads.start(_pread, self._file.fileno(), min(size, stop - start), start)
        self._reads.add(reading)
        reading.add_done_callback(self._forget)
        return reading

    def _forget(self, reading: asyncio.Future[bytes]) -> None:
        self._reads.discard(reading)
        if not reading.cancelled():
            # A piece that was fetched and not asked for may have failed, which concerns nobody.
            reading.exception()


class _Appetite:
    """How much is read at a time for one client."""

    def __init__(self) -> None:
        self.size = _LEAST_PIECE
        self._quick = 0

    def learn(self, size: int, seconds: float) -> None:
        """Take into account how long a piece of ``size`` bytes was in the hands of whoever sends it."""
        if size < seconds * _QUICK_RATE:
            self.size, self._quick = _LEAST_PIECE, 0
            return
        self._quick += 1
        if self._quick == _QUICK_PIECES:
            self.size, self._quick = min(4 * self.size, _PIECE), 0


def _pread(fd: int, size: int, start: int) -> bytes:
    try:
        return os.pread(fd, size, start)
    except OSError as exc:
        if exc.errno != errno.EIO:
            raise
        raise StoreCorrupted("the disk does not give a file back") from exc


def _open(path: Path) -> tuple[FileIO, int] | ReadFile | None:
    try:
        file = FileIO(path, opener=_open_itself)
    except FileNotFoundError:
        return None
    size = os.fstat(file.fileno()).st_size
    # What cannot be read at once is left to the one who asks for it, and learns why.
    if size <= _SMALL and (content := _read_whole(file, size)) is not None:
        file.close()
        return ReadFile(content)
    return file, size


def _read_whole(file: FileIO, size: int) -> bytes | None:
    try:
        content = os.pread(file.fileno(), size, 0)
    except OSError:
        return None
    return content if len(content) == size else None


def _open_itself(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)
