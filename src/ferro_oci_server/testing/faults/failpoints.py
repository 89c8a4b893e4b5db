"""Named points at which a test lets something go wrong, and how one of them is chosen.

    <point>[:<hit>][=<action>]           "*" alone records every point that is reached, and lets nothing go wrong

    blob.commit.after                    SIGKILL when the point is reached first
    meta.put_manifest.before:3           when it is reached for the third time
    blob.append.piece:2=eio              OSError; enospc likewise
    blob.commit.before:*=delay 0.02      wait so many seconds, every time
    sql.commit.during=kill 0.001         SIGKILL so many seconds later, whatever is being done by then

1. A text chooses one point for the life of a process. ``@<folder>`` names a folder instead, in which a test may choose
   one at any time (``ChosenPoint``), for all processes that look there: they count hits together.
2. A point costs nothing to add: whoever wraps something calls ``hit`` or ``reach`` with a name.
"""

import asyncio
import errno
import fcntl
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

__all__ = ["VARIABLE", "Action", "ChosenPoint", "Failpoints", "Fault", "end_process"]

VARIABLE = "FERRO_TEST_FAILPOINT"
"""The environment variable that chooses a point."""

_EVERYTHING = "*"
_FAULT = re.compile(r"(?P<point>[a-z0-9_.-]+)(?::(?P<hit>\d+|\*))?(?:=(?P<action>[a-z]+)(?: (?P<seconds>[0-9.]+))?)?")


class Action(StrEnum):
    """What goes wrong at a point."""

    KILL = "kill"
    EIO = "eio"
    ENOSPC = "enospc"
    DELAY = "delay"


_ERRORS = {Action.EIO: errno.EIO, Action.ENOSPC: errno.ENOSPC}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: at a point, when it is reached for the ``hit``-th time (``None``: every time)."""

    point: str
    hit: int | None = 1
    action: Action = Action.KILL
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a fault.

        Raises:
            ValueError: it is none.
        """
        match = _FAULT.fullmatch(text)
        if match is None:
            raise ValueError(f"expected <point>[:<hit>][=<action>], not {text!r}")
        hit = None if match["hit"] == "*" else int(match["hit"] or 1)
        return cls(match["point"], hit, Action(match["action"] or "kill"), float(match["seconds"] or 0))

    def __str__(self) -> str:
        seconds = f" {self.seconds:.6f}" if self.seconds else ""
        return f"{self.point}:{'*' if self.hit is None else self.hit}={self.action}{seconds}"


class ChosenPoint:
    """A folder in which a test chooses a point for other processes, and where these count how often it was hit."""

    def __init__(self, folder: Path) -> None:
        self._text = folder / "chosen"
        self._hits = folder / "hits"

    def choose(self, fault: Fault | str) -> None:
        """Choose a point, and count from nothing."""
        self._hits.unlink(missing_ok=True)
        prepared = self._text.with_suffix(".new")
        prepared.write_text(str(fault), encoding="ascii")
        prepared.replace(self._text)

    def clear(self) -> None:
        """Choose none. What was counted can still be read."""
        self._text.unlink(missing_ok=True)

    def chosen(self) -> str:
        """The text of what is chosen; empty where nothing is."""
        try:
            return self._text.read_text(encoding="ascii")
        except FileNotFoundError:
            return ""

    def hits(self) -> list[str]:
        """The points that were hit since the last choice, in order, of those that it is about."""
        try:
            return self._hits.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []

    def count(self, point: str) -> int:
        """Add a hit; return how many there are then, in all processes."""
        fd = os.open(self._hits, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, f"{point}\n".encode("ascii"))
            return self.hits().count(point)
        finally:
            os.close(fd)


class Failpoints:
    """The points of one process. ``end`` is how it is killed."""

    def __init__(self, text: str = "", *, end: Callable[[], None] | None = None) -> None:
        self._folder = ChosenPoint(Path(text[1:])) if text.startswith("@") else None
        self._fault = Fault.parse(text) if text and self._folder is None else None
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._end = end or end_process

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ, *, end: Callable[[], None] | None = None) -> Self:
        """The points that the environment variable chooses."""
        return cls(environ.get(VARIABLE, ""), end=end)

    def expects(self, point: str) -> bool:
        """Whether something may go wrong at this point: for what has to be prepared for it."""
        fault = self._fault or self._chosen()
        return fault is not None and fault.point == point

    def hit(self, point: str) -> None:
        """Be at a point, in a thread that may block.

        Raises:
            OSError: that was chosen.
        """
        fault = self._due(point)
        if fault is None:
            return
        if fault.action is Action.DELAY:
            time.sleep(fault.seconds)
        else:
            self._let_go_wrong(fault)

    async def reach(self, point: str) -> None:
        """Be at a point, on the event loop.

        Raises:
            OSError: that was chosen.
        """
        fault = self._due(point)
        if fault is None:
            return
        if fault.action is Action.DELAY:
            await asyncio.sleep(fault.seconds)
        else:
            self._let_go_wrong(fault)

    def _due(self, point: str) -> Fault | None:
        if self._folder is not None and self._folder.chosen() == _EVERYTHING:
            self._folder.count(point)
            return None
        fault = self._fault or self._chosen()
        if fault is None or fault.point != point:
            return None
        count = self._count(point)
        return fault if fault.hit is None or fault.hit == count else None

    def _chosen(self) -> Fault | None:
        text = self._folder.chosen() if self._folder is not None else ""
        return Fault.parse(text) if text and text != _EVERYTHING else None

    def _count(self, point: str) -> int:
        if self._folder is not None:
            return self._folder.count(point)
        with self._lock:
            self._counts[point] += 1
            return self._counts[point]

    def _let_go_wrong(self, fault: Fault) -> None:
        if fault.action is not Action.KILL:
            number = _ERRORS[fault.action]
            raise OSError(number, os.strerror(number), fault.point)
        if fault.seconds:
            timer = threading.Timer(fault.seconds, self._end)
            timer.daemon = True
            timer.start()
        else:
            self._end()


def end_process() -> None:
    """Kill this process, and no other. It has no chance to do anything more."""
    with suppress(ProcessLookupError):
        os.kill(os.getpid(), signal.SIGKILL)
