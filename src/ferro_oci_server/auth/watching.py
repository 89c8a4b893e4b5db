"""Files that are read again when they change.

What is in a file is looked at as a whole before it counts: one that cannot be read or makes no sense leaves what was
there before, and says so in the log. A file is looked for by its path each time, so one that is put in its place, or a
symbolic link that is turned to another, as Kubernetes does, is noticed as well.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

__all__ = ["FileProblem", "WatchedFile"]

Content = TypeVar("Content")

_log = logging.getLogger("ferro_oci_server.auth")

# No change goes unnoticed for longer; looking takes a tenth of a millisecond.
_INTERVAL = 1.0

_MAX_BYTES = 16 * 1024 * 1024


class FileProblem(Exception):
    """Raised when a file cannot be read or makes no sense; ``problems`` has a line for each, with its path first."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.problems = [f"{path}: {problem}" for problem in problems]
        super().__init__("\n".join(self.problems))


class WatchedFile(Generic[Content]):
    """What is in a file. Used by one event loop."""

    def __init__(self, path: Path, read: Callable[[bytes], Content]) -> None:
        """Read a file, with a function that raises ``ValueError``, of a line for each problem, where it makes no sense.

        Raises:
            FileProblem: it cannot be read, or makes no sense.
        """
        self.path = path
        self._read = read
        self._lock = asyncio.Lock()
        self._due = monotonic() + _INTERVAL
        self._seen, self.content = self._load()

    @property
    def is_fresh(self) -> bool:
        """Whether it was looked at just now, so that ``current`` would come to the same."""
        return monotonic() < self._due

    async def current(self) -> Content:
        """What is in it now."""
        if monotonic() >= self._due:
            async with self._lock:
                if monotonic() >= self._due:
                    await asyncio.to_thread(self._refresh)
                    self._due = monotonic() + _INTERVAL
        return self.content

    def _refresh(self) -> None:
        try:
            if _looks(self.path) != self._seen:
                self._seen, self.content = self._load()
                _log.info("a file was read again", extra={"path": str(self.path)})
        except OSError as exc:
            self._complain(None, [str(exc)])
        except FileProblem as exc:
            self._complain(_looks_if_there(self.path), exc.problems)

    def _complain(self, seen: tuple[int, ...] | None, problems: list[str]) -> None:
        # Once for each state of the file.
        if seen != self._seen:
            self._seen = seen
            _log.error("a file was not taken, what it had before counts", extra={"problems": problems})

    def _load(self) -> tuple[tuple[int, ...] | None, Content]:
        try:
            # Before the content, so that a change between the two is noticed.
            seen = _looks(self.path)
            content = self.path.read_bytes()
        except OSError as exc:
            raise FileProblem(self.path, [exc.strerror or str(exc)]) from exc
        if len(content) > _MAX_BYTES:
            raise FileProblem(self.path, ["it is too large"])
        try:
            return seen, self._read(content)
        except ValueError as exc:
            raise FileProblem(self.path, str(exc).splitlines()) from exc


def _looks(path: Path) -> tuple[int, ...]:
    found = os.stat(path)  # noqa: PTH116 (of a path that is one already)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _looks_if_there(path: Path) -> tuple[int, ...] | None:
    with suppress(OSError):
        return _looks(path)
    return None
