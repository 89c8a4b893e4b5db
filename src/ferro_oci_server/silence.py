"""Connections on which nothing happens: the deadline that the server does not have where it also speaks HTTP/2.

While it waits to see which of the two a connection speaks, and between the requests of one that speaks HTTP/2, it waits
for as long as it takes. The kernel knows when something last came and went, and we know which connections have a
request that is being answered; of the others, those are ended on which nothing has moved for a while.
"""

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from ferro_oci_server.api.app import Receive, Scope, Send
from ferro_oci_server.auth.gate import App

__all__ = ["Silence", "open_sockets"]

# struct tcp_info of Linux: milliseconds since data was last sent, and since it was last received.
_TCP_INFO_BYTES = 104
_LAST_SENT, _LAST_RECEIVED = 44, 52


def open_sockets() -> Iterator[socket.socket]:
    """The sockets of this process, each to be used until the next is asked for.

    Nothing else is touched. To make a socket of a copy of what is none fails, and leaves the copy behind; and to close
    a copy of what is open on a file would take away the locks that SQLite has on it.
    """
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 (only the names, which are numbers)
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):  # noqa: PTH115
                with socket.fromfd(int(number), socket.AF_INET, socket.SOCK_STREAM) as handle:
                    yield handle


class Silence:
    """Stands above an application, and ends the silent connections of its process. Used by one event loop."""

    def __init__(self, app: App, port: int, seconds: float) -> None:
        """Connections to ``port`` may be silent for so many seconds while they have no request."""
        self._app = app
        self._port = port
        self._seconds = seconds
        self._busy: Counter[int] = Counter()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one scope on."""
        if self._task is None:
            # With the first thing that happens, which is the lifespan.
            self._task = asyncio.create_task(self._watch())
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer = _port_of(scope)
        self._busy[peer] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._busy[peer] -= 1
            if not self._busy[peer]:
                del self._busy[peer]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 4)
            await asyncio.to_thread(self._end_silent, frozenset(self._busy))

    def _end_silent(self, busy: frozenset[int]) -> None:
        for handle in open_sockets():
            # Those that listen, or are ended meanwhile, have no peer.
            with suppress(OSError):
                self._end_if_silent(handle, busy)

    def _end_if_silent(self, handle: socket.socket, busy: frozenset[int]) -> None:
        name = handle.getsockname()
        # Other sockets are local ones, whose names are texts, and those on which we ask somebody.
        if not isinstance(name, tuple) or name[1] != self._port or handle.getpeername()[1] in busy:
            return
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        sent, received = (struct.unpack_from("=I", info, offset)[0] for offset in (_LAST_SENT, _LAST_RECEIVED))
        if min(sent, received) > self._seconds * 1000:
            handle.shutdown(socket.SHUT_RDWR)


def _port_of(scope: Scope) -> int:
    client = scope.get("client")
    return int(client[1]) if client else 0
