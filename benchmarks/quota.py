"""Less of a processor for some processes: a smaller machine, so that several of them fit into this one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

__all__ = ["limited"]

_ROOT = Path("/sys/fs/cgroup")
_PERIOD = 10_000
_numbers = count()


@contextmanager
def limited(pids: Sequence[int], share: float) -> Iterator[None]:
    """Let processes, and what they start, have so much of one processor together, until the block ends.

    Raises:
        OSError: the system does not let us.
    """
    microseconds = int(share * _PERIOD)
    unified = (_ROOT / "cgroup.controllers").exists()
    parent = _ROOT if unified else _ROOT / "cpu"
    settings = (
        {"cpu.max": f"{microseconds} {_PERIOD}"}
        if unified
        else {"cpu.cfs_period_us": f"{_PERIOD}", "cpu.cfs_quota_us": f"{microseconds}"}
    )
    group = parent / f"ferro-bench-{os.getpid()}-{next(_numbers)}"
    group.mkdir()
    try:
        for name, value in settings.items():
            (group / name).write_text(value, encoding="ascii")
        _move(pids, group)
        yield
    finally:
        _move([int(pid) for pid in (group / "cgroup.procs").read_text(encoding="ascii").split()], parent)
        group.rmdir()


def _move(pids: Sequence[int], group: Path) -> None:
    for pid in pids:
        (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
