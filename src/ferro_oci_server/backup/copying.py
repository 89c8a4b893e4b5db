"""Copying blobs from one folder to another, hashed on the way.

1. A blob gets its name in the target when its bytes are synced and found right; its file is whole or is not there.
2. Several are copied at a time, since each waits for the disk to sync it.
3. What is wrong with one blob is told of that blob. What is wrong with the target ends everything.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path

from ferro_oci_server.backends.blob.layout import BlobFolder
from ferro_oci_server.core.records import Blob
from ferro_oci_server.oci.digest import Hasher

__all__ = ["Copied", "Copier"]

_PIECE = 1024 * 1024
# Few enough to leave a registry that serves beside it its disk and processors.
_THREADS = 4
# So many wait for a thread at a time, however many there are.
_BATCH = 256


class _Unusable(Exception):
    """Raised when a blob's file is not what it should be."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What came of one blob."""

    blob: Blob
    copied: bool = False
    """Whether it was copied; else the target had it, or there is a fault."""
    fault: str | None = None
    """Why the target does not have it."""


class Copier:
    """Copies blobs, each to the location that it has."""

    def __init__(self, source: BlobFolder, target: BlobFolder, incoming: Path) -> None:
        """Write under ``incoming``, which is on the disk of ``target``, what is not whole yet."""
        self._source = source
        self._target = target
        self._incoming = incoming

    def copy_all(self, blobs: Iterator[Blob]) -> Iterator[Copied]:
        """Copy blobs, and tell of each.

        Raises:
            OSError: the target cannot be written to.
        """
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="backup") as threads:
            while batch := list(islice(blobs, _BATCH)):
                yield from threads.map(self.copy, batch)

    def copy(self, blob: Blob, location: str | None = None) -> Copied:
        """Copy one blob; ``location`` is where the source has it, if not at its own.

        Raises:
            OSError: the target cannot be written to.
        """
        target = self._target.find(blob.location)
        source = self._source.find(location or blob.location)
        if target is None or source is None:
            return Copied(blob, fault=f"it has no location that a file could have: {blob.location}")
        if _has_size(target, blob.size):
            return Copied(blob)
        temporary = self._incoming / target.name
        try:
            _copy(source, temporary, blob)
        except _Unusable as exc:
            temporary.unlink(missing_ok=True)
            return Copied(blob, fault=str(exc))
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        temporary.replace(target)
        return Copied(blob, copied=True)


def _copy(source: Path, target: Path, blob: Blob) -> None:
    hasher = Hasher(blob.digest.algorithm)
    with FileIO(target, "wb", opener=_privately) as file:
        for piece in _pieces(source):
            hasher.update(piece)
            _write(file.fileno(), piece)
        if hasher.size != blob.size:
            raise _Unusable(f"its file has {hasher.size} bytes and not {blob.size}")
        if hasher.digest() != blob.digest:
            raise _Unusable(f"the bytes of its file are those of {hasher.digest()}")
        os.fsync(file.fileno())


def _pieces(source: Path) -> Iterator[bytes]:
    try:
        with FileIO(source, opener=_itself) as file:
            while piece := file.read(_PIECE):
                yield piece
    except FileNotFoundError:
        raise _Unusable("its file is missing") from None
    except OSError as exc:
        raise _Unusable(f"its file cannot be read: {exc}") from exc


def _write(fd: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _itself(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)
