"""One fault after another: a kill, or an error of the disk, at every step of every operation.

trace: which points does the operation reach?      -> the cases
a case: prepare - choose the point - operate - (dead) - start - settle - go on - check
"""

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from ferro_oci_server.oci.digest import Algorithm
from ferro_oci_server.testing.faults.failpoints import Action, Fault

from .garbage import COLLECTIONS, Collect, check_collected
from .history import Client, Fact, Lost, Recorder, Unanswered, World, observe
from .operations import OPERATIONS, Operation, Place
from .processes import Server

__all__ = ["Case", "Killer", "cases", "check_files", "failing", "timed", "traced"]

# Of a point that is reached more often, the first hits and the last one.
_FIRST_HITS = 3

_BEHIND_SECONDS = 0.2

_ALL = {**OPERATIONS, **COLLECTIONS}


@dataclass(frozen=True)
class Case:
    """One fault in one operation."""

    operation: str
    algorithm: Algorithm
    fault: Fault

    def __str__(self) -> str:
        return f"{self.operation}, {self.algorithm}, {self.fault}"


class Killer:
    """Runs cases on one server, and remembers all that was acknowledged on the way."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.kept: World = {}
        self.gone: set[Fact] = set()
        self.checks = 0
        self._seed = seed
        self._count = 0

    def run(self, case: Case) -> bool:
        """Run a case; tell whether its point was reached, and so the server killed.

        Raises:
            Lost: an invariant does not hold.
        """
        if not self.server.is_alive():
            self.server.start()
        operation, recorder = self._new(case.operation, case.algorithm)
        operation.prepare(recorder)
        self.server.point.choose(case.fault)
        interrupted = _interrupted(operation, recorder)
        reached = self._recover(case.fault)
        recorder.client = Client(self.server.address)
        if interrupted and not reached:
            raise Lost(f"nothing was to go wrong, and {interrupted}")
        if _discards(case.fault):
            recorder.forget_uploads()
            operation = _ALL[case.operation](operation.place)
        recorder.settle()
        if isinstance(operation, Collect):
            operation.check(recorder)
        operation.run(recorder)
        recorder.check()
        check_files(self.server)
        if case.operation in COLLECTIONS:
            check_collected(self.server)
        if isinstance(operation, Collect):
            operation.check_gone(recorder)
            recorder.check()
        self._keep(recorder)
        return reached

    def trace(self, name: str, algorithm: Algorithm) -> list[str]:
        """The points that an operation reaches, one entry for each time."""
        operation, recorder = self._new(name, algorithm)
        operation.prepare(recorder)
        self.server.point.choose("*")
        operation.run(recorder)
        self.server.point.clear()
        recorder.check()
        self._keep(recorder)
        return self.server.point.hits()

    def check_all(self) -> None:
        """See that all that was ever acknowledged is there, and nothing that was deleted."""
        observed = observe(Client(self.server.address), {*self.kept, *self.gone})
        self.checks += 1
        if observed != self.kept:
            different = [fact for fact in {*observed, *self.kept} if observed.get(fact) != self.kept.get(fact)]
            raise Lost(f"I1: after all, {', '.join(map(str, different))}")

    def _new(self, name: str, algorithm: Algorithm) -> tuple[Operation, Recorder]:
        self._count += 1
        place = Place(f"k/{self._count}", algorithm, self._seed)
        return _ALL[name](place), Recorder(Client(self.server.address))

    def _recover(self, fault: Fault) -> bool:
        point = self.server.point
        reached = self._reached(fault)
        if reached and fault.action is Action.KILL:
            self.server.wait_dead()
        point.clear()
        if not self.server.is_alive():
            self.server.start()
        return reached

    def _reached(self, fault: Fault) -> bool:
        """Whether the point was reached. Some are behind the answer, so that the client is there before the server."""
        deadline = time.monotonic() + _BEHIND_SECONDS
        while self.server.point.hits().count(fault.point) < (fault.hit or 1):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _keep(self, recorder: Recorder) -> None:
        self.checks += recorder.checks
        self.kept |= recorder.world
        self.gone |= recorder.known.difference(recorder.world)


def _interrupted(operation: Operation, recorder: Recorder) -> Unanswered | None:
    try:
        operation.run(recorder)
    except Unanswered as unanswered:
        return unanswered
    return None


def traced(killer: Killer, names: Sequence[str], algorithms: Sequence[Algorithm]) -> Iterator[Case]:
    """Every case there is for these operations."""
    for name in names:
        for algorithm in algorithms:
            yield from cases(name, algorithm, killer.trace(name, algorithm))


def cases(name: str, algorithm: Algorithm, points: Sequence[str]) -> Iterator[Case]:
    """A case for every point, at its first hits and its last one."""
    for point, count in Counter(points).items():
        for hit in sorted({*range(1, min(count, _FIRST_HITS) + 1), count}):
            yield Case(name, algorithm, Fault(point, hit))


def failing(case: Case, action: Action) -> Case | None:
    """The same with an error of the disk in place of the kill, where a disk is there to have one."""
    kind, *_, where = case.fault.point.split(".")
    if kind == "http" or where in ("during", "half"):
        return None
    return replace(case, fault=replace(case.fault, action=action))


def _discards(fault: Fault) -> bool:
    """Whether what is staged cannot be trusted any more, and is dropped: the client begins anew."""
    return fault.action is not Action.KILL and fault.point.startswith("file.staged.fdatasync")


def timed(case: Case, chance: random.Random) -> Case:
    """Where a point is before something that takes time, let the kill come somewhere within it."""
    if not case.fault.point.endswith(".during"):
        return case
    return replace(case, fault=replace(case.fault, seconds=round(chance.uniform(0.00001, 0.002), 6)))


def check_files(server: Server) -> None:
    """See that the database is whole, and that every row of a blob has its bytes.

    Raises:
        Lost: it is not so.
    """
    with closing(sqlite3.connect(f"file:{server.storage / 'registry.db'}?mode=ro", uri=True)) as database:
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise Lost("the database is damaged")
        if database.execute("PRAGMA foreign_key_check").fetchall():
            raise Lost("the database has rows that refer to nothing")
        rows = database.execute("SELECT location, size FROM blobs").fetchall()
    for location, size in rows:
        path = server.storage / "blobs" / location
        if not path.is_file() or path.stat().st_size != size:
            raise Lost(f"I1: there is a row for {location}, and its {size} bytes are not there")
