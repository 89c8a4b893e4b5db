"""Requests that meet, and clients that go away: each a few times, with waits at points that are drawn."""

import random
from collections.abc import Iterator

import pytest

from ferro_oci_server.oci.digest import Algorithm
from ferro_oci_server.testing.faults.failpoints import Action, Fault

from .collection_races import COLLECTION_RACES
from .garbage import GRACE
from .history import Client
from .operations import Place
from .processes import Launcher, Server, new_server
from .races import DELAYS, RACES
from .vanishing import WAYS, vanish

_TIMES = 8
_COLLECTION_TIMES = 2


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def server(request: pytest.FixtureRequest, launcher: Launcher) -> Iterator[Server]:
    with new_server(launcher, request.param, settings=GRACE) as started:
        started.start()
        yield started


def _place(name: str, number: int, seed: int, chance: random.Random) -> Place:
    letters = "".join(letter for letter in name.lower() if letter.isalnum())
    return Place(f"{letters}/{number}", chance.choice(list(Algorithm)), seed)


@pytest.mark.parametrize("name", RACES)
def test_requests_that_meet_have_an_outcome_that_an_order_explains(name: str, server: Server, seed: int) -> None:
    chance = random.Random(f"{seed} {name}")
    for number in range(_COLLECTION_TIMES if name in COLLECTION_RACES else _TIMES):
        delay = chance.choice([None, *DELAYS])
        print(number, delay)
        if delay:
            server.point.choose(Fault(delay, None, Action.DELAY, 0.01))
        RACES[name](Client(server.address), _place(name, number, seed, chance))
        server.point.clear()


@pytest.mark.parametrize("way", WAYS)
def test_an_upload_whose_client_went_away_can_be_gone_on_with(way: str, server: Server, seed: int) -> None:
    chance = random.Random(f"{seed} {way}")
    for number in range(_TIMES):
        vanish(Client(server.address), _place(way, number, seed, chance), way, chance)
