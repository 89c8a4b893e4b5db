"""What the questions work with: how much is measured, whom, and how rounds are taken."""

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.load import Load, LoadFailed, Outcome
from benchmarks.results import Case, Results, Sample
from benchmarks.stores import Stores
from benchmarks.subjects import Holdings, Kind, Named, Subject
from benchmarks.subjects.distribution import Distribution
from benchmarks.subjects.nginx import Nginx
from benchmarks.subjects.ours import Ours
from benchmarks.subjects.seed import Seed
from benchmarks.subjects.shared import SHARED
from support.process import CommandFailed

__all__ = ["KINDS", "NAMED", "QUICK", "Bench", "Measure", "Scale", "say", "turned"]

FILES = Ours("files", "ours, SQLite and files, one worker", "ours")
FILES_2 = Ours("files x2", "ours, SQLite and files, two workers", "ours", 2)
MEMORY = Ours("memory", "ours, in memory, one worker", "")
MEMORY_2 = Ours("memory x2", "ours, SQLite and files in /dev/shm, two workers", "", 2)

KINDS: Sequence[Kind] = (FILES, FILES_2, MEMORY, MEMORY_2, Distribution(), Seed(), Nginx())
NAMED: Sequence[Named] = (*KINDS, *SHARED)

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    small: int = 1_000
    """Entries of a small list or repository."""
    middle: int = 100_000
    large: int = 1_000_000
    pushed_at: int = 5_000
    """Tags that are there where pushing is compared."""
    blob: int = 1024 * _MEBIBYTE
    held: int = 256 * _MEBIBYTE
    """The size of each of the many uploads."""
    many: int = 100
    """How many uploads and downloads there are where memory is measured."""
    layers: int = 20
    layer: int = 25 * _MEBIBYTE
    pullers: int = 8
    rounds: int = 3
    seconds: float = 1.5
    warmup: float = 1.0


QUICK = Scale(
    middle=10_000,
    large=100_000,
    blob=256 * _MEBIBYTE,
    held=16 * _MEBIBYTE,
    layers=5,
    layer=10 * _MEBIBYTE,
    pullers=2,
    rounds=2,
    seconds=0.8,
    warmup=0.3,
)
"""A look in some minutes. Its figures are no results: they are of other sizes, and of too few rounds."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A case, and how one round of it is done."""

    case: Case
    once: Callable[[Subject], Sample]


class Bench:
    """One run."""

    def __init__(
        self, scale: Scale, load: Load, stores: Stores, results: Results, wanted: Sequence[str] | None
    ) -> None:
        self.scale = scale
        self.load = load
        self.stores = stores
        self.results = results
        self._wanted = wanted
        self._salt = random.SystemRandom().randrange(1 << 40)

    def kinds(self, *names: str) -> list[Kind]:
        """Those of the named kinds that take part in this run."""
        return [kind for kind in KINDS if kind.name in names and self.wants(kind)]

    def wants(self, named: Named) -> bool:
        """Whether it takes part in this run."""
        return self._wanted is None or named.name in self._wanted

    def salt(self) -> int:
        """Another number each time, so that what is made from it was never pushed before."""
        self._salt += 1
        return self._salt

    @contextmanager
    def serve(
        self, kinds: Sequence[Kind], holdings: Holdings | None = None, *, copy: bool = True
    ) -> Iterator[list[Subject]]:
        """Start servers that hold the same."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.stores.serve(kind, holdings, copy=copy)) for kind in kinds]

    def interleave(self, subjects: Sequence[Subject], measures: Sequence[Measure], rounds: int | None = None) -> None:
        """Take rounds: in each, every measure of every subject, beginning with another subject each time."""
        for number in range(rounds or self.scale.rounds):
            for measure in measures:
                for subject in turned(subjects, number):
                    self.take(measure.case, subject.name, partial(measure.once, subject))

    def take(self, case: Case, name: str, once: Callable[[], Sample]) -> None:
        """Take one sample. Who fails once is left out of that case from then on."""
        if (case.name, name) in self.results.failures:
            return
        try:
            sample = once()
        except (LoadFailed, OSError, RuntimeError, CommandFailed) as failure:
            self.results.fail(case, name, str(failure)[:500])
            say(f"  {case.name}: {name}: FAILED: {failure}")
        else:
            self.results.add(case, name, sample)
            say(f"  {case.name}: {name}: {sample.value:,.4g} {case.unit}")

    def requests(self, subject: Subject, job: Mapping[str, Any]) -> tuple[Outcome, Mapping[str, float]]:
        """Send many small requests; tell what came of them, and what was used meanwhile."""
        full = {"warmup": self.scale.warmup, "seconds": self.scale.seconds, "expect": [200], "processors": 1, **job}
        return self.watched(subject, "requests", full)

    def watched(self, subject: Subject, work: str, job: Mapping[str, Any]) -> tuple[Outcome, Mapping[str, float]]:
        """Do a job, and tell what it took."""
        before, begin = subject.cpu_seconds(), time.monotonic()
        outcome = self.load.run(work, {"address": subject.address, **job})
        took, used = time.monotonic() - begin, subject.cpu_seconds() - before
        more = {
            "server_cores": used / took,
            "load_cores": outcome.cpu_seconds / max(outcome.seconds, 1e-9),
            "p50_ms": outcome.latency.get("p50", 0.0),
            "p99_ms": outcome.latency.get("p99", 0.0),
        }
        if outcome.moved:
            more["cpu_seconds_per_gib"] = used / outcome.moved * 2**30
        if outcome.handled:
            more["cpu_us_each"] = used / outcome.handled * 1e6
        return outcome, more


def turned(these: Sequence[Any], number: int) -> Sequence[Any]:
    """The same, beginning with another each time."""
    turn = number % len(these) if these else 0
    return [*these[turn:], *these[:turn]]


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)
