"""A disk: what is there for certain, what may be, and what is found after a loss of power.

1. A change waits until its file or folder is synced, and the sync began after the change had ended.
2. After a sync that failed, the bytes that waited may be lost for good, whatever later syncs say: Linux forgets that
   they were never written. Entries wait for the next sync; a file system that cannot write its journal stops.
3. An entry is not lost by moving it: unless the old folder is synced and the new one is not, its old name goes only
   where the new one is there. Both may be. (``torn`` drops this rule, as a file system without a journal would.)
4. ``ordered``: as on ext4, xfs and btrfs, entries reach the disk in the order in which they were made, and any sync
   brings all of them there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from faults.powerloss.steps import ROOT, Change, Entry, Sync, Write

__all__ = ["Disk", "Model", "Tree", "Waiting"]

Tree = Mapping[str, bytes | None]
"""Files with their bytes, and folders (``None``), by their paths."""


@dataclass(frozen=True, slots=True)
class Model:
    """How a file system behaves; as badly as POSIX allows, unless told otherwise."""

    ordered: bool = False
    torn: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A change that is not on the disk for certain."""

    change: Change
    number: int
    doomed: bool = False


@dataclass
class _Content:
    files: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})

    def copy(self) -> "_Content":
        """A copy to change."""
        return _Content(dict(self.files), {inode: dict(names) for inode, names in self.folders.items()})

    def apply(self, change: Change) -> None:
        """Do what a change does, whether those before it were done or not."""
        if isinstance(change, Entry):
            self._enter(change)
            return
        content = self.files.get(change.inode, b"")
        if isinstance(change, Write):
            end = change.offset + len(change.content)
            self.files[change.inode] = (
                content[: change.offset].ljust(change.offset, b"\0") + change.content + content[end:]
            )
        else:
            self.files[change.inode] = content[: change.size].ljust(change.size, b"\0")

    def _enter(self, entry: Entry) -> None:
        names = self.folders.setdefault(entry.inode, {})
        if entry.target is None:
            names.pop(entry.name, None)
            return
        names[entry.name] = entry.target
        if entry.is_folder:
            self.folders.setdefault(entry.target, {})

    def tree(self, inode: int = ROOT, path: str = "") -> Iterator[tuple[str, bytes | None]]:
        """All that can be reached."""
        for name, target in sorted(self.folders[inode].items()):
            if target in self.folders:
                yield path + name, None
                yield from self.tree(target, f"{path}{name}/")
            else:
                yield path + name, self.files.get(target, b"")


class Disk:
    """Takes steps one by one, and can be cut off from power after each."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.waiting: list[Waiting] = []
        self.version = 0
        self._certain = _Content()

    def change(self, change: Change, number: int) -> None:
        """A call has changed something, and nothing was synced yet."""
        self.waiting.append(Waiting(change, number))

    def sync(self, sync: Sync, entered: int) -> None:
        """A sync has ended, which began when ``entered`` calls had ended."""
        covered = self._covered(sync.inode, entered)
        if not covered:
            return
        self.version += 1
        if not sync.is_good:
            doomed = {item for item in covered if not isinstance(item.change, Entry)}
            self.waiting = [replace(item, doomed=True) if item in doomed else item for item in self.waiting]
            return
        for item in self.waiting:
            if item in covered and not item.doomed:
                self._certain.apply(item.change)
        self.waiting = [item for item in self.waiting if item not in covered]

    def settle(self) -> None:
        """All of it was written long ago."""
        for item in self.waiting:
            self._certain.apply(item.change)
        self.waiting = []
        self.version += 1

    def allows(self, chosen: Sequence[Waiting]) -> bool:
        """Whether just these of the changes that wait may be on the disk."""
        entries = [item.change for item in chosen if isinstance(item.change, Entry)]
        waiting = [item.change for item in self.waiting if isinstance(item.change, Entry)]
        if self.model.ordered:
            return entries == waiting[: len(entries)]
        if self.model.torn:
            return True
        return all(
            any(entry.moved is other for other in entries) or not any(entry.moved is other for other in waiting)
            for entry in entries
            if entry.moved is not None
        )

    def after(self, chosen: Sequence[Change]) -> Tree:
        """What is found where just these changes have reached the disk, of those that wait."""
        content = self._certain.copy()
        for change in chosen:
            content.apply(change)
        return dict(content.tree())

    def size(self, inode: int) -> int:
        """How many bytes a file has for certain."""
        return len(self._certain.files.get(inode, b""))

    def _covered(self, inode: int, entered: int) -> set[Waiting]:
        ended = [item for item in self.waiting if item.number < entered]
        if self.model.ordered:
            return {item for item in ended if item.change.inode == inode or isinstance(item.change, Entry)}
        return {item for item in ended if item.change.inode == inode}
