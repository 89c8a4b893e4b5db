"""The file that collects an upload, held by one writer at a time. Everything here blocks.

1. The holder is whoever has the kernel's lock on the file. The kernel keeps other workers on the same machine away,
   and frees the file when its holder dies.
2. The holder before may have renamed or removed the file; then nothing is held.
3. After a failed sync the kernel may have dropped the bytes, and report success the next time. So a file whose sync
   failed is removed, with all that it had.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ferro_oci_server.backends.blob.folders import sync_folder
from ferro_oci_server.backends.blob.writeback import begin_writeback
from ferro_oci_server.core.ports import StagedBytesMissing, UploadBusy

__all__ = ["StagedFile"]

_CLOSED = -1

# The disk is busy all the time when it gets this much at once.
_WRITEBACK = 8 * 1024 * 1024


class StagedFile:
    """A file in the folder of uploads. Whoever opens it closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = _CLOSED
        self._begun = 0
        """Where the writing to the disk has not been begun with."""

    @property
    def name(self) -> str:
        """The id of its upload."""
        return self._path.name

    def open(self) -> None:
        """Become the holder of the file, which is made if it is not there.

        Raises:
            UploadBusy: there is another.
            StagedBytesMissing: the holder before has renamed or removed the file.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            self._lock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def cut(self, size: int) -> None:
        """Drop what is behind the first ``size`` bytes.

        Raises:
            StagedBytesMissing: there are fewer.
        """
        if os.fstat(self._fd).st_size < size:
            raise StagedBytesMissing
        os.ftruncate(self._fd, size)

    def write(self, pieces: Sequence[bytes], position: int) -> None:
        """Write pieces, no more than the system takes at once (1,024 on Linux), one behind the other."""
        size = sum(map(len, pieces))
        written = os.pwritev(self._fd, pieces, position)
        if written < size:
            content = memoryview(b"".join(pieces))
            while written < size:
                written += os.pwrite(self._fd, content[written:], position + written)
        start, stop = min(self._begun, position), position + size
        if stop - start >= _WRITEBACK:
            begin_writeback(self._fd, start, stop)
            self._begun = stop

    def finish(self, pieces: Sequence[bytes], position: int, *, is_first: bool) -> None:
        """Write the last pieces, and make all survive a loss of power.

        ``is_first`` says that the entry of the file must be made to survive, too.
        """
        if pieces:
            self.write(pieces, position)
        self._sync()
        if is_first:
            sync_folder(self._path.parent)

    def undo(self, size: int) -> None:
        """Drop what is behind the first ``size`` bytes, if it can be done."""
        with suppress(OSError, StagedBytesMissing):
            self.cut(size)

    def move(self, size: int, target: Path) -> None:
        """Give the first ``size`` bytes their final name.

        Raises:
            StagedBytesMissing: there are fewer, or the file was removed meanwhile.
        """
        # Bytes that were counted were synced when they were written. An empty file may be new.
        if size == 0 or os.fstat(self._fd).st_size != size:
            self.cut(size)
            self._sync()
        try:
            self._path.replace(target)
        except FileNotFoundError:
            raise StagedBytesMissing from None

    def remove(self) -> None:
        """Drop the file, if it is there."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop being the holder. May be called twice."""
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            os.close(fd)

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadBusy from None
        try:
            if os.path.samestat(os.fstat(fd), self._path.lstat()):
                return
        except FileNotFoundError:
            pass
        raise StagedBytesMissing

    def _sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError:
            with suppress(OSError):
                self.remove()
            raise
