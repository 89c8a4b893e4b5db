"""Peers that send too much, end too early, or ask for what is not spoken here."""

import asyncio
import contextvars
import gc
import http.client
import os
import resource
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from ferro_oci_server.http1.connection import Connection
from http1.serving import GET, MIB, Serving, answers, echo, read_all, serving, wait_until

CHUNKED = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"PUT /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"


async def say_ok(send: Any, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class TestUpgrades:
    """A client that would rather speak HTTP/2 sends its whole request with the question. RFC 9110 section 7.8."""

    @pytest.mark.parametrize(
        "rest",
        [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
        ids=["length", "chunks"],
    )
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_a_body_behind_the_question_is_read(self, echoing: Serving, rest: bytes, size: int) -> None:
        request = UPGRADE + rest
        pieces = [request[at : at + size] for at in range(0, len(request), size)]
        assert [answer.body for answer in answers(echoing.say(*pieces))] == [b"PUT /a  hello"]

    def test_one_may_ask_again_and_again(self, echoing: Serving) -> None:
        said = echoing.say((UPGRADE + b"Content-Length: 5\r\n\r\nhello" + UPGRADE + b"\r\n") * 500 + GET)
        assert [answer.body for answer in answers(said)] == [b"PUT /a  hello", b"PUT /a  "] * 500 + [b"GET /a  "]

    def test_what_is_behind_the_body_must_be_a_request(self, echoing: Serving) -> None:
        said = echoing.say(UPGRADE + b"Content-Length: 5\r\n\r\nhello\x00\x00")
        assert [answer.status for answer in answers(said)] == [200, 400]

    def test_both_framings_are_refused(self, echoing: Serving) -> None:
        said = echoing.say(UPGRADE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert [answer.status for answer in answers(said)] == [400]


class TestChunks:
    WHOLE = CHUNKED + b'5;a="b"\r\nhello\r\nA\r\n 0123456\r\n\r\n0;c\r\nT: t\r\nU: u\r\n\r\n'

    @pytest.mark.parametrize("at", range(len(CHUNKED) - 2, len(WHOLE)))
    def test_pieces_may_end_anywhere(self, echoing: Serving, at: int) -> None:
        with echoing.peer() as peer:
            peer.sendall(self.WHOLE[:at])
            time.sleep(0.001)
            peer.sendall(self.WHOLE[at:] + GET)
            peer.shutdown(socket.SHUT_WR)
            bodies = [answer.body for answer in answers(read_all(peer))]
        assert bodies == [b"PUT /a  hello 0123456\r\n", b"GET /a  "]

    def test_a_body_may_come_in_the_smallest_of_chunks(self, echoing: Serving) -> None:
        said = echoing.say(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n" + GET)
        assert [len(answer.body) for answer in answers(said)] == [len(b"PUT /a  ") + 50_000, len(b"GET /a  ")]

    @pytest.mark.parametrize(
        "bad",
        [
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\rhello\r\n0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\nhello",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n" + GET,
            b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        ],
    )
    def test_what_is_no_chunk_ends_the_body_and_nothing_behind_it_is_read(self, bad: bytes) -> None:
        heard: list[str] = []

        async def note(scope: Any, receive: Any, send: Any) -> None:
            heard.append(scope["raw_path"].decode())
            while heard[-1] != "http.disconnect":
                message = await receive()
                assert message.get("more_body", True)
                heard.append(message["type"])
            await say_ok(send)

        with serving(note) as found:
            said = found.say(CHUNKED + bad + GET)
        assert heard[0] == "/a"
        assert heard.count("/a") == 1
        assert b"connection: close" in said


class TestFloods:
    @pytest.mark.parametrize("begin", [b"5;", b"0\r\nT: ", b"0\r\n"], ids=["extension", "trailer", "trailers"])
    def test_what_is_no_body_must_end_like_a_head(self, begin: bytes) -> None:
        heard: list[str] = []

        async def note(scope: Any, receive: Any, send: Any) -> None:
            while not heard or heard[-1] != "http.disconnect":
                heard.append((await receive())["type"])

        with serving(note) as found, found.peer() as peer:
            peer.sendall(CHUNKED + b"1\r\nx\r\n" + begin)
            with suppress(ConnectionError):
                peer.sendall((b"T: t\r\n" if begin == b"0\r\n" else b"xxxx") * 64 * 1024)
            wait_until(lambda: heard == ["http.request", "http.disconnect"])

    def test_requests_that_wait_take_little_room(self) -> None:
        goes_on = threading.Event()

        async def hold(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.to_thread(goes_on.wait, 10)
            await say_ok(send)

        shortest = b"GET / HTTP/1.1\r\n\r\n"
        count = 10_000
        with serving(hold) as found, found.peer() as peer:
            peer.sendall(shortest)
            tracemalloc.start()
            try:
                peer.sendall(shortest * (count - 1))
                time.sleep(0.3)
                assert tracemalloc.get_traced_memory()[1] < 2 * MIB
            finally:
                tracemalloc.stop()
            goes_on.set()
            peer.shutdown(socket.SHUT_WR)
            assert read_all(peer).count(b"HTTP/1.1 200 OK") == count

    def test_reading_goes_on_once_fewer_wait_for_an_application_that_reads_nothing(self) -> None:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.01)
            await say_ok(send)

        with serving(slow) as found, found.peer() as peer:
            for _ in range(3):
                peer.sendall(GET * 20)
                said = b""
                while said.count(b"ok") < 20:
                    said += peer.recv(65536)

    def test_an_answer_that_ends_the_connection_reaches_who_has_asked_for_more(self) -> None:
        async def end(scope: Any, receive: Any, send: Any) -> None:
            await say_ok(send, (b"connection", b"close"))

        with serving(end) as found, found.peer() as peer:
            for _ in range(16):
                peer.sendall(GET * 10_000)
            said = read_all(peer)
        assert [answer.body for answer in answers(said)] == [b"ok"]

    def test_a_connection_is_closed_as_soon_as_its_last_answer_is_given(self, echoing: Serving) -> None:
        with echoing.peer() as peer:
            peer.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
            read_all(peer)
            began = time.monotonic()
            wait_until(lambda: not connections())
            assert time.monotonic() - began < 1


class TestEnds:
    def test_who_ends_in_a_body_gets_the_answers_to_what_was_whole(self) -> None:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.1)
            await echo(scope, receive, send)

        with serving(slow) as found:
            began = time.monotonic()
            said = found.say(GET + GET + b"PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhe")
            # Whoever has ended is not waited for.
            assert time.monotonic() - began < 1.5
        assert [answer.body for answer in answers(said)[:2]] == [b"GET /a  "] * 2
        assert b"PUT" not in said

    def test_an_early_answer_says_that_it_is_the_last(self) -> None:
        async def refuse(scope: Any, receive: Any, send: Any) -> None:
            await say_ok(send)

        with serving(refuse) as found, found.peer() as peer:
            peer.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert b"connection: close\r\n" in read_all(peer)

    @pytest.mark.parametrize(
        "sent",
        [b"", b"GET", GET, GET * 20, GET + b"GET", CHUNKED, CHUNKED + b"5\r\nhel", UPGRADE + b"\r\n", b"\x00"],
    )
    @pytest.mark.parametrize("breaks", [False, True], ids=["closes", "breaks"])
    def test_nothing_is_left_of_a_client_that_has_gone(self, sent: bytes, breaks: bool) -> None:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.02)
            await echo(scope, receive, send)

        gc.collect()
        gc.disable()
        try:
            with serving(slow) as found:
                with found.peer() as peer:
                    peer.sendall(sent)
                    time.sleep(0.01)
                    if breaks:
                        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                # Freed when it ends, and not when garbage is looked for.
                wait_until(lambda: not connections())
        finally:
            gc.enable()


class TestContexts:
    def test_what_one_request_sets_is_not_for_the_next(self) -> None:
        user: contextvars.ContextVar[bytes] = contextvars.ContextVar("user", default=b"nobody")

        async def note(scope: Any, receive: Any, send: Any) -> None:
            seen = user.get()
            user.set(scope["raw_path"])
            await asyncio.sleep(0.001)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": seen})

        with serving(note) as found:
            assert [answer.body for answer in answers(found.say(GET * 3))] == [b"nobody"] * 3


class TestRefusals:
    def test_a_connection_waits_while_the_system_has_no_room_for_it(self) -> None:
        with serving(echo) as found, socket.socket() as peer:
            with no_more_files():
                peer.settimeout(0.3)
                peer.connect(("127.0.0.1", found.port))
                peer.sendall(GET)
                with pytest.raises(TimeoutError):
                    peer.recv(1000)
            peer.settimeout(10)
            reader = http.client.HTTPResponse(peer)
            reader.begin()
            assert reader.status == 200


def connections() -> list[Connection]:
    return [found for found in gc.get_objects() if isinstance(found, Connection)]


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open none in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(0))
        yield
