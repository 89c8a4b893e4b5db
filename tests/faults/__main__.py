"""Everything that this package tries, and the matrix of it: ``scripts/faults --help``."""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

from ferro_oci_server.oci.digest import Algorithm
from ferro_oci_server.testing.faults.failpoints import Action, Fault

from .garbage import COLLECTIONS, GRACE
from .history import Client, Unanswered
from .kills import Case, Killer, cases, failing, timed, traced
from .matrix import Matrix
from .operations import OPERATIONS, Place
from .processes import Launcher, Server, new_server
from .races import DELAYS, RACES
from .soak import SETTINGS, soak
from .starting import kill_first_start, trace_first_start
from .vanishing import WAYS, vanish

_CHECK_ALL_EVERY = 100
# Moving the log into place after this many pages is moving it with nearly every commit.
_CHECKPOINT_PAGES = 8
_REPORT = Path(__file__).parents[2] / "build" / "faults.md"


class Run:
    """One run of everything: what it is allowed, and what came of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.matrix = Matrix()
        self.chance = random.Random(options.seed)
        self.deadline: float = time.monotonic() + 60 * options.minutes

    def kills(self, launcher: Launcher) -> int:
        """Kill servers of one and of two workers in turn, at every point in turn; return how often."""
        done = 0
        for workers, pages in ((1, None), (2, None), (1, _CHECKPOINT_PAGES), (2, _CHECKPOINT_PAGES)):
            with new_server(launcher, workers, pages) as server:
                server.start()
                killer = Killer(server, self.options.seed)
                found = _by_point(list(traced(killer, list(OPERATIONS), list(Algorithm))), self.chance)
                done += self._kill(killer, found, self.options.kills // 4)
        return done

    def collections(self, launcher: Launcher) -> int:
        """Kill servers at every point of collecting garbage; return how often."""
        done = 0
        for workers in (1, 2):
            with new_server(launcher, workers, _CHECKPOINT_PAGES, GRACE) as server:
                server.start()
                killer = Killer(server, self.options.seed)
                found = _by_point(list(traced(killer, list(COLLECTIONS), list(Algorithm))), self.chance)
                done += self._kill(killer, found, self.options.kills // 4)
        return done

    def errors(self, launcher: Launcher) -> None:
        """Have the disk fail at every point in turn; what it refuses is not acknowledged, and can be repeated."""
        for names, settings in ((OPERATIONS, None), (COLLECTIONS, GRACE)):
            for workers in (1, 2):
                with new_server(launcher, workers, settings=settings) as server:
                    server.start()
                    killer = Killer(server, self.options.seed)
                    found = _by_point(list(traced(killer, list(names), list(Algorithm))), self.chance)
                    failed = (failing(case, self.chance.choice([Action.EIO, Action.ENOSPC])) for case in found)
                    self._kill(killer, filter(None, failed), self.options.errors // 4)

    def first_starts(self, launcher: Launcher) -> int:
        """Kill first starts at every point that there is; return how often."""
        points = trace_first_start(launcher)
        done = 0
        for case, workers in zip(cases("first start", Algorithm.SHA256, points), cycle((1, 2)), strict=False):
            if self._is_over():
                break
            failure, reached = "", True
            try:
                reached = kill_first_start(launcher, case.fault, workers, self.options.seed)
            except (AssertionError, Unanswered) as lost:
                failure = str(lost)
            if reached:
                self.matrix.count("kill -9", f"{case.fault.point}, {workers} w", case.operation, 1, failure)
                done += 1
        return done

    def _kill(self, killer: Killer, found: Iterator[Case], wanted: int) -> int:
        done = 0
        for case in found:
            if done >= wanted or self._is_over():
                break
            done += self._kill_once(killer, timed(case, self.chance))
            if done % _CHECK_ALL_EVERY == 0:
                self._count("after all", "(all that was acknowledged)", "", partial(_check_all, killer))
        self._count("after all", "(all that was acknowledged)", "", partial(_check_all, killer))
        return done

    def _kill_once(self, killer: Killer, case: Case) -> bool:
        before, failure, reached = killer.checks, "", True
        try:
            reached = killer.run(case)
        except (AssertionError, Unanswered) as lost:
            failure = str(lost)
            killer.server.point.clear()
        if reached:
            where = f"{case.fault.point}, {killer.server.workers} w"
            fault = "kill -9" if case.fault.action is Action.KILL else case.fault.action.upper()
            self.matrix.count(fault, where, f"{case.operation}, {case.algorithm}", killer.checks - before, failure)
        return reached

    def races(self, launcher: Launcher) -> None:
        """Let requests meet, and clients go away."""
        for workers in (1, 2):
            with new_server(launcher, workers, settings=GRACE) as server:
                server.start()
                for name in RACES:
                    for number in range(self.options.races):
                        self._count("race", f"{name}, {workers} w", name, partial(self._race, server, name, number))
                for way in WAYS:
                    for number in range(self.options.races):
                        self._count(
                            "client vanishes",
                            f"{way}, {workers} w",
                            way,
                            partial(self._vanish, server, way, number),
                        )

    def _race(self, server: Server, name: str, number: int) -> int:
        delay = self.chance.choice([None, *DELAYS])
        if delay:
            server.point.choose(Fault(delay, None, Action.DELAY, 0.01))
        try:
            RACES[name](Client(server.address), self._place(name, number))
        finally:
            server.point.clear()
        return 1

    def _vanish(self, server: Server, way: str, number: int) -> int:
        return vanish(Client(server.address), self._place(way, number), way, self.chance)

    def _place(self, name: str, number: int) -> Place:
        repository = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).replace("--", "-")
        return Place(f"{repository}/{number}", self.chance.choice(list(Algorithm)), self.options.seed)

    def soak(self, launcher: Launcher) -> int:
        """Let several clients work, with kills, for the minutes that were asked for."""
        if not self.options.soak:
            return 0
        with new_server(launcher, 2, settings=SETTINGS) as server:
            server.start()
            killer = Killer(server, self.options.seed)
            names = ("push in chunks", "collect an overwritten image")
            points = sorted({point for name in names for point in killer.trace(name, Algorithm.SHA256)})
            server.kill()
            seconds = 60 * self.options.soak
            outcome = soak(server, seconds=seconds, clients=self.options.clients, seed=self.options.seed, points=points)
        failure = "; ".join(outcome.failures)
        self.matrix.count("soak", f"{self.options.soak:g} min, {outcome.kills} kills", "", outcome.checks, failure)
        print(f"soak: {outcome.operations} operations, {outcome.kills} kills, {outcome.checks} checks")
        return outcome.kills

    def _count(self, fault: str, where: str, operation: str, body: Callable[[], int]) -> None:
        checks, failure = 0, ""
        try:
            checks = body()
        except (AssertionError, Unanswered) as lost:
            failure = str(lost)
        self.matrix.count(fault, where, operation, checks, failure)

    def _is_over(self) -> bool:
        return time.monotonic() > self.deadline


def _check_all(killer: Killer) -> int:
    if not killer.server.is_alive():
        killer.server.start()
    killer.check_all()
    return 1


def _by_point(found: Sequence[Case], chance: random.Random) -> Iterator[Case]:
    """All cases, one of every point before the second of any."""
    points: dict[str, list[Case]] = {}
    for case in chance.sample(found, len(found)):
        points.setdefault(case.fault.point, []).append(case)
    while points:
        for point in list(points):
            yield points[point].pop()
            if not points[point]:
                del points[point]


def main() -> int:
    """Try everything; return 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=800, help="how many kills at points (default: 800)")
    parser.add_argument("--errors", type=int, default=300, help="how many errors of the disk (default: 300)")
    parser.add_argument("--races", type=int, default=30, help="how often each race is run (default: 30)")
    parser.add_argument("--soak", type=float, default=1.0, help="minutes of soak (default: 1)")
    parser.add_argument("--clients", type=int, default=4, help="clients of the soak (default: 4)")
    parser.add_argument("--minutes", type=float, default=15.0, help="no more kills after so many (default: 15)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    run = Run(parser.parse_args())
    print(f"seed: {run.options.seed}", flush=True)
    with Launcher() as launcher:
        started = time.monotonic()
        done = run.collections(launcher) + run.kills(launcher) + run.first_starts(launcher)
        run.errors(launcher)
        run.races(launcher)
        done += run.soak(launcher)
    lines = [f"seed {run.options.seed}: {done} kills in {time.monotonic() - started:.0f} s", "", *run.matrix.lines()]
    print("\n".join(lines))
    _REPORT.parent.mkdir(exist_ok=True)
    _REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if run.matrix.lost else 0


if __name__ == "__main__":
    sys.exit(main())
