"""What SQLite, and the system, say that was done."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

__all__ = ["Counted", "Work", "counted_connections", "measured"]


@dataclass
class Work:
    """Some work, in counts that do not depend on what else the machine does, and in seconds."""

    statements: int = 0
    """What SQLite ran; each row of an ``executemany`` is one."""
    steps: int = 0
    """Instructions of SQLite's virtual machine: each row that is visited takes some, whether it is of use or not."""
    changes: int = 0
    """Rows that were inserted, changed or deleted by name."""
    read: int = 0
    """Bytes that this process had from the system: pages of the database that were not in SQLite's cache."""
    written: int = 0
    """Bytes that this process gave to the system."""
    processor: float = 0.0
    """Seconds of a processor."""
    seconds: float = 0.0
    """Seconds, all in all."""

    def __add__(self, other: "Work") -> "Work":
        return Work(*(getattr(self, it.name) + getattr(other, it.name) for it in fields(self)))


class Counted(sqlite3.Connection):
    """A connection that can say what was done on it."""

    is_open = True

    def close(self) -> None:
        self.is_open = False
        super().close()

    def watch(self, work: Work) -> None:
        """Count into ``work`` from now on."""

        def run(_: str) -> None:
            work.statements += 1

        def step() -> None:
            work.steps += 1

        self.set_trace_callback(run)
        self.set_progress_handler(step, 1)

    def unwatch(self) -> None:
        """Count no longer."""
        self.set_trace_callback(None)
        self.set_progress_handler(None, 0)


@contextmanager
def counted_connections() -> Iterator[Sequence[Counted]]:
    """Have all connections that are opened meanwhile be such, and list them."""
    connect, opened = sqlite3.connect, list[Counted]()

    @wraps(connect)
    def counted(*args: Any, **kwargs: Any) -> Counted:
        connection: Counted = connect(*args, factory=Counted, **kwargs)
        opened.append(connection)
        return connection

    vars(sqlite3)["connect"] = counted
    try:
        yield opened
    finally:
        vars(sqlite3)["connect"] = connect


@contextmanager
def measured(connections: Sequence[Counted]) -> Iterator[Work]:
    """Measure what is done meanwhile; statements and steps on these connections.

    Counting steps takes longer than the steps, so seconds of where they are counted tell nothing.
    """
    work, connections = Work(), [connection for connection in connections if connection.is_open]
    for connection in connections:
        connection.watch(work)
    changes = sum(connection.total_changes for connection in connections)
    read, written = _transferred()
    processor, started = time.process_time(), time.perf_counter()
    try:
        yield work
    finally:
        work.seconds = time.perf_counter() - started
        work.processor = time.process_time() - processor
        after = _transferred()
        work.read, work.written = after[0] - read, after[1] - written
        work.changes = sum(connection.total_changes for connection in connections) - changes
        for connection in connections:
            connection.unwatch()


def _transferred() -> tuple[int, int]:
    lines = Path(f"/proc/{os.getpid()}/io").read_text(encoding="ascii").splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]), int(counts["wchar"])
