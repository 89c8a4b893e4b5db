"""The server is killed at steps of everything that it does, and started again: nothing acknowledged is lost.

``scripts/faults`` kills at all steps; here at one of each kind, at another with another seed.
"""

import random
from collections.abc import Iterator

import pytest

from ferro_oci_server.oci.digest import Algorithm
from ferro_oci_server.testing.faults.failpoints import Action

from .garbage import COLLECTIONS, GRACE
from .kills import Case, Killer, cases, failing, timed
from .operations import OPERATIONS
from .processes import Launcher, new_server
from .soak import SETTINGS, soak
from .starting import kill_first_start, trace_first_start

_FIRST_STARTS = 3
_SOAK_SECONDS = 3.0

# On either side of these a change is not there, and is there for good; the rest is drawn.
_ALWAYS = ("file.staged.replace.after", "sql.commit.during")
_DRAWN = 1

# What collection does, and little besides.
_COLLECTS = (
    "meta.review",
    "meta.waste",
    "meta.forget_waste",
    "meta.tick",
    "blob.delete",
    "blob.discard",
    "file.blob.unlink",
    "sql.delete",
    "sql.update.trash",
    "sql.commit",
)
_COLLECTIONS = 1


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def killer(request: pytest.FixtureRequest, launcher: Launcher, seed: int) -> Iterator[Killer]:
    """A server with that many workers, which is killed again and again."""
    with new_server(launcher, request.param, checkpoint_pages=8) as server:
        server.start()
        killer = Killer(server, seed)
        yield killer
        killer.check_all()


@pytest.fixture(scope="module")
def collecting(launcher: Launcher, seed: int) -> Iterator[Killer]:
    """A server with short graces."""
    with new_server(launcher, 2, checkpoint_pages=8, settings=GRACE) as server:
        server.start()
        killer = Killer(server, seed)
        yield killer
        killer.check_all()


def _drawn(killer: Killer, name: str, algorithm: Algorithm, chance: random.Random) -> list[Case]:
    found = list(cases(name, algorithm, killer.trace(name, algorithm)))
    last = {case.fault.point: case for case in found}
    always = [last[point] for point in _ALWAYS if point in last]
    return always + chance.sample(found, _DRAWN)


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_lost_when_the_server_is_killed(name: str, killer: Killer, seed: int) -> None:
    chance = random.Random(f"{seed} {name} {killer.server.workers}")
    algorithm = chance.choice(list(Algorithm))
    for case in _drawn(killer, name, algorithm, chance):
        chosen = timed(case, chance)
        print(chosen)
        killer.run(chosen)


@pytest.mark.parametrize("action", [Action.EIO, Action.ENOSPC])
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_the_disk_refuses_is_not_acknowledged_and_can_be_repeated(
    name: str, action: Action, killer: Killer, seed: int
) -> None:
    chance = random.Random(f"{seed} {name} {action} {killer.server.workers}")
    algorithm = chance.choice(list(Algorithm))
    failed = [failing(case, action) for case in cases(name, algorithm, killer.trace(name, algorithm))]
    case = chance.choice([case for case in failed if case])
    print(case)
    killer.run(case)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_that_is_killed_loses_nothing_and_leaves_nothing(name: str, collecting: Killer, seed: int) -> None:
    chance = random.Random(f"{seed} {name} {collecting.server.workers}")
    algorithm = chance.choice(list(Algorithm))
    found = list(cases(name, algorithm, collecting.trace(name, algorithm)))
    collects = [case for case in found if case.fault.point.startswith(_COLLECTS)]
    for case in chance.sample(collects, min(_COLLECTIONS, len(collects))):
        chosen = timed(case, chance)
        print(chosen)
        collecting.run(chosen)


def test_a_first_start_that_was_killed_needs_no_help(launcher: Launcher, seed: int) -> None:
    chance = random.Random(seed)
    points = trace_first_start(launcher)
    found = [case.fault for case in cases("first start", Algorithm.SHA256, points)]
    for fault in chance.sample(found, _FIRST_STARTS):
        print(fault)
        kill_first_start(launcher, fault, chance.choice([1, 2]), seed)


def test_clients_of_a_server_that_is_killed_again_and_again_lose_nothing(launcher: Launcher, seed: int) -> None:
    with new_server(launcher, 2, checkpoint_pages=8, settings=SETTINGS) as server:
        outcome = soak(server, seconds=_SOAK_SECONDS, clients=3, seed=seed)
    assert outcome.failures == []
    assert outcome.kills
    assert outcome.operations
