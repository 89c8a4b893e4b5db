"""A response as bytes: its head, and its body in whichever framing the head has told of.

Spec: RFC 9112 sections 6 and 7; RFC 9110 section 6.4.1.
"""

from collections.abc import Iterable
from http import HTTPStatus

__all__ = ["BAD_REQUEST", "CONTINUE", "FAILURE", "HEAD_TOO_LARGE", "Framing", "Headers"]

Headers = Iterable[tuple[bytes, bytes]]

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}
# These have no body, and nothing that tells of one.
_BODILESS = frozenset({204, 304})

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _last(status: HTTPStatus) -> bytes:
    return _STATUS_LINES[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"


BAD_REQUEST = _last(HTTPStatus.BAD_REQUEST)
HEAD_TOO_LARGE = _last(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
FAILURE = _last(HTTPStatus.INTERNAL_SERVER_ERROR)


class Framing:
    """How a response to one request tells where its body ends."""

    __slots__ = ("_is_chunked", "_is_old", "_is_to_head", "_left", "keeps_alive")

    def __init__(self, method: str, version: str, *, keeps_alive: bool) -> None:
        self.keeps_alive = keeps_alive
        """Whether another response may follow on the same connection; right once all of this one is written."""
        self._is_to_head = method == "HEAD"
        self._is_old = version == "1.0"
        self._is_chunked = False
        # How many bytes the body must still have, if the head has told.
        self._left: int | None = None

    def head(self, status: int, date: bytes, headers: Headers, length: int | None) -> bytes:
        """The head. ``length`` is that of the whole body, ``None`` if it is not known yet.

        Raises:
            ValueError: a header has the end of a line in it, or a length is none.
        """
        lines: list[bytes] = []
        for key, value in headers:
            if key == b"connection":
                # Whether it ends is said once, below.
                self.keeps_alive = self.keeps_alive and value != b"close"
                continue
            lines += (key, b": ", value, b"\r\n")
            if key == b"content-length":
                self._left = int(value)
        given = b"".join(lines)
        if not given.count(b"\r") == given.count(b"\n") == len(lines) // 4:
            raise ValueError("a header has the end of a line in it")
        told = b""
        if self._is_to_head or status in _BODILESS:
            self._left = 0
        elif self._left is None:
            told = self._told(length)
        first = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return b"".join((first, date, given, told, self._ending()))

    def part(self, body: bytes, *, more: bool) -> bytes:
        """A part of the body, behind which ``more`` comes. What is more than was told of is left out."""
        if self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if self._left is None:
            return body
        if len(body) > self._left:
            body = body[: self._left]
        self._left -= len(body)
        if self._left and not more:
            # There is less than was told of. Nobody may take it for all of it.
            self.keeps_alive = False
        return body

    def _told(self, length: int | None) -> bytes:
        if length is not None:
            self._left = length
            return b"content-length: %d\r\n" % length
        if self._is_old:
            # The body ends with the connection.
            self.keeps_alive = False
            return b""
        self._is_chunked = True
        return b"transfer-encoding: chunked\r\n"

    def _ending(self) -> bytes:
        if not self.keeps_alive:
            return b"connection: close\r\n\r\n"
        return b"connection: keep-alive\r\n\r\n" if self._is_old else b"\r\n"
