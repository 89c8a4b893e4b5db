"""What a worker process is told of its system: when to end, how many files it may open, whom it need not wait for."""

import asyncio
import ctypes
import os
import resource
import signal
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

from ferro_oci_server.api.access_log import AccessLog
from ferro_oci_server.api.app import Receive, Scope, Send
from ferro_oci_server.auth.gate import App
from ferro_oci_server.silence import open_sockets

__all__ = ["Worker", "allow_most_files", "bind_children"]

_ENDS = (signal.SIGTERM, signal.SIGINT)

# Longer than the loop takes to pause once the application has started: milliseconds.
_PAUSE_SECONDS = 0.1

# prctl(2): the signal that a process gets when the thread that forked it ends.
_PR_SET_PDEATHSIG = 1


def bind_children() -> None:
    """Bind the processes that this one forks from now on: they hear at once when they are to end, and end with it.

    Before a child listens to signals itself, they would go to a copy of its parent's handlers, which nobody looks at,
    and later to a loop that pauses between its start and its service: it would miss the end, and be waited for in vain.
    So they wait until ``Worker`` lets them come. And when the parent is killed there is nobody to end its children,
    which would hold the port.
    """
    parent = os.getpid()

    def begin() -> None:
        for number in _ENDS:
            signal.signal(number, signal.SIG_DFL)
        _end_with(parent)

    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _ENDS),
        after_in_parent=_let_signals_come,
        after_in_child=begin,
    )


def _let_signals_come() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)


def _end_with(parent: int) -> None:
    """Let this process end when its parent does, which may have happened already."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def allow_most_files() -> None:
    """Open as many files as is allowed: many systems begin with 1024, and connections and blobs need one each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Worker:
    """An application with its access log, and a deadline that its server does not have.

    What the server has taken over to send, it keeps until it is taken off its hands: a connection whose peer is there
    and does not read would last for ever. The system can end it, if it is told to; the listening socket hands that
    on to its connections.
    """

    def __init__(self, app: App, idle_seconds: int, access_log: AccessLog | None) -> None:
        self._app = app
        self._access_log = access_log
        self._idle_milliseconds = idle_seconds * 1000
        self._is_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server opens its socket behind the start of the application's lifespan.
        if not self._is_told and scope["type"] == "http":
            self._is_told = True
            self._tell_system()
        await self._app(scope, receive, self._attending(send) if scope["type"] == "lifespan" else send)

    def _attending(self, send: Send) -> Send:
        """``send``, but signals come once all has started, and nothing is left in the access log when all is over."""

        async def attend_and_send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "lifespan.shutdown.complete" and self._access_log is not None:
                await self._access_log.close()
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                asyncio.get_running_loop().call_later(_PAUSE_SECONDS, _let_signals_come)

        return attend_and_send

    def _tell_system(self) -> None:
        for handle in open_sockets():
            # Some are no such sockets, and refuse.
            with suppress(OSError):
                handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._idle_milliseconds)
