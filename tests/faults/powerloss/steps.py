"""What calls do to the files of a workload: changes, syncs and marks, in the order in which they ended."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from faults.powerloss.trace import Call, strings

__all__ = ["ROOT", "Change", "Entry", "Mark", "Resize", "Step", "Sync", "Write", "read_steps"]

ROOT = 0
"""The number of the folder that a workload works in."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at a place in a file."""

    inode: int
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A file gets another size."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder leads to a file or folder, or (``None``) to nothing any more.

    ``moved`` is the other half of a move: the entry under the new name.
    """

    inode: int
    name: str
    target: int | None
    is_folder: bool = False
    moved: "Entry | None" = None


Change = Write | Resize | Entry


@dataclass(frozen=True, slots=True)
class Sync:
    """The changes to a file or a folder are on the disk; or, after an error, some of them never will be."""

    inode: int
    is_good: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """What the workload has said: see ``promises``."""

    content: dict[str, object]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has happened, as the call number ``ended``, which began when ``entered`` calls had ended."""

    what: Change | Sync | Mark
    entered: int
    ended: int


_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})
_AT = re.compile(r"(?:AT_FDCWD|\d+), ")
# strace shows the vector in brackets; the place follows the number of its parts.
_AFTER_VECTOR = re.compile(r".*\], \d+(?:, (\d+))?")
_NO_FILE = -1


class _Reader:
    """Follows the names and the open files below one folder."""

    def __init__(self, root: PurePosixPath, marks: PurePosixPath) -> None:
        self._root = root
        self._marks = marks
        self._folders: dict[int, dict[str, int]] = {ROOT: {}}
        self._open: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._mark_files: set[int] = set()
        # The index of SQLite's log is never synced, and made anew after a loss of power: what it holds does not matter.
        self._indexes: set[int] = set()
        self._last = ROOT

    def read(self, call: Call) -> list[Change | Sync | Mark]:
        """What a call has done that may matter after a loss of power."""
        return [
            what
            for what in self._read(call)
            if not (isinstance(what, Write | Resize | Sync) and what.inode in self._indexes)
        ]

    def _read(self, call: Call) -> list[Change | Sync | Mark]:
        if call.name in ("fsync", "fdatasync"):
            inode = self._open.get(call.first, _NO_FILE)
            return [] if inode == _NO_FILE else [Sync(inode, call.result == 0)]
        if call.result < 0:
            return []
        if call.name in _WRITES:
            return self._write(call)
        handler = {
            "close": self._close,
            "openat": self._open_file,
            "ftruncate": self._resize,
            "mkdir": self._make_folder,
            "mkdirat": self._make_folder,
            "rename": self._rename,
            "renameat": self._rename,
            "renameat2": self._rename,
            "unlink": self._unlink,
            "unlinkat": self._unlink,
        }.get(call.name, self._refuse)
        return handler(call)

    def _write(self, call: Call) -> list[Change | Sync | Mark]:
        content = b"".join(strings(call.arguments))[: call.result]
        if call.first in self._mark_files:
            return [Mark(json.loads(content))]
        if (inode := self._open.get(call.first, _NO_FILE)) == _NO_FILE:
            return []
        if call.name == "pwrite64":
            offset = call.last
        elif (match := _AFTER_VECTOR.match(call.arguments)) and match[1]:
            offset = int(match[1])
        else:
            raise ValueError(f"a write without a place is not followed: {call.name}")
        self._sizes[inode] = max(self._sizes[inode], offset + len(content))
        return [Write(inode, offset, content)]

    def _close(self, call: Call) -> list[Change | Sync | Mark]:
        self._open.pop(call.first, None)
        self._mark_files.discard(call.first)
        return []

    def _open_file(self, call: Call) -> list[Change | Sync | Mark]:
        path = self._path(call, 0)
        if path == self._marks:
            self._mark_files.add(call.result)
        if (place := self._place(path)) is None:
            return []
        folder, name = place
        if name == "":
            self._open[call.result] = ROOT
            return []
        found = self._folders[folder].get(name)
        if found is None and "O_CREAT" in call.arguments:
            return [self._new(folder, name, call.result)]
        if found is None:
            raise ValueError(f"a file is open that was not made: {path}")
        self._open[call.result] = found
        if "O_TRUNC" in call.arguments:
            self._sizes[found] = 0
            return [Resize(found, 0)]
        return []

    def _new(self, folder: int, name: str, fd: int | None) -> Entry:
        self._last += 1
        self._folders[folder][name] = self._last
        if fd is None:
            self._folders[self._last] = {}
        else:
            self._open[fd] = self._last
            self._sizes[self._last] = 0
        if name.endswith("-shm"):
            self._indexes.add(self._last)
        return Entry(folder, name, self._last, is_folder=fd is None)

    def _resize(self, call: Call) -> list[Change | Sync | Mark]:
        inode = self._open.get(call.first, _NO_FILE)
        if inode == _NO_FILE or self._sizes[inode] == call.last:
            return []
        self._sizes[inode] = call.last
        return [Resize(inode, call.last)]

    def _make_folder(self, call: Call) -> list[Change | Sync | Mark]:
        place = self._place(self._path(call, 0))
        return [] if place is None or place[1] == "" else [self._new(*place, None)]

    def _rename(self, call: Call) -> list[Change | Sync | Mark]:
        source, target = self._place(self._path(call, 0)), self._place(self._path(call, 1))
        if source is None and target is None:
            return []
        if source is None or target is None:
            raise ValueError("a move in or out of the folder is not followed")
        inode = self._folders[source[0]].pop(source[1])
        self._folders[target[0]][target[1]] = inode
        arrived = Entry(*target, inode, inode in self._folders)
        return [arrived, Entry(*source, None, moved=arrived)]

    def _unlink(self, call: Call) -> list[Change | Sync | Mark]:
        if (place := self._place(self._path(call, 0))) is None:
            return []
        del self._folders[place[0]][place[1]]
        return [Entry(*place, None)]

    def _refuse(self, call: Call) -> list[Change | Sync | Mark]:
        if any(self._root in PurePosixPath(os.fsdecode(text)).parents for text in strings(call.arguments)):
            raise ValueError(f"the call is not followed: {call.name}")
        numbers = re.findall(r"\b\d+\b", call.arguments)
        if any(int(number) in self._open for number in numbers[:2]):
            raise ValueError(f"the call is not followed: {call.name}")
        return []

    def _path(self, call: Call, index: int) -> PurePosixPath:
        # Relative paths belong to what is not ours: the stores make theirs absolute.
        return PurePosixPath(os.fsdecode(strings(call.arguments)[index]))

    def _place(self, path: PurePosixPath) -> tuple[int, str] | None:
        """The folder of a path, and the name in it; ``None`` where it is not ours."""
        if not path.is_relative_to(self._root):
            return None
        *above, name = path.relative_to(self._root).parts or ("",)
        folder = ROOT
        for part in above:
            folder = self._folders[folder][part]
        return folder, name


def read_steps(calls: Iterable[Call], root: PurePosixPath, marks: PurePosixPath) -> list[Step]:
    """What has happened below ``root``, and what was written to ``marks``."""
    reader = _Reader(root, marks)
    return [Step(what, call.entered, number) for number, call in enumerate(calls) for what in reader.read(call)]
