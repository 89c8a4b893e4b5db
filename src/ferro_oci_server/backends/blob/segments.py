"""What a bucket has of an upload and of its blob: names of objects, and the texts that tell which of them count.

    bytes/<upload id>/<random>           a segment: what one chunk brought
    bytes/<upload id>/-discarded         the upload is being discarded
    blobs/<upload id>/sha256-abcdef...   a marker: this upload is a blob. Its location is what follows "blobs/"

A blob is its segments, one behind the other, as its marker lists them. While it is an upload, the list is the note in
its session. An object is never changed, and its name is never used again.

    <name>:<bytes that count>,<name>:<bytes that count>,@<name of a page>:<bytes of all segments on it>,...

An upload of very many chunks has the beginning of its list in objects of its own, as pages: so what each chunk changes
in the session stays short.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from secrets import token_hex

from ferro_oci_server.oci.digest import Digest

__all__ = [
    "BLOBS",
    "DISCARDED",
    "Marker",
    "MarkerInvalid",
    "Segment",
    "first_bytes",
    "folder_of",
    "format_segments",
    "is_upload_id",
    "key_of",
    "location_of",
    "new_name",
    "parse_location",
    "parse_segments",
    "total",
]

BLOBS = "blobs"
"""The folder of the markers."""

# Sorts before all segments, so that whoever lists them sees it first.
DISCARDED = "-discarded"

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UPLOAD_ID = re.compile(_UUID, re.ASCII)
_LOCATION = re.compile(rf"({_UUID})/(sha256-[0-9a-f]{{64}}|sha512-[0-9a-f]{{128}})", re.ASCII)
_ENTRY = re.compile(r"(@?)([0-9a-f]{16}):([1-9][0-9]{0,17})", re.ASCII)

_VERSION = 1


class MarkerInvalid(ValueError):
    """Raised when the content of a marker, or a list of segments, is none that was written here."""


@dataclass(frozen=True, slots=True)
class Segment:
    """``size`` bytes at the beginning of an object, or, as a page, the segments that an object lists."""

    name: str
    size: int
    is_page: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """What a blob is made of."""

    digest: Digest
    segments: tuple[Segment, ...]
    is_object: bool
    """Whether it is one whole object, so that a client may as well get that."""

    @property
    def size(self) -> int:
        """The bytes of the blob."""
        return total(self.segments)

    def pack(self) -> bytes:
        """The content of the marker's object."""
        content = {
            "version": _VERSION,
            "digest": self.digest,
            "size": self.size,
            "segments": format_segments(self.segments),
            "is_object": self.is_object,
        }
        return json.dumps(content).encode("ascii")

    @classmethod
    def unpack(cls, content: bytes, location: str) -> "Marker":
        """Read back what is at a location.

        Raises:
            MarkerInvalid: it was not written here, or is damaged.
        """
        try:
            fields = json.loads(content)
            marker = cls(_digest_of(location), tuple(parse_segments(fields["segments"])), fields["is_object"] is True)
            if (_VERSION, marker.digest, marker.size) != (fields["version"], fields["digest"], fields["size"]):
                raise MarkerInvalid("its fields do not agree")
        except (ValueError, KeyError, TypeError) as exc:
            raise MarkerInvalid(str(exc)) from exc
        return marker


def is_upload_id(text: str) -> bool:
    """Whether a text has the form of an upload's id."""
    return _UPLOAD_ID.fullmatch(text) is not None


def location_of(upload: str, digest: Digest) -> str:
    """Where the blob of an upload will be."""
    return f"{upload}/{digest.algorithm}-{digest.encoded}"


def parse_location(text: str) -> str | None:
    """The upload that became the blob at a location; ``None`` for text that is no location."""
    match = _LOCATION.fullmatch(text)
    return None if match is None else match[1]


def folder_of(upload: str) -> str:
    """The folder of an upload's segments."""
    return f"bytes/{upload}"


def key_of(upload: str, name: str) -> str:
    """The key of a segment, or of a page."""
    return f"{folder_of(upload)}/{name}"


def new_name() -> str:
    """A name that no object of an upload has."""
    return token_hex(8)


def total(segments: Iterable[Segment]) -> int:
    """How many bytes there are in all."""
    return sum(segment.size for segment in segments)


def format_segments(segments: Iterable[Segment]) -> str:
    """A list of segments as text."""
    return ",".join(f"{'@' if it.is_page else ''}{it.name}:{it.size}" for it in segments)


def parse_segments(text: str) -> list[Segment]:
    """Read a list of segments back.

    Raises:
        MarkerInvalid: it is none.
    """
    segments = []
    for entry in text.split(",") if text else ():
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise MarkerInvalid("it is no list of segments")
        segments.append(Segment(match[2], int(match[3]), match[1] == "@"))
    return segments


def first_bytes(segments: Sequence[Segment], size: int) -> list[Segment]:
    """The segments of the first ``size`` bytes, of which there must be as many; the last may be cut, also a page."""
    kept = []
    for segment in segments:
        if size == 0:
            break
        kept.append(Segment(segment.name, min(segment.size, size), segment.is_page))
        size -= kept[-1].size
    return kept


def _digest_of(location: str) -> Digest:
    return Digest(location.partition("/")[2].replace("-", ":", 1))
