"""A worker, and the life of its application."""

import os
import signal
import socket
import threading
import time
from typing import Any

import pytest

from ferro_oci_server.http1.worker import run_worker
from http1.serving import echo, read_all
from support.process import free_port

GET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Living:
    """An application that notes what happens to it."""

    def __init__(self, *, starts: bool = True) -> None:
        self.told: list[str] = []
        self._starts = starts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await echo(scope, receive, send)
            return
        self.told.append((await receive())["type"])
        if not self._starts:
            await send({"type": "lifespan.startup.failed", "message": "of the test"})
            return
        await send({"type": "lifespan.startup.complete"})
        self.told.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


def run(application: Any, port: int) -> None:
    run_worker(lambda: application, "127.0.0.1", port, head_seconds=5, max_connections=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    port = free_port()
    said: list[bytes] = []

    def ask_and_end() -> None:
        deadline = time.monotonic() + 10
        while not said and time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                    peer.sendall(GET)
                    said.append(read_all(peer))
            except ConnectionRefusedError:
                time.sleep(0.01)
        os.kill(os.getpid(), number)

    application, client = Living(), threading.Thread(target=ask_and_end)
    # Before the worker listens to signals, they would end the test.
    before = signal.signal(number, lambda *_: None)
    try:
        client.start()
        run(application, port)
        client.join()
    finally:
        signal.signal(number, before)
    assert said[0].startswith(b"HTTP/1.1 200 OK")
    assert application.told == ["lifespan.startup", "lifespan.shutdown"]


def test_an_application_ends_in_order_where_the_address_cannot_be_had() -> None:
    application = Living()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="Address already in use"):
            run(application, taken.getsockname()[1])
    assert application.told == ["lifespan.startup", "lifespan.shutdown"]


def test_an_application_that_does_not_start_is_not_served() -> None:
    with pytest.raises(RuntimeError, match="has not started"):
        run(Living(starts=False), free_port())


def test_what_keeps_an_application_from_starting_is_said() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("of the test")

    with pytest.raises(LookupError, match="of the test"):
        run(fail, free_port())
