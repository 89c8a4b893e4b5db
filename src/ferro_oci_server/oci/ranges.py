"""Ranges of bytes: the part of a blob that is read, and the part of an upload that is sent.

Both are inclusive on the wire and half-open here, as everywhere in Python.

Spec: RFC 9110 section 14; distribution-spec, "Pulling blobs" and "Pushing a blob in chunks".
"""

import re
from typing import NamedTuple

from ferro_oci_server.oci.errors import RangeNotSatisfiable, UploadInvalid

__all__ = ["ByteRange", "ContentRange"]

# Longer headers than this hold many ranges, which are answered with the whole blob anyway.
_MAX_HEADER = 256

_BYTE_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.ASCII | re.IGNORECASE)

# The specification writes "0-99". RFC 9110 writes "bytes 0-99/100", and clients send that too.
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?", re.ASCII)


class ByteRange(NamedTuple):
    """The bytes from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @classmethod
    def parse(cls, header: str, size: int) -> "ByteRange | None":
        """Read a ``Range`` header against content of ``size`` bytes.

        Returns ``None`` where the header is to be ignored and all content sent: an unknown unit, a malformed
        range, or several ranges, of which RFC 9110 allows a server to serve none.

        Raises:
            RangeNotSatisfiable: the one range asked for begins behind the end, or behind its own last byte
                (which RFC 9110 lets a server ignore, and the conformance program does not).
        """
        if len(header) > _MAX_HEADER:
            return None
        match = _BYTE_RANGE.fullmatch(header)
        if match is None:
            return None
        first, last = match.groups()
        if first:
            start, stop = int(first), int(last) + 1 if last else size
        elif last:
            start, stop = max(0, size - int(last)), size
        else:
            return None
        if start >= min(stop, size):
            raise RangeNotSatisfiable(size)
        return cls(start, min(stop, size))

    def header(self, size: int) -> str:
        """The ``Content-Range`` of an answer that holds this part of ``size`` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class ContentRange(NamedTuple):
    """Where a chunk says that it stands in its upload: from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @classmethod
    def parse(cls, header: str) -> "ContentRange":
        """Read the ``Content-Range`` of a chunk.

        Raises:
            UploadInvalid: it is not two numbers with a hyphen between them, the second not below the first.
        """
        match = _CONTENT_RANGE.fullmatch(header)
        if match is None:
            raise UploadInvalid("Content-Range is the first and the last position of the chunk: 0-99")
        start, stop = int(match[1]), int(match[2]) + 1
        if stop <= start:
            raise UploadInvalid("Content-Range ends before it starts")
        return cls(start, stop)

    @property
    def length(self) -> int:
        """How many bytes the chunk must have."""
        return self.stop - self.start
