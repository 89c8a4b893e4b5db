"""The listening socket: how many come in, and how it ends."""

import asyncio
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from http1.serving import GET, echo, read_all, serving


def test_a_connection_too_many_waits_until_another_ends() -> None:
    with serving(echo, max_connections=2) as found, ExitStack() as stack:
        first, second = (stack.enter_context(found.peer()) for _ in range(2))
        for peer in (first, second):
            peer.sendall(GET)
            assert peer.recv(1000)
        third = stack.enter_context(found.peer())
        third.sendall(GET)
        third.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.recv(1000)
        first.close()
        third.settimeout(10)
        assert third.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_many_connections_come_and_go() -> None:
    with serving(echo, max_connections=8) as found:

        def ask() -> None:
            for _ in range(50):
                assert found.say(GET).startswith(b"HTTP/1.1 200 OK")

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.say(GET).startswith(b"HTTP/1.1 200 OK")


def test_a_stop_ends_what_is_idle_and_waits_for_answers() -> None:
    began, goes_on = threading.Event(), threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["raw_path"] == b"/slow":
            began.set()
            await asyncio.to_thread(goes_on.wait, 10)
        await echo(scope, receive, send)

    with serving(slow) as found, found.peer() as idle, found.peer() as kept, found.peer() as busy:
        kept.sendall(GET)
        assert kept.recv(1000)
        busy.sendall(GET.replace(b"/a", b"/slow") + GET)
        assert began.wait(10)
        stopping = threading.Thread(target=found.stop)
        stopping.start()
        assert (read_all(idle), read_all(kept)) == (b"", b"")
        with pytest.raises(ConnectionRefusedError), found.peer():
            pass
        assert stopping.is_alive()
        goes_on.set()
        said = read_all(busy)
        assert said.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in said
        busy.close()
        stopping.join(10)
        assert not stopping.is_alive()


def test_a_date_is_told() -> None:
    with serving(echo) as found:
        line = next(line for line in found.say(GET).split(b"\r\n") if line.startswith(b"date: "))
    told = time.mktime(time.strptime(line.decode(), "date: %a, %d %b %Y %H:%M:%S GMT")) - time.timezone
    assert abs(told - time.time()) < 10
