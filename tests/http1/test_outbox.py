"""Answers that leave together: none is late, mixed up or lost."""

import asyncio
import re
from contextlib import ExitStack
from typing import Any, cast

import pytest

from ferro_oci_server.http1.connection import Connection
from ferro_oci_server.http1.outbox import Outbox
from http1.serving import GET, MIB, Serving, answers, echo, read_all, serving, wait_until

ANYIO = pytest.mark.anyio
COUNT = 40


class Sender:
    """A connection, as far as an outbox knows it."""

    def __init__(self, sent: list["Sender"]) -> None:
        self._sent = sent

    def flush(self) -> None:
        """Send."""
        self._sent.append(self)


class Senders:
    """Some, and which have sent."""

    def __init__(self, expected: int) -> None:
        self.outbox = Outbox(asyncio.get_running_loop())
        self.outbox.expected = expected
        self.sent: list[Sender] = []

    def take(self, count: int) -> list[Sender]:
        """Let so many have something to send."""
        senders = [Sender(self.sent) for _ in range(count)]
        for sender in senders:
            self.outbox.take(cast("Connection", sender))
        return senders


@ANYIO
async def test_few_answers_leave_at_once() -> None:
    senders = Senders(expected=3)
    assert senders.take(3) == senders.sent


@ANYIO
async def test_many_answers_leave_in_the_next_turn() -> None:
    senders = Senders(expected=10)
    taken = senders.take(5)
    assert senders.sent == []
    await asyncio.sleep(0)
    assert senders.sent == taken


@ANYIO
async def test_very_many_do_not_wait_for_the_turn() -> None:
    senders = Senders(expected=100)
    taken = senders.take(40)
    assert senders.sent == taken[: len(senders.sent)]
    assert len(senders.sent) >= 30
    await asyncio.sleep(0)
    assert senders.sent == taken


@ANYIO
async def test_the_last_of_many_takes_the_others_along() -> None:
    senders = Senders(expected=10)
    first = senders.take(2)
    senders.outbox.expected = 2
    assert senders.sent == []
    assert first + senders.take(1) == senders.sent


class Gathering:
    """An application that answers all requests at once: when so many are there."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Wait for the others, and answer."""
        if scope["raw_path"].startswith(b"/alone"):
            await echo(scope, receive, send)
            return
        self._waiting.append(asyncio.get_running_loop().create_future())
        if len(self._waiting) < self._count:
            await self._waiting[-1]
        else:
            for waiter in self._waiting[:-1]:
                waiter.set_result(None)
        if scope["raw_path"].startswith(b"/broken"):
            raise RuntimeError("made to fail")
        if scope["raw_path"].startswith(b"/large"):
            body = b"x" * MIB
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        await echo(scope, receive, send)


def say_all(found: Serving, said: list[bytes]) -> list[bytes]:
    """Say something on a connection each, all at once; what comes back."""
    with ExitStack() as stack:
        peers = [stack.enter_context(found.peer()) for _ in said]
        for peer, words in zip(peers, said, strict=True):
            peer.sendall(words)
        back = []
        for peer in peers:
            peer.shutdown(1)
            back.append(read_all(peer))
        return back


def test_each_peer_gets_its_own_answer() -> None:
    with serving(Gathering(COUNT)) as found:
        back = say_all(found, [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(COUNT)])
        assert [answers(one)[0].body for one in back] == [b"GET /%d  " % number for number in range(COUNT)]
        wait_until(lambda: found.server.outbox.expected == 0)


@pytest.mark.parametrize(
    ("behind", "statuses"),
    [
        (b"GET /alone HTTP/1.1\r\nHost: x\r\n\r\n" * 3, [200] * 4),
        (b"GET /alone HTTP/1.1\r\nHost: x\r\n\r\n" * 100, [200] * 101),
        (b"HEAD /alone HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [200, 200]),
        (b"nothing that anybody could read\r\n\r\n", [200, 400]),
    ],
    ids=["more", "many more", "the last", "nonsense"],
)
def test_what_comes_behind_is_answered_behind(behind: bytes, statuses: list[int]) -> None:
    with serving(Gathering(COUNT)) as found:
        for one in say_all(found, [GET + behind] * COUNT):
            assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", one)] == statuses


@pytest.mark.parametrize("path", ["broken", "large", "a"])
def test_large_answers_failures_and_ends_keep_their_places(path: str) -> None:
    words = {
        "broken": (b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n", 500, b""),
        "large": (b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"x" * MIB),
        "a": (b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, b"GET /a  "),
    }
    said, status, body = words[path]
    with serving(Gathering(COUNT)) as found:
        back = say_all(found, [said] * 10 + [b"GET /alone HTTP/1.1\r\nHost: x\r\n\r\n" + said] * 10 + [GET] * 20)
    assert [(answer.status, answer.body) for one in back[:10] for answer in answers(one)] == [(status, body)] * 10
    for one in back[10:20]:
        first, second = answers(one)
        assert (first.status, first.body) == (200, b"GET /alone  ")
        assert (second.status, second.body) == (status, body)
    assert {answers(one)[0].body for one in back[20:]} == {b"GET /a  "}


def test_peers_that_have_gone_take_nobody_along() -> None:
    application = Gathering(COUNT)
    with serving(application) as found, ExitStack() as stack:
        peers = [stack.enter_context(found.peer()) for _ in range(COUNT)]
        for peer in peers[:-1]:
            peer.sendall(GET)
        wait_until(lambda: len(application._waiting) == COUNT - 1)
        for peer in peers[:10]:
            peer.close()
        peers[-1].sendall(GET)
        for peer in peers[10:]:
            peer.shutdown(1)
            assert answers(read_all(peer))[0].body == b"GET /a  "
        wait_until(lambda: found.server.outbox.expected == 0)
