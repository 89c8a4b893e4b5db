"""Whose turn it is to write, where several processes share a database.

SQLite lets in whoever asks first once its lock is free: the one that has just let go of it, as a rule, while the others
sleep. So who wants to begin waits at a door before that: one process at a time stands in it, and is next.

    processes --> [ the door ] --> BEGIN IMMEDIATE ... COMMIT --> behind those that wait at the door
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["POLL_SECONDS", "Turns"]

POLL_SECONDS = 0.0001
"""How often it is asked whether another process has gone on: to write takes it one or two milliseconds."""


class Turns:
    """The door of a folder: the kernel's lock on it, which is free again when a process dies."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @contextmanager
    def next(self, deadline: float) -> Iterator[None]:
        """Be the next that writes. Behind ``deadline``, one of ``time.monotonic``, the order counts no longer."""
        while not self._enter() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """The last call."""
        os.close(self._fd)

    def _enter(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # Not every file system has such locks. SQLite's own lock keeps writers apart all the same.
            pass
        return True
