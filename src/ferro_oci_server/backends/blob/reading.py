"""Reading a file in pieces: at once, as long as the system has it in memory; else one is fetched while another is sent.

A hop to a thread costs as much as copying a piece, and a piece goes through the processor's own cache when it is read,
hashed and sent at one go. So threads are for waiting for the disk, and are not asked before that is needed.
"""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncGenerator
from io import FileIO
from pathlib import Path
from time import perf_counter

from ferro_oci_server.backends.blob.threads import Threads, finish, settle
from ferro_oci_server.core.ports import StoreCorrupted

__all__ = ["FileReader", "ReadFile"]

# Half of what a core has as a cache of its own; one that reads more at a time is slower.
_PIECE = 512 * 1024

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
        reading: asyncio.Future[bytes] | None = None
        while start < stop:
            piece = b"" if reading else _read_from_memory(self._file.fileno(), min(appetite.size, stop - start), start)
            if not piece:
                piece = await finish(reading or self._read(start, stop, appetite.size))
                if not piece:
                    raise StoreCorrupted("a file has become shorter")
                after = start + len(piece)
                reading = self._read(after, stop, appetite.size) if after < stop else None
            start += len(piece)
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

    def _read(self, start: int, stop: int, size: int) -> asyncio.Future[bytes]:
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


# Not every system can be asked not to wait.
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)


class _Scratch(threading.local):
    """Where each event loop reads to: one place for all files, so that it stays in the processor's cache."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_PIECE))


_scratch = _Scratch()


def _read_from_memory(fd: int, size: int, start: int) -> bytes:
    """What the system has of a file without asking the disk; nothing where it has not, or something is wrong."""
    if _NOWAIT is None:
        return b""
    view = _scratch.view[:size]
    try:
        return bytes(view[: os.preadv(fd, [view], start, _NOWAIT)])
    except OSError:
        return b""


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
