"""A request, as typed values.

Limits are those of every registry here: nothing a client needs comes near them, and what passes them is refused
before it costs anything.

Spec: RFC 9110, RFC 9112; distribution-spec, "Listing Tags".
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

from ferro_oci_server.api.deadlines import Pace
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.core.access import OPEN, Access
from ferro_oci_server.core.intake import ClientVanished
from ferro_oci_server.core.records import Condition, UploadId
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import (
    DigestInvalid,
    ManifestTooLarge,
    NameInvalid,
    RequestInvalid,
    RequestTooLarge,
    TargetTooLong,
    UploadUnknown,
)
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.ranges import ByteRange, ContentRange
from ferro_oci_server.oci.reference import Reference, Tag, parse_reference

__all__ = ["ACCESS", "CERTIFICATE", "MAX_BODY_BYTES", "REQUEST", "Request"]

ACCESS = "ferro_oci_server.access"
"""Where a scope has the ``Access`` of its client, if middleware has put one there."""

CERTIFICATE = "ferro_oci_server.certificate"
"""Where a scope has the certificate of its client's connection, DER or PEM, if middleware has put it there."""

REQUEST = "ferro_oci_server.request"
"""Where a scope has its ``Request``, if middleware has read it: what it judged by is what is served."""

MAX_BODY_BYTES = 4 * 1024 * 1024
"""The largest body that is read whole: a manifest. The specification wants at least 4 megabytes."""

_MAX_TARGET = 8 * 1024
_MAX_HEADER_BYTES = 32 * 1024
_MAX_HEADERS = 100
_MAX_PARAMETERS = 200
_MAX_TAGS = 100
_MAX_AUTHORIZATION = 16 * 1024

_MAX_PAGE = 1000
_LENGTH = re.compile(rb"[0-9]{1,19}")

# What stands in a path without being encoded: RFC 3986 section 3.3.
_PATH = "/:@!$&'()*+,;="

_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)

_VERSIONS = frozenset({"1.0", "1.1", "2", "2.0"})

# RFC 3986 section 3.2: a name, an address in brackets, and a port.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class Request:
    """One request. ``name`` and ``tail`` are what stands in the places of its path's pattern, undecoded."""

    __slots__ = (
        "_receive",
        "_repository",
        "_scope",
        "added",
        "headers",
        "limits",
        "method",
        "name",
        "path",
        "received",
        "root",
        "stalled",
        "tail",
        "target",
    )

    def __init__(self, scope: Mapping[str, Any], receive: Any, limits: Limits) -> None:
        self._scope = scope
        self.limits = limits
        self._receive = receive
        self.method: str = scope["method"]
        self.root = _root_of(scope)
        """The path where the application is mounted, encoded; empty as a rule."""
        self.path = _path_of(scope).removeprefix(self.root)
        """The undecoded path below that place."""
        self.added: Sequence[tuple[bytes, bytes]] = ()
        """Headers that the response gets, whatever it is: from middleware that has read this request."""
        self.target: Any = None
        """What its path is, once ``routes.target`` has read it; ``name`` and ``tail`` come from there."""
        self.name = ""
        self.tail = ""
        self._repository: RepositoryName | None = None
        self.received = 0
        """How many bytes of its body have been read."""
        self.stalled = False
        """Whether the client is taken for gone because its body stopped, or trickled."""
        self.headers: dict[bytes, bytes] = {}

    @classmethod
    def of(cls, scope: Mapping[str, Any], receive: Any, limits: Limits) -> "Request":
        """The request of a scope, as middleware has read it for the same place; else read here."""
        request: Request | None = scope.get(REQUEST)
        if request is None or request._scope.get("root_path", "") != scope.get("root_path", ""):
            return cls(scope, receive, limits)
        request._scope, request._receive, request.limits = scope, receive, limits
        return request

    def check(self) -> None:
        """Look at the head as a whole. Once is enough.

        Raises:
            TargetTooLong, RequestTooLarge: it is larger than any client's.
            RequestInvalid: its version of HTTP is unknown, there is not exactly one host, or there are two framings,
                or a header twice that may be there once.
        """
        scope, headers = self._scope, self.headers
        if headers:
            return
        if scope["http_version"] not in _VERSIONS:
            raise RequestInvalid("this version of HTTP is not spoken here")
        if len(self.path) + len(scope["query_string"]) > _MAX_TARGET:
            raise TargetTooLong("the path and the query are too long")
        lines = scope["headers"]
        size = 0
        for key, value in lines:
            size += len(key) + len(value)
            if key in headers:
                if key in _ONCE:
                    raise RequestInvalid("a header that may be there once is there twice")
                value = headers[key] + b", " + value  # noqa: PLW2901
            headers[key] = value
        if len(lines) > _MAX_HEADERS or size > _MAX_HEADER_BYTES:
            raise RequestTooLarge("there are too many headers")
        host = headers.get(b"host")
        if host is None or _HOST.fullmatch(host) is None:
            raise RequestInvalid("there must be one Host")
        if len(headers.get(b"authorization", b"")) > _MAX_AUTHORIZATION:
            raise RequestTooLarge("Authorization is too long")
        _check_framing(headers, scope["http_version"])

    @property
    def access(self) -> Access:
        """What its client may see and change: everything, where nothing stands above the application."""
        access: Access = self._scope.get(ACCESS, OPEN)
        return access

    @property
    def certificate(self) -> bytes | None:
        """The certificate of its connection, DER or PEM: of middleware, or else of ASGI's TLS extension."""
        content: bytes | None = self._scope.get(CERTIFICATE)
        if content is not None:
            return content
        chain = ((self._scope.get("extensions") or {}).get("tls") or {}).get("client_cert_chain")
        return chain[0].encode("ascii", "replace") if chain else None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        scheme: str = self._scope.get("scheme", "http")
        return scheme

    @property
    def has_own_connection(self) -> bool:
        """Whether no other request shares its connection, as in HTTP/1, so that closing it ends nothing else."""
        return self._scope["http_version"] in ("1.0", "1.1")

    @property
    def client(self) -> str:
        """The address of the peer; empty where the server does not tell."""
        client = self._scope.get("client")
        return client[0] if client else ""

    def header(self, key: bytes) -> str | None:
        """A header's value; bytes outside ASCII are as in latin-1."""
        value = self.headers.get(key)
        return None if value is None else value.decode("latin-1")

    def repository(self) -> RepositoryName:
        """The repository.

        Raises:
            NameInvalid: the path holds no valid name.
        """
        name = self._repository
        if name is None or name != self.name:
            name = self._repository = RepositoryName.parse(self.name)
        return name

    def digest(self) -> Digest:
        """The digest at the end of the path.

        Raises:
            DigestInvalid: it is none.
        """
        return Digest.parse(unquote(self.tail))

    def reference(self) -> Reference:
        """The tag or digest at the end of the path.

        Raises:
            DigestInvalid, TagInvalid: it is neither.
        """
        return parse_reference(unquote(self.tail))

    def upload(self) -> UploadId:
        """The upload session at the end of the path.

        Raises:
            UploadUnknown: it is not of the form that sessions here have.
        """
        if _UUID.fullmatch(self.tail) is None:
            raise UploadUnknown("this repository has no such open upload")
        return UploadId(self.tail)

    def query(self) -> dict[str, list[str]]:
        """The query's parameters, each with its values.

        A plus sign is a plus sign: media types have them, and nothing that is asked for here has a space.

        Raises:
            RequestInvalid: it is not UTF-8, or has too many parameters.
        """
        text = self._scope["query_string"].decode("latin-1")
        parameters: dict[str, list[str]] = {}
        fields = text.split("&") if text else []
        if len(fields) > _MAX_PARAMETERS:
            raise RequestInvalid("there are too many parameters")
        try:
            for field in fields:
                key, _, value = field.partition("=")
                parameters.setdefault(unquote(key, errors="strict"), []).append(unquote(value, errors="strict"))
        except UnicodeDecodeError:
            raise RequestInvalid("the query is not UTF-8") from None
        return parameters

    def parameter(self, key: str) -> str | None:
        """A parameter that may be there once.

        Raises:
            RequestInvalid: it is there twice, so that two readers could see two things.
        """
        values = self.query().get(key)
        if values is None:
            return None
        if len(values) > 1:
            raise RequestInvalid(f"{key} is there twice")
        return values[0]

    def page(self) -> tuple[str, int]:
        """Where a page starts, and how many entries it may have: ``last`` and ``n``, which is at most 1000.

        Raises:
            RequestInvalid: ``n`` is not a number, or ``last`` has control characters.
        """
        last = self.parameter("last") or ""
        count = self.parameter("n")
        if _UNPRINTABLE.search(last):
            raise RequestInvalid("last is not the last entry of a page")
        if count is None:
            return last, _MAX_PAGE
        if _DIGITS.fullmatch(count) is None:
            raise RequestInvalid("n is a number of entries")
        return last, min(int(count), _MAX_PAGE)

    def mount(self) -> tuple[Digest, RepositoryName | None] | None:
        """The blob to mount, and the repository to take it from (``None``: any); ``None`` where nothing can be mounted.

        A digest or a source that cannot be read is like one that does not exist.
        """
        digest, source = self.parameter("mount"), self.parameter("from")
        try:
            if digest is None:
                return None
            return Digest.parse(digest), RepositoryName.parse(source) if source is not None else None
        except (DigestInvalid, NameInvalid):
            return None

    def tags(self) -> list[Tag]:
        """The values of ``tag``.

        Raises:
            TagInvalid: one is not a tag.
            TargetTooLong: there are more than a hundred.
        """
        values = self.query().get("tag", [])
        if len(values) > _MAX_TAGS:
            raise TargetTooLong(f"there are more than {_MAX_TAGS} tags")
        return [Tag.parse(value) for value in values]

    def content_type(self) -> str | None:
        """The media type of the body, without parameters."""
        value = self.header(b"content-type")
        return value.partition(";")[0].strip() if value else None

    def content_range(self) -> ContentRange | None:
        """Where the body belongs in its upload.

        Raises:
            UploadInvalid: the header is there and cannot be read.
        """
        value = self.header(b"content-range")
        return None if value is None else ContentRange.parse(value)

    def has_content(self, digest: Digest) -> bool:
        """Whether ``If-None-Match`` says that the client has this content already."""
        value = self.header(b"if-none-match")
        return value is not None and (value.strip() == "*" or digest in _ENTITY_TAG.findall(value))

    def byte_range(self, digest: Digest, size: int) -> ByteRange | None:
        """The one part that is asked for of content of ``size`` bytes; ``None`` for all of it.

        Raises:
            RangeNotSatisfiable: it begins behind the end.
        """
        value = self.header(b"range")
        if value is None or self.header(b"if-range") not in (None, f'"{digest}"'):
            return None
        return ByteRange.parse(value, size)

    def condition(self) -> Condition | None:
        """What must be so for a change to happen.

        Raises:
            RequestInvalid: ``If-Match`` or ``If-None-Match`` is there and cannot be read.
        """
        match, none_match = self.header(b"if-match"), self.header(b"if-none-match")
        if match is None and none_match is None:
            return None
        return Condition(match=_entity_tags(match), none_match=_entity_tags(none_match))

    async def content(self, most: int) -> bytes | None:
        """The whole body, if it has at most so many bytes.

        Raises:
            ClientVanished: the client went away before it had sent it all, or stopped sending.
        """
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > most:
                return None
        return bytes(content)

    async def skip(self) -> None:
        """Take the body of a request that is refused, if it is no larger than a manifest.

        A proxy that cannot send the rest of it does not read the answer, and gives one of its own.
        """
        if self.announced > MAX_BODY_BYTES or self.header(b"expect") is not None:
            return
        with suppress(ClientVanished):
            async for _ in self.pieces():
                if self.received > MAX_BODY_BYTES:
                    return

    async def gone(self) -> None:
        """Wait until the client goes away, or the server cannot tell; what may still come is dropped."""
        with suppress(Exception):
            while (await self._receive())["type"] != "http.disconnect":
                pass

    async def manifest(self) -> bytes:
        """The whole body, which is a manifest.

        Raises:
            ManifestTooLarge: it is, or claims to be, larger than ``MAX_BODY_BYTES``.
            ClientVanished: the client went away before it had sent it all, or stopped sending.
        """
        if self.announced > MAX_BODY_BYTES:
            raise ManifestTooLarge("a manifest is at most 4 MiB")
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > MAX_BODY_BYTES:
                raise ManifestTooLarge("a manifest is at most 4 MiB")
        return bytes(content)

    @property
    def announced(self) -> int:
        """How many bytes the body claims to have; 0 where it does not."""
        return int(self.headers.get(b"content-length", b"0"))

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, a piece at a time.

        Raises:
            ClientVanished: the client went away before it had sent it all, or stopped sending.
        """
        pace, more = Pace(self.limits), True
        try:
            while more:
                message = await pace.next(self._receive, self.received)
                if message["type"] == "http.disconnect":
                    raise ClientVanished
                more = message.get("more_body", False)
                piece = message.get("body", b"")
                if piece:
                    self.received += len(piece)
                    yield piece
        except TimeoutError:
            self.stalled = True
            raise ClientVanished from None
        finally:
            pace.stop()


_ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-range",
        b"content-type",
        b"host",
        b"range",
        b"transfer-encoding",
    }
)


def _root_of(scope: Mapping[str, Any]) -> str:
    root = scope.get("root_path")
    return quote(root, safe=_PATH).rstrip("/") if root else ""


def _path_of(scope: Mapping[str, Any]) -> str:
    raw: bytes | None = scope.get("raw_path")
    # A server need not give the path as it came; then it is as if it had come in its plainest form.
    return quote(scope["path"], safe=_PATH) if raw is None else raw.decode("latin-1").partition("?")[0]


def _check_framing(headers: Mapping[bytes, bytes], version: str) -> None:
    length = headers.get(b"content-length")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise RequestInvalid("Content-Length is a number of bytes")
    if b"transfer-encoding" in headers and (length is not None or version == "1.0"):
        raise RequestInvalid("Transfer-Encoding stands alone, and in HTTP/1.1")


def _entity_tags(header: str | None) -> frozenset[str] | None:
    if header is None:
        return frozenset()
    if header.strip() == "*":
        return None
    tags = frozenset(_ENTITY_TAG.findall(header))
    if not tags:
        raise RequestInvalid("entity tags stand in quotes")
    return tags
