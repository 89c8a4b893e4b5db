"""A blob store in a folder.

    <root>/
      blobs/...                the blobs (``layout``)
      uploads/<upload id>      what is staged for an upload

1. A blob's file comes into being by a rename, is never written to, and is gone as a whole.
2. What was acknowledged survives a loss of power: bytes are synced before they are counted, and the folders on both
   sides of a rename behind it.
3. Several workers on one machine may share a root; a staged file has one holder (``staging``).
4. Nothing here blocks the event loop, except the constructor.
"""

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ferro_oci_server.backends.blob.folders import make_folder, sync_folder
from ferro_oci_server.backends.blob.layout import UPLOAD_ID, BlobFolder, digest_of, location_of
from ferro_oci_server.backends.blob.reading import FileReader, ReadFile
from ferro_oci_server.backends.blob.staging import StagedFile
from ferro_oci_server.backends.blob.threads import Threads, as_unavailable
from ferro_oci_server.backends.blob.writing import write_pieces
from ferro_oci_server.core.ports import StagedBytesMissing, StoreCorrupted, StoreUnavailable, UploadBusy
from ferro_oci_server.core.records import Blob, StagedBytes, UploadId
from ferro_oci_server.oci.digest import Digest

__all__ = ["FsBlobStore", "FsStagedUpload"]


class FsBlobStore:
    """Keeps blobs as files under ``root``, which is made if it is missing.

    Raises:
        StoreUnavailable: ``root`` cannot be used.
    """

    chunk_min_length = 0

    def __init__(self, root: Path) -> None:
        root = root.resolve()
        self._blobs = BlobFolder(root)
        self._uploads = root / "uploads"
        self._prefixes: set[Path] = set()
        self._claimed: set[UploadId] = set()
        for folder in (self._blobs.path, self._uploads):
            as_unavailable(make_folder, folder)
            if folder.is_symlink():
                raise StoreUnavailable(f"{folder} is a symbolic link, and may lead out of the storage directory")
        self._threads = Threads()

    def location(self, upload: UploadId, digest: Digest) -> str:
        """Where an upload's blob will be, if that is its digest: below the folder of blobs."""
        return location_of(digest, upload)

    async def open(self, location: str) -> FileReader | ReadFile | None:
        """Open a blob.

        Raises:
            StoreUnavailable: the operating system refuses.
        """
        path = self._blobs.find(location)
        return None if path is None else await FileReader.open(path, self._threads)

    async def delete(self, location: str) -> bool:
        """Remove a blob; tell whether it was there. It may be back after a loss of power.

        Raises:
            StoreUnavailable: the operating system refuses.
        """
        path = self._blobs.find(location)
        return path is not None and await self._threads.run(_remove, path)

    async def list(self) -> AsyncIterator[str]:
        """The locations of all blobs; files that the store has not made are passed over.

        Raises:
            StoreUnavailable: the operating system refuses.
        """
        for prefix in await self._threads.run(self._blobs.prefixes):
            for location in await self._threads.run(self._blobs.locations, prefix):
                yield location

    async def age(self, location: str) -> float | None:
        """For how many seconds the file of a blob has been as it is; ``None`` where there is none.

        Raises:
            StoreUnavailable: the operating system refuses.
        """
        path = self._blobs.find(location)
        return None if path is None else await self._threads.run(_age, path)

    async def describe(self, location: str) -> Blob | None:
        """The digest that a blob's name has, and the size of its file; ``None`` where there is none.

        Raises:
            StoreUnavailable: the operating system refuses.
        """
        path = self._blobs.find(location)
        size = None if path is None else await self._threads.run(_size, path)
        return None if size is None else Blob(digest_of(location), size, location)

    @asynccontextmanager
    async def claim(self, upload: UploadId) -> AsyncIterator["FsStagedUpload"]:
        """Hold the staged file of an upload, which is made if it is not there.

        Raises:
            UploadBusy: another holds it, in this process or in another.
            StagedBytesMissing: it was committed or discarded meanwhile, or the id is none that was given here.
            StoreUnavailable: the operating system refuses.
        """
        if UPLOAD_ID.fullmatch(upload) is None:
            raise StagedBytesMissing
        if upload in self._claimed:
            raise UploadBusy
        # The lock is on the file, and a commit takes its name from it: from then on it keeps nobody out.
        self._claimed.add(upload)
        path = self._uploads / upload
        file = StagedFile(path)
        try:
            await self._threads.run(file.open)
            yield FsStagedUpload(path, file, self._threads, self._commit)
        finally:
            self._claimed.discard(upload)
            await self._threads.run(file.close)

    async def discard(self, upload: UploadId) -> None:
        """Drop what is staged for an upload, if anything is; an append that is under way writes to nowhere.

        Raises:
            StoreUnavailable: the operating system refuses.
        """
        if UPLOAD_ID.fullmatch(upload):
            await self._threads.run(_remove, self._uploads / upload)

    async def check(self) -> None:
        """See that both folders are there and can be written to, as far as the system tells without writing.

        Raises:
            StoreUnavailable: one is not.
        """
        await self._threads.run(self._check)

    async def close(self) -> None:
        """Let the work that has begun end, and the threads with it."""
        await self._threads.close()

    def _commit(self, file: StagedFile, size: int, digest: Digest) -> None:
        target = self._blobs.path / location_of(digest, file.name)
        self._make_prefix(target.parent)
        try:
            file.move(size, target)
        except StagedBytesMissing:
            # A commit that was not seen to succeed is repeated. It may have died before it synced the folders.
            if not target.is_file() or target.stat().st_size != size:
                raise
            file.remove()
        sync_folder(target.parent)
        # Else the staged name could be back after a loss of power.
        sync_folder(self._uploads)

    def _make_prefix(self, folder: Path) -> None:
        if folder not in self._prefixes or not folder.is_dir():
            make_folder(folder)
            self._prefixes.add(folder)

    def _check(self) -> None:
        for folder in (self._blobs.path, self._uploads):
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise StoreUnavailable("the storage directory cannot be written to")


class FsStagedUpload:
    """The staged file of an upload, while it is held."""

    def __init__(
        self, path: Path, file: StagedFile, threads: Threads, commit: Callable[[StagedFile, int, Digest], None]
    ) -> None:
        self._path = path
        self._file = file
        self._threads = threads
        self._commit = commit

    async def append(self, staged: StagedBytes, pieces: AsyncIterator[bytes]) -> StagedBytes:
        """Write pieces behind what is staged; return what is staged then.

        Raises:
            StagedBytesMissing: there are fewer bytes than ``staged`` says.
            StoreUnavailable: the operating system refuses. If it was the sync that failed, nothing is staged any
                more; else what was staged is as it was.
        """
        try:
            await self._threads.run(self._file.cut, staged.size)
            return StagedBytes(await write_pieces(self._file, staged.size, pieces, self._threads))
        except BaseException:
            await self._threads.run(self._file.undo, staged.size)
            raise

    async def read(self, staged: StagedBytes) -> AsyncGenerator[bytes, None]:
        """Read what is staged, a piece at a time.

        Raises:
            StagedBytesMissing: there are fewer bytes.
            StoreUnavailable: the operating system refuses.
        """
        reader = await FileReader.open(self._path, self._threads)
        if reader is None:
            raise StagedBytesMissing
        try:
            if reader.size < staged.size:
                raise StagedBytesMissing
            async for piece in reader.pieces(0, staged.size):
                yield piece
        except StoreCorrupted:
            raise StagedBytesMissing from None
        finally:
            await reader.close()

    async def commit(self, staged: StagedBytes, digest: Digest) -> None:
        """Make what is staged the blob ``digest``.

        Raises:
            StagedBytesMissing: there are fewer bytes, and no blob that this upload has become.
            StoreUnavailable: the operating system refuses.
        """
        await self._threads.run(self._commit, self._file, staged.size, digest)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _age(path: Path) -> float | None:
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return None
