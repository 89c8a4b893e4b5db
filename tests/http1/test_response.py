"""A response as bytes."""

import pytest

from ferro_oci_server.http1.response import Framing, Headers

DATE = b"date: now\r\n"
OK = b"HTTP/1.1 200 OK\r\ndate: now\r\n"


def framing(method: str = "GET", version: str = "1.1", *, keeps_alive: bool = True) -> Framing:
    return Framing(method, version, keeps_alive=keeps_alive)


def test_a_head_has_the_lines_that_were_given() -> None:
    head = framing().head(200, DATE, [(b"content-length", b"2"), (b"x", b"y")], None)
    assert head == OK + b"content-length: 2\r\nx: y\r\n\r\n"


def test_a_status_without_a_phrase_is_written() -> None:
    assert framing().head(299, DATE, [], 0).startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize(
    ("version", "keeps_alive", "told"),
    [
        ("1.1", True, b""),
        ("1.1", False, b"connection: close\r\n"),
        ("1.0", True, b"connection: keep-alive\r\n"),
        ("1.0", False, b"connection: close\r\n"),
    ],
)
def test_a_head_tells_whether_the_connection_goes_on(version: str, keeps_alive: bool, told: bytes) -> None:
    head = framing(version=version, keeps_alive=keeps_alive).head(200, DATE, [(b"content-length", b"0")], None)
    assert head == OK + b"content-length: 0\r\n" + told + b"\r\n"


def test_an_application_can_end_the_connection_and_says_so_once() -> None:
    response = framing()
    head = response.head(200, DATE, [(b"connection", b"close"), (b"content-length", b"0")], None)
    assert head.count(b"connection: close") == 1
    assert not response.keeps_alive


def test_a_body_whose_length_is_known_is_told_of() -> None:
    response = framing()
    assert b"content-length: 5\r\n" in response.head(200, DATE, [], 5)
    assert response.part(b"hello", more=False) == b"hello"


def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    response = framing()
    assert b"transfer-encoding: chunked\r\n" in response.head(200, DATE, [], None)
    parts = [response.part(body, more=more) for body, more in ((b"", True), (b"x" * 26, True), (b"yz", False))]
    assert parts == [b"", b"1a\r\n" + b"x" * 26 + b"\r\n", b"2\r\nyz\r\n0\r\n\r\n"]


def test_the_end_of_chunks_can_come_alone() -> None:
    response = framing()
    response.head(200, DATE, [], None)
    assert response.part(b"", more=False) == b"0\r\n\r\n"


def test_an_old_client_is_told_of_the_end_by_the_end_of_the_connection() -> None:
    response = framing(version="1.0")
    head = response.head(200, DATE, [], None)
    assert b"connection: close\r\n" in head
    assert b"chunked" not in head
    assert response.part(b"hello", more=True) == b"hello"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_some_responses_have_no_body(method: str, status: int) -> None:
    response = framing(method)
    head = response.head(status, DATE, [(b"content-length", b"9")] if method == "HEAD" else [], None)
    assert b"chunked" not in head
    assert response.part(b"something", more=False) == b""
    assert response.keeps_alive


def test_more_than_was_told_of_is_left_out() -> None:
    response = framing()
    response.head(200, DATE, [(b"content-length", b"3")], None)
    assert [response.part(b"ab", more=True), response.part(b"cde", more=False)] == [b"ab", b"c"]
    assert response.keeps_alive


def test_less_than_was_told_of_ends_the_connection() -> None:
    response = framing()
    response.head(200, DATE, [(b"content-length", b"3")], None)
    assert response.part(b"ab", more=False) == b"ab"
    assert not response.keeps_alive


@pytest.mark.parametrize(
    "headers",
    [
        [(b"location", b"/a\r\nx: y")],
        [(b"location", b"/a\nx: y")],
        [(b"location", b"/a\rx: y")],
        [(b"x\r\ny", b"z")],
        [(b"content-length", b"some")],
    ],
)
def test_a_header_that_would_be_another_is_refused(headers: Headers) -> None:
    with pytest.raises(ValueError, match=r"end of a line|invalid literal"):
        framing().head(200, DATE, headers, None)
