"""Files in folders, of which somebody else's registry is made: on a disk, or in a bucket whose keys have slashes.

Paths are relative, with slashes between their parts.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ferro_oci_server.backends.blob.reading import FileReader
from ferro_oci_server.backends.blob.threads import Threads
from ferro_oci_server.core.ports import BlobReader, StoreCorrupted

__all__ = ["FolderTree", "Tree", "read_whole"]


class Tree(Protocol):
    """Folders and files to read.

    Raises:
        StoreUnavailable: raised by any method; it may be repeated.
    """

    async def folders(self, path: str) -> Sequence[str]:
        """The names of the folders in a folder, in no order; none where it is not there."""
        ...

    async def files(self, path: str) -> Sequence[str]:
        """The paths of all files below a folder, as seen from there, in no order; none where it is not there."""
        ...

    async def open(self, path: str) -> BlobReader | None:
        """Open a file; ``None`` where there is none."""
        ...

    async def close(self) -> None:
        """Release everything; the last call."""
        ...


class FolderTree:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = Threads()

    async def folders(self, path: str) -> Sequence[str]:
        """The names of the folders in a folder."""
        return await self._threads.run(_folders, self._folder / path)

    async def files(self, path: str) -> Sequence[str]:
        """The paths of all files below a folder."""
        return await self._threads.run(_files, self._folder / path)

    async def open(self, path: str) -> BlobReader | None:
        """Open a file."""
        return await FileReader.open(self._folder / path, self._threads)

    async def close(self) -> None:
        """End the threads."""
        await self._threads.close()


async def read_whole(tree: Tree, path: str, most: int) -> bytes | None:
    """The content of a small file; ``None`` where there is none.

    Raises:
        StoreCorrupted: it has more than ``most`` bytes, or cannot be read.
    """
    reader = await tree.open(path)
    if reader is None:
        return None
    try:
        if reader.size > most:
            raise StoreCorrupted(f"{path} has {reader.size} bytes, which is too many")
        return b"".join([piece async for piece in reader.pieces(0, reader.size)])
    finally:
        await reader.close()


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []


def _files(path: Path) -> list[str]:
    def fail(exc: OSError) -> None:
        # What was removed meanwhile is not there, and neither is the folder that never was.
        if not isinstance(exc, FileNotFoundError):
            raise exc

    return [
        Path(folder, name).relative_to(path).as_posix()
        for folder, _, names in os.walk(path, onerror=fail)
        for name in names
    ]
