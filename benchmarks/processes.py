"""What a process and all that it started have used, read from /proc."""

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cpu_seconds", "peak_bytes", "proportional_bytes", "reset_peak", "tree"]

_TICKS = os.sysconf("SC_CLK_TCK")
_KIBIBYTE = 1024


def tree(pid: int) -> list[int]:
    """A process, and all below it that still run."""
    found = [pid]
    for task in _names(Path(f"/proc/{pid}/task")):
        children = _text(Path(f"/proc/{pid}/task/{task}/children"))
        for child in children.split():
            found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """The processor time of a process and all that it started, those that have ended among them."""
    total = 0
    for member in tree(pid):
        # The name of the command may hold anything; behind it are plain fields, from the third on.
        fields = _text(Path(f"/proc/{member}/stat")).rpartition(")")[2].split()
        if fields:
            total += sum(int(ticks) for ticks in fields[11:15])
    return total / _TICKS


def reset_peak(pid: int) -> None:
    """Let the peak of memory begin with what is held now."""
    for member in tree(pid):
        Path(f"/proc/{member}/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(pid: int) -> int:
    """The most memory that each held since it began, or since ``reset_peak``, added up.

    What they share now, as a worker does with the process that it was forked from, counts once.
    """
    members = tree(pid)
    shared = sum(_kibibytes(members, "smaps_rollup", "Rss")) - sum(_kibibytes(members, "smaps_rollup", "Pss"))
    return (sum(_kibibytes(members, "status", "VmHWM")) - shared) * _KIBIBYTE


def proportional_bytes(pid: int) -> int:
    """The memory that is held now; what processes share counts once."""
    return sum(_kibibytes(tree(pid), "smaps_rollup", "Pss")) * _KIBIBYTE


def _kibibytes(members: list[int], file: str, field: str) -> Iterator[int]:
    for member in members:
        for line in _text(Path(f"/proc/{member}/{file}")).splitlines():
            if line.startswith(f"{field}:"):
                yield int(line.split()[1])


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # It has ended meanwhile.
        return ""
