"""Two lists walked together, and work that is done several at a time, patiently."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.core.ports import StoreFull, StoreUnavailable
from ferro_oci_server.transfer.walking import each, join, patiently

LISTS = st.dictionaries(st.text("abc", max_size=2), st.sampled_from(["x", "y"]))


async def listed(entries: dict[str, str]) -> AsyncIterator[tuple[str, str]]:
    for entry in sorted(entries.items()):
        yield entry


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@given(LISTS, LISTS)
def test_each_key_comes_once_in_order_with_what_both_say(left: dict[str, str], right: dict[str, str]) -> None:
    async def walk() -> Sequence[tuple[str, str | None, str | None]]:
        return [row async for row in join(listed(left), listed(right))]

    assert asyncio.run(walk()) == [(key, left.get(key), right.get(key)) for key in sorted({*left, *right})]


def test_no_more_is_under_way_than_may_be() -> None:
    most = running = done = 0

    async def work(_: int) -> None:
        nonlocal most, running, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1

    asyncio.run(each(numbers(50), work, 4))
    assert (most, done) == (4, 50)


def test_the_first_failure_ends_the_others_and_is_raised_itself() -> None:
    cancelled = 0

    async def fail(number: int) -> None:
        nonlocal cancelled
        if number == 3:
            await each(numbers(1), refuse, 2)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    async def refuse(_: int) -> None:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable, match="away"):
        asyncio.run(each(numbers(50), fail, 4))
    assert cancelled == 3


@pytest.mark.parametrize(("kind", "calls"), [(StoreUnavailable, 3), (StoreFull, 1), (ValueError, 1)])
def test_only_what_may_pass_is_waited_for(monkeypatch: pytest.MonkeyPatch, kind: type[Exception], calls: int) -> None:
    monkeypatch.setattr("ferro_oci_server.transfer.walking._DELAYS", (0.001, 0.001))
    called = 0

    async def work() -> None:
        nonlocal called
        called += 1
        raise kind("no")

    with pytest.raises(kind):
        asyncio.run(patiently(work))
    assert called == calls


def test_what_passes_is_over() -> None:
    left = [StoreUnavailable("no")]

    async def work(value: int) -> int:
        if left:
            raise left.pop()
        return value

    assert asyncio.run(patiently(work, 7)) == 7
