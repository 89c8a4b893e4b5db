"""Requests that are sent at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from support.registry import Reply

from .history import Client, Lost
from .operations import Place

__all__ = ["Race", "at_once"]

Race = Callable[[Client, Place], None]


def at_once(*requests: Callable[[], Reply]) -> list[Reply]:
    """Send requests at the same time, each from a thread, and wait for all answers; none may be a 5xx."""
    barrier = threading.Barrier(len(requests))

    def send(request: Callable[[], Reply]) -> Reply:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=10)
        return request()

    with ThreadPoolExecutor(len(requests)) as threads:
        replies = [future.result() for future in [threads.submit(send, request) for request in requests]]
    for reply in replies:
        if reply.status >= 500:
            raise Lost(f"I7: one of several requests at once is answered by {reply.status} {reply.body[:200]!r}")
    return replies
