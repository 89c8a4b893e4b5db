"""Threads that hash: as many as there are processors, since more would only take turns.

They are kept apart from the event loop's own threads, which wait for disks and count rows: neither can hold the other
up, and however many bodies arrive at once, what hashing takes of the machine is bounded.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, Protocol, TypeVar

from ferro_oci_server.core.fingerprint import Piece

__all__ = ["Hashing"]

P = ParamSpec("P")
T = TypeVar("T")

# Hashing this much takes less time than the hop to a thread: a digest, and a checksum.
_SMALL = 32 * 1024
_SMALL_QUICK = 512 * 1024

# Large enough that waking a thread and being woken by it (some 100 us) is little beside hashing it (600 us); what many
# bodies have at most together, as long as each has a piece that is worth that.
_MOST = 1024 * 1024
_TOGETHER = 4 * 1024 * 1024
_LEAST = 64 * 1024


class _Hasher(Protocol):
    def update(self, piece: Piece) -> None: ...


class Hashing:
    """A pool of threads. None of them begins before there is work."""

    least_batch = _LEAST
    """How many bytes of a body that is not counted yet to hash at once."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="hashing")
        self._bodies = 0

    @property
    def batch(self) -> int:
        """How many bytes of a body to hash at once: the fewer, the more bodies there are."""
        return max(_LEAST, min(_MOST, _TOGETHER // (self._bodies or 1)))

    @contextmanager
    def body(self) -> Iterator[None]:
        """Count a body that is being hashed, until the block ends."""
        self._bodies += 1
        try:
            yield
        finally:
            self._bodies -= 1

    def update(self, hasher: _Hasher, piece: Piece, *, quick: bool = False) -> asyncio.Future[None] | None:
        """Hash a piece: at once where it is small, else in a thread, which must have ended before the next begins.

        More is small to a ``quick`` hasher, one of checksums.
        """
        if len(piece) <= (_SMALL_QUICK if quick else _SMALL):
            hasher.update(piece)
            return None
        return asyncio.get_running_loop().run_in_executor(self._executor, hasher.update, piece)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do any work that takes a processor and no disk."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: work(*args, **kwargs))

    async def close(self) -> None:
        """Let the work that has begun end, and take no more."""
        await asyncio.to_thread(self._executor.shutdown)
