"""The way of a body into a store: gathered, counted and hashed."""

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from ferro_oci_server.core.fingerprint import Fingerprint
from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.core.intake import ClientVanished, Intake
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import BlobTooLarge, SizeInvalid
from ferro_oci_server.oci.ranges import ContentRange

pytestmark = pytest.mark.anyio

HASHING = Hashing()


async def body(sizes: list[int], *, vanish: bool = False) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size
    if vanish:
        raise ClientVanished


def intake_of(sizes: list[int], expected: int | None = None, *, vanish: bool = False) -> Intake:
    content_range = None if expected is None else ContentRange(0, expected)
    return Intake(body(sizes, vanish=vanish), Fingerprint(Algorithm.SHA256), content_range, HASHING)


async def taken(intake: Intake) -> list[bytes]:
    if not await intake.has_bytes():
        return []
    return [piece async for piece in intake.pieces()]


@pytest.mark.parametrize(
    "sizes",
    [[1], [1] * 1000, [100_000] * 10, [262_144], [262_143, 1, 1], [1_000_000] * 3, [5, 1_000_000, 5], [33_000]],
    ids=lambda sizes: f"{len(sizes)} of {sizes[0]}",
)
async def test_all_bytes_arrive_in_order_and_hashed(sizes: list[int]) -> None:
    intake = intake_of(sizes)
    content = b"".join(await taken(intake))
    assert content == b"x" * sum(sizes)
    assert intake.fingerprint is not None
    assert intake.fingerprint.digest() == Digest.of(content)


async def test_small_pieces_are_gathered() -> None:
    batches = [len(batch) for batch in await taken(intake_of([1000] * 4000))]
    # The first are small: many bodies may begin at once, before any of them is counted.
    assert batches[:-1] == [66_000, 132_000, 263_000, 525_000, 1_049_000, 1_049_000]


async def test_the_more_bodies_there_are_the_less_is_gathered_of_each() -> None:
    hashing = Hashing()
    sizes = []
    with ExitStack() as bodies:
        for _ in range(100):
            bodies.enter_context(hashing.body())
            sizes.append(hashing.batch)
        assert (sizes[0], sizes[-1]) == (1024 * 1024, 64 * 1024)
        assert sizes == sorted(sizes, reverse=True)
    assert hashing.batch == sizes[0]


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]], ids=str)
async def test_nothing_is_no_bytes(sizes: list[int]) -> None:
    assert not await intake_of(sizes).has_bytes()


@pytest.mark.parametrize("sizes", [[9], [5, 4], [11], [5, 6], [1_000_000], [300_000, 1], []], ids=str)
async def test_a_body_of_another_length_than_its_range_is_refused(sizes: list[int]) -> None:
    with pytest.raises(SizeInvalid):
        await taken(intake_of(sizes, 10))


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [0, 10, 0]], ids=str)
async def test_a_body_of_the_length_of_its_range_is_taken(sizes: list[int]) -> None:
    assert b"".join(await taken(intake_of(sizes, 10))) == b"x" * 10


async def test_of_a_client_that_vanished_all_that_came_is_taken() -> None:
    intake = intake_of([300_000, 5], 1_000_000, vanish=True)
    assert sum(map(len, await taken(intake))) == 300_005
    assert intake.vanished
    with pytest.raises(ClientVanished):
        intake.finish()


async def test_a_client_that_is_there_is_answered() -> None:
    intake = intake_of([5])
    await taken(intake)
    assert not intake.vanished
    intake.finish()


async def test_without_a_hasher_nothing_is_hashed() -> None:
    intake = Intake(body([300_000] * 2), None, None, HASHING)
    assert sum(map(len, await taken(intake))) == 600_000
    assert intake.fingerprint is None


class Room:
    """So much room, and what it was asked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []

    async def __call__(self, size: int) -> int:
        self.asked.append(size)
        if size > self.most:
            raise BlobTooLarge("no room")
        return self.most


@pytest.mark.parametrize(("announced", "expected"), [(11, None), (0, 11), (5, 11), (11, 5)])
async def test_what_is_announced_and_has_no_room_is_refused_before_it_is_read(
    announced: int, expected: int | None
) -> None:
    content_range = None if expected is None else ContentRange(0, expected)
    pieces = body([5])
    intake = Intake(pieces, None, content_range, HASHING, Room(10), announced)
    with pytest.raises(BlobTooLarge):
        await intake.has_bytes()
    assert await anext(pieces) == b"x" * 5


@pytest.mark.parametrize("sizes", [[11], [1] * 11, [300_000], [10, 300_000]], ids=str)
async def test_what_turns_out_to_have_no_room_is_refused(sizes: list[int]) -> None:
    with pytest.raises(BlobTooLarge):
        await taken(Intake(body(sizes), None, None, HASHING, Room(10)))


async def test_room_is_asked_for_once_while_there_is_enough() -> None:
    room = Room(10)
    assert b"".join(await taken(Intake(body([4, 4, 2]), None, None, HASHING, room, 10))) == b"x" * 10
    assert room.asked == [10]
