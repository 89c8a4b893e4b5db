"""Connections, over sockets."""

import asyncio
import http.client
import logging
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from http1.serving import GET, MIB, Serving, answers, echo, read_all, serving, wait_until


def bodies(said: bytes) -> list[bytes]:
    return [answer.body for answer in answers(said)]


class TestRequests:
    @pytest.mark.parametrize(
        ("target", "path", "query"),
        [
            (b"/a/b", b"/a/b", b""),
            (b"/a?x=1&y", b"/a", b"x=1&y"),
            (b"/a?x?y", b"/a", b"x?y"),
            (b"/%2e%00", b"/%2e%00", b""),
            (b"http://other/a/b?c", b"/a/b", b"c"),
            (b"http://other", b"", b""),
            (b"http://other?c=/a/b", b"", b"c=/a/b"),
            (b"*", b"*", b""),
        ],
    )
    def test_the_target_comes_undecoded(self, echoing: Serving, target: bytes, path: bytes, query: bytes) -> None:
        said = echoing.say(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert bodies(said) == [b"GET " + path + b" " + query + b" "]

    @pytest.mark.parametrize("size", [0, 1, 5, 100_000, MIB])
    def test_a_body_with_a_length_arrives(self, echoing: Serving, size: int) -> None:
        said = echoing.say(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        assert bodies(said) == [b"PUT /a  " + b"x" * size]

    def test_a_request_may_come_a_byte_at_a_time(self, echoing: Serving) -> None:
        request = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        request += b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nT: t\r\n\r\n"
        assert bodies(echoing.say(*(request[at : at + 1] for at in range(len(request))))) == [b"PUT /a  hello!"]

    def test_requests_are_answered_in_their_order(self, echoing: Serving) -> None:
        requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3000)]
        with echoing.peer() as peer:
            sender = threading.Thread(target=peer.sendall, args=(b"".join(requests),))
            sender.start()
            said = b""
            while said.count(b"HTTP/1.1 200") < 3000 or not said.endswith(b"GET /2999  "):
                said += peer.recv(65536)
            sender.join()
        assert bodies(said) == [b"GET /%d  " % number for number in range(3000)]

    def test_a_body_can_be_followed_by_another_request(self, echoing: Serving) -> None:
        first = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        assert bodies(echoing.say(first + GET + first)) == [b"PUT /a  hello", b"GET /a  ", b"PUT /a  hello"]

    @pytest.mark.parametrize(
        ("request_", "goes_on"),
        [
            (GET, True),
            (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
            (b"GET / HTTP/1.0\r\n\r\n", False),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
            (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", True),
            (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n", False),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", False),
            (
                b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                False,
            ),
        ],
    )
    def test_a_connection_goes_on_where_both_want_it(self, echoing: Serving, request_: bytes, goes_on: bool) -> None:
        said = echoing.say(request_ + GET)
        assert said.count(b"HTTP/1.1 200") == said.count(b"HTTP/1.1") == 1 + goes_on
        assert (b"connection: close" in said) is not goes_on

    @pytest.mark.parametrize("rest", [GET, b"\r\n", b"\x00\x01", GET + b"\x00"])
    def test_nothing_is_answered_behind_the_last_request(self, echoing: Serving, rest: bytes) -> None:
        said = echoing.say(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + rest)
        assert said.count(b"HTTP/1.1") == 1

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
            b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        ],
    )
    def test_what_two_could_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
        self, echoing: Serving, request_: bytes
    ) -> None:
        said = echoing.say(request_ + GET)
        assert said.startswith(b"HTTP/1.1 400 ")
        assert said.count(b"HTTP/1.1") == 1

    def test_a_bad_request_is_refused_behind_the_answers_to_those_before_it(self, echoing: Serving) -> None:
        said = echoing.say(GET * 3 + b"\x00\x00" + GET)
        assert [answer.status for answer in answers(said)] == [200, 200, 200, 400]

    @pytest.mark.parametrize("line", [b"X: " + b"x" * 100_000, b"X: x\r\n" * 20_000])
    def test_a_huge_head_is_refused_before_it_is_whole(self, echoing: Serving, line: bytes) -> None:
        with echoing.peer() as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n" + line)
            assert read_all(peer).startswith(b"HTTP/1.1 431 ")

    def test_a_client_that_ends_its_side_gets_its_answer(self) -> None:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.1)
            await echo(scope, receive, send)

        with serving(slow) as found:
            assert bodies(found.say(GET + GET)) == [b"GET /a  "] * 2


class TestBodies:
    def test_a_client_is_told_to_go_on_once_its_body_is_asked_for(self, echoing: Serving) -> None:
        with echoing.peer() as peer:
            peer.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            peer.sendall(b"hello")
            assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK")

    @pytest.mark.parametrize("body", [b"", b"hello"], ids=["waits", "does not wait"])
    def test_nobody_is_told_to_go_on_who_need_not(self, body: bytes) -> None:
        async def refuse(scope: Any, receive: Any, send: Any) -> None:
            if body:
                await receive()
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})

        with serving(refuse) as found, found.peer() as peer:
            head = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            peer.sendall(head + body)
            assert peer.recv(1000).startswith(b"HTTP/1.1 403 ")

    def test_an_answer_reaches_a_client_that_still_sends(self) -> None:
        async def refuse(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})

        with serving(refuse) as found, found.peer() as peer:
            peer.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
            for _ in range(16):
                peer.sendall(b"x" * MIB)
            assert answers(read_all(peer))[0].status == 403

    def test_a_sender_waits_for_an_application_that_does_not_read(self) -> None:
        wants = threading.Event()

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.to_thread(wants.wait, 10)
            await echo(scope, receive, send)

        size = 64 * MIB
        with serving(wait) as found, found.peer() as peer:
            peer.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
            peer.settimeout(0.5)
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < size:
                    sent += peer.send(b"x" * MIB)
            # What is on its way is what systems hold of it.
            assert sent < size // 2
            wants.set()
            peer.settimeout(10)
            peer.sendall(b"x" * (size - sent))
            reader = http.client.HTTPResponse(peer)
            reader.begin()
            assert len(reader.read()) == size + len(b"PUT /a  ")

    @pytest.mark.parametrize("rest", [b"", b"zz\r\n"], ids=["ends", "makes no sense"])
    def test_an_application_hears_that_a_body_ends_too_early(self, rest: bytes) -> None:
        heard: list[str] = []

        async def note(scope: Any, receive: Any, send: Any) -> None:
            while not heard or heard[-1] != "http.disconnect":
                heard.append((await receive())["type"])

        with serving(note) as found, found.peer() as peer:
            peer.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            wait_until(lambda: heard)
            peer.sendall(rest) if rest else peer.shutdown(socket.SHUT_WR)
            wait_until(lambda: heard == ["http.request", "http.disconnect"])

    def test_an_application_hears_that_its_client_has_gone(self) -> None:
        heard: list[str] = []

        async def note(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            gone = asyncio.ensure_future(receive())
            while not gone.done():
                await asyncio.sleep(0.01)
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            heard.append(gone.result()["type"])

        with serving(note) as found:
            with found.peer() as peer:
                peer.sendall(GET)
                peer.recv(10)
            wait_until(lambda: heard == ["http.disconnect"])


class TestResponses:
    def test_a_reader_that_is_slow_is_waited_for(self) -> None:
        sent: list[int] = []

        async def send_much(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for number in range(64):
                await send({"type": "http.response.body", "body": b"x" * MIB, "more_body": True})
                sent.append(number)
            await send({"type": "http.response.body", "body": b""})

        with serving(send_much) as found, found.peer() as peer:
            peer.sendall(GET)
            time.sleep(0.5)
            assert len(sent) < 32
            reader = http.client.HTTPResponse(peer)
            reader.begin()
            assert len(reader.read()) == 64 * MIB

    def test_an_application_that_fails_before_its_response_is_a_500(self, caplog: pytest.LogCaptureFixture) -> None:
        async def fail(scope: Any, receive: Any, send: Any) -> None:
            raise LookupError("of the test")

        with caplog.at_level(logging.ERROR), serving(fail) as found:
            said = found.say(GET + GET)
        assert [answer.status for answer in answers(said)] == [500]
        assert "the application has failed" in caplog.text

    @pytest.mark.parametrize("headers", [[], [(b"content-length", b"100")]], ids=["chunks", "length"])
    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    def test_a_response_that_breaks_off_never_looks_whole(self, headers: Any, version: bytes) -> None:
        async def fail(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * 10, "more_body": True})
            raise LookupError("of the test")

        with serving(fail) as found, found.peer() as peer:
            peer.sendall(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version)
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                answers(read_all(peer))

    def test_an_application_that_says_nothing_is_a_500(self) -> None:
        async def silent(scope: Any, receive: Any, send: Any) -> None:
            return

        with serving(silent) as found:
            assert found.say(GET).startswith(b"HTTP/1.1 500 ")

    def test_a_head_is_answered_without_a_body_and_the_connection_goes_on(self, echoing: Serving) -> None:
        said = echoing.say(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        first, second = answers(said, "HEAD", "GET")
        assert (first.headers["content-length"], first.body) == ("9", b"")
        assert second.body == b"GET /a  "


class TestDeadlines:
    @pytest.mark.parametrize("said", [b"", b"GET", GET, GET + b"GET / HT"])
    def test_a_connection_without_a_request_is_ended(self, said: bytes) -> None:
        with serving(echo, head_seconds=0.3) as found, found.peer() as peer:
            began = time.monotonic()
            peer.sendall(said)
            with suppress(ConnectionResetError):
                read_all(peer)
            assert 0.2 < time.monotonic() - began < 5

    def test_a_large_answer_may_take_longer_as_long_as_it_is_taken(self) -> None:
        async def send_much(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * (16 * MIB)})

        with serving(send_much, head_seconds=1.0) as found, found.peer() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            peer.sendall(GET)
            said = 0
            while said < 16 * MIB:
                piece = peer.recv(512 * 1024)
                assert piece
                said += len(piece)
                time.sleep(0.02)

    def test_a_large_answer_that_is_not_taken_is_ended(self) -> None:
        async def send_much(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * (64 * MIB)})

        with serving(send_much, head_seconds=0.3) as found, found.peer() as peer:
            peer.sendall(GET)
            time.sleep(3)
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                answers(read_all(peer))

    def test_a_request_that_takes_longer_is_answered(self) -> None:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.8)
            await echo(scope, receive, send)

        with serving(slow, head_seconds=0.2) as found, found.peer() as peer:
            peer.sendall(GET)
            assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK")
