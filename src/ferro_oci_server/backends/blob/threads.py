"""File work in threads, none of which is lost sight of.

1. A thread cannot be interrupted. Whoever waits for one here waits until it has ended, also when cancelled: after
   that, and not before, the file that it worked on can be closed.
2. What the operating system refuses leaves a thread as ``StoreUnavailable``, and for lack of room as ``StoreFull``.
"""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ferro_oci_server.core.ports import StoreFull, StoreUnavailable

__all__ = ["Threads", "as_unavailable", "finish", "settle"]

P = ParamSpec("P")
T = TypeVar("T")

# Most work waits for a disk, so there are more threads than processors; more than this would only queue there.
_MAX_THREADS = 32

# The disk, and a quota on it.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Threads:
    """A bounded pool of threads for the files of one store."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="blob-files")

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin work; whoever gets the future must ``finish`` or ``settle`` it."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._executor, lambda: as_unavailable(work, *args, **kwargs))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work, and wait for its end even when cancelled.

        Raises:
            StoreUnavailable: ``work`` raised an ``OSError``.
        """
        return await finish(self.start(work, *args, **kwargs))

    async def close(self) -> None:
        """Let the work that has begun end, and take no more."""
        await asyncio.to_thread(self._executor.shutdown)


async def finish(future: asyncio.Future[T]) -> T:
    """The outcome of some work. A cancellation is raised only after the work has ended."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await settle(future)
        raise


async def settle(future: asyncio.Future[T]) -> None:
    """Wait for the end of some work whose outcome does not matter. A cancellation is raised only after it."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if not future.cancelled():
        # Else the loop complains about an exception that nobody has looked at.
        future.exception()
    if cancelled is not None:
        raise cancelled


def as_unavailable(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking work.

    Raises:
        StoreFull: ``work`` raised an ``OSError`` because there is no room.
        StoreUnavailable: it raised another.
    """
    try:
        return work(*args, **kwargs)
    except OSError as exc:
        kind = StoreFull if exc.errno in _FULL else StoreUnavailable
        raise kind(f"the storage directory cannot be used: {exc}") from exc
