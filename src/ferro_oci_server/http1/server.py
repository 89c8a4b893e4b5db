"""A listening socket and the connections that come in on it, as many at a time as may be.

A connection too many waits in the system's queue until another has ended.
"""

import asyncio
import contextvars
import socket
import time
from collections.abc import Coroutine
from email.utils import formatdate
from typing import Any

from ferro_oci_server.http1.connection import Connection
from ferro_oci_server.http1.cycle import Application
from ferro_oci_server.http1.outbox import Outbox

__all__ = ["Http1Server", "listen"]

_BACKLOG = 1024
# How much is read of a connection at once.
_READ = 128 * 1024
# How many connections are taken at once, before those that are there have their turn.
_BATCH = 64
# How long none are taken when the system refuses.
_REST_SECONDS = 0.5


def listen(host: str, port: int) -> socket.socket:
    """A socket that several processes can have for one address: the system deals connections out to them.

    Raises:
        OSError: the address cannot be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class Http1Server:
    """Serves an ASGI application on a socket, which ``stop`` closes. Made and used on one running event loop.

    A connection on which no request is being answered is ended behind ``head_seconds`` without a whole head.
    """

    def __init__(
        self, application: Application, listener: socket.socket, *, head_seconds: float, max_connections: int
    ) -> None:
        self.application = application
        self.loop = asyncio.get_running_loop()
        self.head_seconds = head_seconds
        self.is_stopping = False
        self.outbox = Outbox(self.loop)
        self.scratch = memoryview(bytearray(_READ))
        """Where connections read to, one behind the other."""
        # What one request sets is not for the next, though that may be begun from within it.
        self._context = contextvars.copy_context()
        self._listener = listener
        self._max = max_connections
        self._count = 0
        self._is_listening = False
        self._connections: set[Connection] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._opening: set[asyncio.Task[Any]] = set()
        self._date = b""
        self._date_of = 0
        self._regulate()

    @property
    def date(self) -> bytes:
        """The line that tells a response's date. RFC 9110 section 6.6.1."""
        now = int(time.time())
        if now != self._date_of:
            self._date, self._date_of = f"date: {formatdate(now, usegmt=True)}\r\n".encode("ascii"), now
        return self._date

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something as a task."""
        return self.loop.create_task(work, context=self._context.copy())

    async def stop(self) -> None:
        """Take no more connections, end those that are idle, and wait until the others have their answers."""
        self.is_stopping = True
        self._regulate()
        self._listener.close()
        for connection in tuple(self._connections):
            connection.stop()
        await self._idle.wait()

    def opened(self, connection: Connection) -> None:
        """Know a connection."""
        self._connections.add(connection)
        if self.is_stopping:
            connection.stop()

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        self._connections.discard(connection)
        self._release()

    def _regulate(self) -> None:
        """Listen while there is room."""
        wants = self._count < self._max and not self.is_stopping
        if wants == self._is_listening:
            return
        self._is_listening = wants
        if wants:
            self.loop.add_reader(self._listener, self._accept)
        else:
            self.loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(min(_BATCH, self._max - self._count)):
            try:
                peer, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                # Nobody is left, or the first one has gone meanwhile.
                break
            except OSError:
                # No more files may be open: some must be closed first.
                self._rest()
                return
            peer.setblocking(False)
            self._count += 1
            self._idle.clear()
            task = self.loop.create_task(self._open(peer))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        self._regulate()

    def _rest(self) -> None:
        self.loop.remove_reader(self._listener)
        self.loop.call_later(_REST_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._is_listening:
            self.loop.add_reader(self._listener, self._accept)

    async def _open(self, peer: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: Connection(self), peer)
        except OSError:
            peer.close()
            self._release()

    def _release(self) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()
        self._regulate()
