"""Walking two sorted lists at once, and doing several things at a time, patiently."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ParamSpec, TypeVar

from ferro_oci_server.core.ports import StoreFull, StoreUnavailable

__all__ = ["each", "join", "patiently"]

Key = TypeVar("Key", bound=str)
Item = TypeVar("Item")
P = ParamSpec("P")
T = TypeVar("T")

# A database that is switched over, or an object store that throttles, is back within so many seconds, or it is for
# somebody to see to.
_DELAYS = (0.5, 1, 2, 4, 8, 16)


async def join(
    left: AsyncIterator[tuple[Key, str]], right: AsyncIterator[tuple[Key, str]]
) -> AsyncIterator[tuple[Key, str | None, str | None]]:
    """Go through two lists that are sorted alike: each key once, with what each list says of it, if it has it."""
    one, two = await anext(left, None), await anext(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):
            assert one is not None
            yield one[0], one[1], None
            one = await anext(left, None)
        elif one is None or two[0] < one[0]:
            yield two[0], None, two[1]
            two = await anext(right, None)
        else:
            yield one[0], one[1], two[1]
            one, two = await anext(left, None), await anext(right, None)


async def each(items: AsyncIterator[Item], work: Callable[[Item], Awaitable[None]], width: int) -> None:
    """Do something with each of some items, of which up to ``width`` are under way at a time.

    Raises:
        Exception: what the first failure raised; the others were cancelled.
    """
    room = asyncio.Semaphore(width)

    async def do(item: Item) -> None:
        try:
            await work(item)
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for item in items:
                await room.acquire()
                group.create_task(do(item))
    except BaseExceptionGroup as failures:
        raise _first(failures) from failures


def _first(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


async def patiently(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something that may be repeated; if a store is unavailable, again after a while, and after a longer one.

    Raises:
        StoreUnavailable: it stayed so, or has no room.
    """
    for delay in _DELAYS:
        try:
            return await work(*args, **kwargs)
        except StoreFull:
            raise
        except StoreUnavailable:
            await asyncio.sleep(delay)
    return await work(*args, **kwargs)
