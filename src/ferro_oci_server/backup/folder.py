"""What a backup looks like.

    <folder>/
      current.json           which snapshot is the current one; comes into being by a rename
      snapshots/<uuid>.db    the database as it was at one moment
      blobs/...              the blobs that it names, as in a storage folder
      incoming/              what is just being written; of no use to anybody else
      lock                   held by the one who writes, or by those who read

A folder that has other things in it, and no lock, is not taken for a backup: a storage folder least of all.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ferro_oci_server.backends.blob.folders import make_folder, sync_folder
from ferro_oci_server.backends.blob.layout import BlobFolder
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import OciError

__all__ = ["BackupError", "BackupFolder", "BackupRefused", "Current", "digest_of_file", "sync_file"]

_FORMAT = 1
_SNAPSHOT = re.compile(r"[0-9a-f-]{36}\.db", re.ASCII)


class BackupError(Exception):
    """Raised when a backup or its restoration fails."""


class BackupRefused(BackupError):
    """Raised when nothing was done, as a folder is not what it should be."""


@dataclass(frozen=True, slots=True)
class Current:
    """The current snapshot: its file's name and digest, and when it was taken (UTC)."""

    snapshot: str
    digest: Digest
    taken_at: str


class BackupFolder:
    """A backup, for the one who holds its lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._snapshots = path / "snapshots"
        self.incoming = path / "incoming"
        self.blobs = BlobFolder(path)

    @classmethod
    @contextmanager
    def writing(cls, path: Path) -> Iterator["BackupFolder"]:
        """Be the only one to work on a backup, which is made if the folder is missing or empty.

        Raises:
            BackupRefused: it is no backup, or another has it.
        """
        make_folder(path)
        lock = path / "lock"
        if not lock.exists() and any(path.iterdir()):
            raise BackupRefused(f"{path}: it is not empty, and is no backup")
        fd = _lock(lock, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
        try:
            folder = cls(path)
            for part in (folder._snapshots, folder.incoming, folder.blobs.path):
                make_folder(part)
            for remains in folder.incoming.iterdir():
                remains.unlink()
            yield folder
        finally:
            os.close(fd)

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator["BackupFolder"]:
        """Keep others from writing to a backup, which itself may be where nothing can be written.

        Raises:
            BackupRefused: it is no backup, or is being written.
        """
        try:
            fd = _lock(path / "lock", os.O_RDONLY, fcntl.LOCK_SH)
        except (FileNotFoundError, NotADirectoryError):
            raise BackupRefused(f"{path}: there is no backup") from None
        try:
            yield cls(path)
        finally:
            os.close(fd)

    def current(self) -> Current | None:
        """Which snapshot is the current one, if a backup has ever come to its end.

        Raises:
            BackupRefused: this version cannot read it.
        """
        path = self._path / "current.json"
        try:
            document = json.loads(path.read_bytes())
            if document["format"] != _FORMAT or _SNAPSHOT.fullmatch(document["snapshot"]) is None:
                raise ValueError("it was written by another version")
            return Current(document["snapshot"], Digest.parse(document["digest"]), str(document["taken_at"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError, OciError) as exc:
            raise BackupRefused(f"{path}: it cannot be read: {exc!r}") from exc

    def make_current(self, current: Current) -> None:
        """Make another snapshot the current one: this or the one before, also after a loss of power."""
        content = json.dumps({"format": _FORMAT, **asdict(current)}, indent=2)
        temporary = self.incoming / "current.json"
        temporary.write_text(content + "\n", encoding="utf-8")
        sync_file(temporary)
        temporary.replace(self._path / "current.json")
        sync_folder(self._path)

    def snapshot(self, name: str) -> Path:
        """The file of a snapshot."""
        return self._snapshots / name

    def add_snapshot(self, temporary: Path, name: str) -> Path:
        """Give a whole snapshot its name."""
        sync_file(temporary)
        path = self.snapshot(name)
        temporary.replace(path)
        sync_folder(self._snapshots)
        return path

    def drop_snapshots(self, keep: str) -> None:
        """Remove all snapshots but one."""
        for path in self._snapshots.iterdir():
            if path.name != keep:
                path.unlink()


def digest_of_file(path: Path) -> Digest:
    """Hash a snapshot."""
    with path.open("rb") as file:
        return Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def sync_file(path: Path) -> None:
    """Make the bytes of a file survive a loss of power."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock(path: Path, flags: int, kind: int) -> int:
    """Lock a file, until the descriptor that is returned is closed, or the process ends."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BackupRefused(f"{path.parent}: another backup or restore is working on it") from None
    return fd
