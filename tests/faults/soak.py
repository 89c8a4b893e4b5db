"""Several clients at once, on one registry that is killed and started again, until the time is over.

    clients: push, put, move, mount, delete, pull, cancel at random, each on repositories of its own; all share blobs
    killer:  every so often kills the server, wherever it is, or at a random point, and starts it again

Each client goes on from its own history (``Recorder``), so that every acknowledged object of it is checked after every
kill. Between kills its clock goes on, and it collects, in the midst of all that: what a client has pushed is
leased until its operation has ended, and then only what tags keep is expected. In the end everything else has gone.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ferro_oci_server.oci.digest import Algorithm
from ferro_oci_server.testing.faults.failpoints import Fault

from .garbage import check_collected, collect, lasting
from .history import Client, Fact, Lost, Recorder, Unanswered, World, observe
from .kills import check_files
from .operations import OPERATIONS, Place
from .processes import Server

__all__ = ["SETTINGS", "Soak", "soak"]

_RESTART_SECONDS = 60.0
_POLL_SECONDS = 0.02
# A client that remembered all would ask for all after every kill.
_MAX_FACTS = 300

SETTINGS = {
    "collection_interval": "7d",
    "blob_grace": "60s",
    "manifest_grace": "60s",
    "upload_grace": "60s",
    "trash_grace": "20s",
}
"""Of its clock: longer than an operation takes in which the server is killed again and again."""
_TICK = 10.0


@dataclass
class Soak:
    """What came of it."""

    kills: int = 0
    operations: int = 0
    checks: int = 0
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, operations: int, checks: int) -> None:
        """Count what a client has done."""
        with self.lock:
            self.operations += operations
            self.checks += checks

    def fail(self, text: str) -> None:
        """Note that the contract was broken."""
        with self.lock:
            self.failures.append(text)


class _Worker:
    """One client, for as long as the soak goes on."""

    def __init__(self, number: int, server: Server, seed: int, outcome: Soak) -> None:
        self._number = number
        self._server = server
        self._seed = seed
        self._chance = random.Random(f"{seed} {number}")
        self._outcome = outcome
        self._count = 0
        self.kept: World = {}
        self.gone: set[Fact] = set()

    def work(self, ended: threading.Event) -> None:
        """Do one operation after the other; what is interrupted is gone on with."""
        while not ended.is_set():
            try:
                self._one()
            except (Lost, Unanswered) as exc:
                self._outcome.fail(f"client {self._number}, operation {self._count}: {exc}")
                ended.set()

    def check(self) -> None:
        """See that all that this client was told is so."""
        client = Client(self._server.address)
        observed = observe(client, {*self.kept, *self.gone})
        if observed != self.kept:
            different = [fact for fact in {*observed, *self.kept} if observed.get(fact) != self.kept.get(fact)]
            self._outcome.fail(f"client {self._number}: I1: {', '.join(map(str, different))}")

    def _one(self) -> None:
        self._count += 1
        name = self._chance.choice(list(OPERATIONS))
        place = Place(f"s/{self._number}/{self._count}", self._chance.choice(list(Algorithm)), self._seed)
        operation = OPERATIONS[name](place)
        recorder = Recorder(Client(self._server.address))
        for step in (operation.prepare, operation.run, lambda recorder: recorder.check()):
            self._persist(step, recorder)
        self._outcome.add(1, recorder.checks)
        self.kept |= lasting(recorder.world)
        self.gone |= recorder.known.difference(recorder.world)
        self._forget()

    def _persist(self, step: Callable[[Recorder], None], recorder: Recorder) -> None:
        deadline = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                step(recorder)
                return
            except Unanswered:
                if time.monotonic() > deadline:
                    raise
            self._settle(recorder, deadline)

    def _settle(self, recorder: Recorder, deadline: float) -> None:
        while True:
            time.sleep(_POLL_SECONDS)
            recorder.client = Client(self._server.address)
            try:
                recorder.settle()
                return
            except Unanswered:
                if time.monotonic() > deadline:
                    raise

    def _forget(self) -> None:
        while len(self.kept) > _MAX_FACTS:
            self.kept.pop(next(iter(self.kept)))
        if len(self.gone) > _MAX_FACTS:
            self.gone.clear()


def soak(
    server: Server,
    *,
    seconds: float,
    clients: int,
    seed: int,
    points: Sequence[str] = (),
) -> Soak:
    """Let clients work on a server that is killed again and again; return what came of it."""
    outcome, ended, chance = Soak(), threading.Event(), random.Random(seed)
    server.start()
    workers = [_Worker(number, server, seed, outcome) for number in range(clients)]
    threads = [threading.Thread(target=worker.work, args=[ended]) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        _kill_until(time.monotonic() + seconds, server, ended, chance, points, outcome)
    finally:
        ended.set()
        for thread in threads:
            thread.join(timeout=2 * _RESTART_SECONDS)
    for worker in workers:
        worker.check()
    check_files(server)
    try:
        check_collected(server)
    except Lost as lost:
        outcome.fail(str(lost))
    for worker in workers:
        worker.check()
    return outcome


def _collect(server: Server) -> None:
    check_files(server)
    collect(Recorder(Client(server.address)), _TICK)


def _kill_until(
    deadline: float,
    server: Server,
    ended: threading.Event,
    chance: random.Random,
    points: Sequence[str],
    outcome: Soak,
) -> None:
    while time.monotonic() < deadline and not ended.wait(chance.uniform(0.2, 2.0)):
        try:
            _collect(server)
            if points and chance.random() < 0.5:
                _kill_at(server, Fault(chance.choice(points), chance.randint(1, 20)), chance)
            else:
                server.kill()
            server.point.clear()
            server.start()
        except AssertionError as exc:
            outcome.fail(f"after {outcome.kills} kills: {exc}")
            ended.set()
            return
        outcome.kills += 1


def _kill_at(server: Server, fault: Fault, chance: random.Random) -> None:
    """Have it die at a point, or, where that is not reached soon, anywhere."""
    server.point.choose(fault)
    deadline = time.monotonic() + chance.uniform(0.5, 2.0)
    while time.monotonic() < deadline and server.is_alive():
        time.sleep(_POLL_SECONDS)
    server.kill()
