"""What was counted of requests: cheap to add to, and added up over the workers of one command.

A request is counted in the time of a look into a dictionary. Prometheus' own counters take a lock for each number, and
where workers share them, a write to a file: a tenth of what serving a manifest takes.
"""

import asyncio
import json
from bisect import bisect_left
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from uuid import uuid4

from ferro_oci_server.api.exchange import Exchange
from ferro_oci_server.core.ports import StoreError

__all__ = ["BOUNDS", "SharedTallies", "Tallies", "Tally"]

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds, from a manifest out of memory to a layer over a slow line."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

# What others see of a worker is as old as this, and what it has not told when it is killed is lost.
_SHARE_SECONDS = 0.25


@dataclass(slots=True)
class Tally:
    """Requests of one kind."""

    seconds: float = 0.0
    """How long all of them took."""
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """How many took at most as long as each bound, and longer than the one before; the last, longer than all."""

    def add(self, other: "Tally") -> None:
        """Add requests of another kind, or of another worker."""
        self.seconds += other.seconds
        self.counts = list(map(add, self.counts, other.counts))


class Tallies:
    """What one worker has counted, or several."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], Tally] = {}
        """By method, pattern and status. There are few: all three are ours."""
        self.received = self.sent = 0
        """Bytes of bodies."""
        self.store_errors: Counter[str] = Counter()

    def observe(self, exchange: Exchange) -> None:
        """Count an exchange."""
        request = exchange.request
        method = request.method if request.method in _METHODS else "other"
        key = (method, exchange.pattern, exchange.status)
        tally = self.requests.get(key)
        if tally is None:
            tally = self.requests[key] = Tally()
        tally.seconds += exchange.seconds
        tally.counts[bisect_left(BOUNDS, exchange.seconds)] += 1
        self.received += request.received
        self.sent += exchange.sent
        if isinstance(exchange.error, StoreError):
            self.store_errors[type(exchange.error).__name__] += 1

    def add(self, other: "Tallies") -> None:
        """Add what another has."""
        for key, tally in other.requests.items():
            self.requests.setdefault(key, Tally()).add(tally)
        self.received += other.received
        self.sent += other.sent
        self.store_errors += other.store_errors

    def dump(self) -> str:
        """All of it, for ``load``."""
        requests = [[*key, tally.seconds, tally.counts] for key, tally in self.requests.items()]
        return json.dumps([requests, self.received, self.sent, self.store_errors])

    @classmethod
    def load(cls, text: str) -> "Tallies":
        """What was dumped."""
        loaded = cls()
        requests, loaded.received, loaded.sent, errors = json.loads(text)
        for method, pattern, status, seconds, counts in requests:
            loaded.requests[method, pattern, status] = Tally(seconds, counts)
        loaded.store_errors.update(errors)
        return loaded


class SharedTallies:
    """Lets workers see each other's tallies in a folder: each has a file there, which outlives it.

    Used by one event loop.
    """

    def __init__(self, tallies: Tallies, folder: Path) -> None:
        self._tallies = tallies
        self._folder = folder
        self._path = folder / f"{uuid4().hex}.tallies"
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None

    def observe(self, exchange: Exchange) -> None:
        """Know that something was counted, and tell the others soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SHARE_SECONDS, self._tell)

    async def total(self) -> Tallies:
        """What all have counted; this one to the last request."""
        total = await asyncio.to_thread(self._others)
        total.add(self._tallies)
        return total

    def _others(self) -> Tallies:
        others = Tallies()
        for path in self._folder.glob("*.tallies"):
            if path != self._path:
                with suppress(OSError):
                    others.add(Tallies.load(path.read_text("ascii")))
        return others

    def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        if self._writing is not None and not self._writing.done():
            self._timer = loop.call_later(_SHARE_SECONDS, self._tell)
            return
        self._timer = None
        # A loop that is ending takes no more work, and its worker is about to be gone.
        with suppress(RuntimeError):
            self._writing = loop.run_in_executor(None, self._write, self._tallies.dump())

    def _write(self, text: str) -> None:
        # What cannot be written now is part of what is written next.
        with suppress(OSError):
            new = self._path.with_suffix(".new")
            new.write_text(text, "ascii")
            new.replace(self._path)
