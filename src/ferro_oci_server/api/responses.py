"""Responses: every header and every body that this registry sends is made here.

Paths are relative, and made from validated parts only: no header of the request is ever echoed. The one place elsewhere
that a client is sent to is what the store of blobs gave.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ferro_oci_server.core.ports import BlobReader, StoreFull, StoreUnavailable
from ferro_oci_server.core.records import Blob, ManifestInfo, ManifestRecord, StoredManifest, UploadSession
from ferro_oci_server.oci.descriptor import Descriptor
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import (
    MethodNotAllowed,
    OciError,
    RangeNotSatisfiable,
    RequestTooSlow,
    StorageFull,
    TooManyRequests,
    Unauthorized,
    UploadOutOfOrder,
)
from ferro_oci_server.oci.media_types import OCI_IMAGE_INDEX, OCTET_STREAM
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.ranges import ByteRange
from ferro_oci_server.oci.reference import Reference, Tag

__all__ = [
    "Response",
    "blob",
    "blob_created",
    "blob_elsewhere",
    "blob_info",
    "catalog",
    "deleted",
    "error",
    "json_response",
    "manifest",
    "manifest_created",
    "manifest_info",
    "not_modified",
    "referrers",
    "tags",
    "text",
    "too_slow",
    "upload_accepted",
    "upload_cancelled",
    "upload_status",
]

Headers = list[tuple[bytes, bytes]]

# Content is anybody's, and may be HTML: no browser may take it for a page of this origin.
_UNTRUSTED: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
]

_RETRY_AFTER = b"2"

# Somebody has to make room.
_RETRY_WHEN_FULL = b"60"


@dataclass(slots=True)
class Response:
    """A status, headers, and either a body or a blob to stream and close."""

    status: int
    headers: Headers
    body: bytes = b""
    reader: BlobReader | None = None
    byte_range: ByteRange | None = None


def json_response(status: int, document: Any, headers: Headers | None = None) -> Response:
    """A document of our own."""
    return _sized(status, b"application/json", _compact(document), headers or [])


def text(status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> Response:
    """A text of our own."""
    return _sized(status, content_type.encode("ascii"), body, [])


def error(exc: Exception, root: str, reference: str = "") -> Response:
    """The answer to whatever went wrong, in the specification's shape.

    Nothing of an error that is not the client's is shown, but ``reference``, which names its line in the log.
    """
    if isinstance(exc, OciError):
        entry: dict[str, Any] = {"code": exc.code, "message": exc.message}
        if exc.detail is not None:
            entry["detail"] = exc.detail
        return json_response(exc.status, {"errors": [entry]}, _error_headers(exc, root))
    if isinstance(exc, StoreFull):
        status, message, headers = 507, "the storage is full", [(b"retry-after", _RETRY_WHEN_FULL)]
    elif isinstance(exc, StoreUnavailable):
        status, message, headers = 503, "the registry cannot do this now", [(b"retry-after", _RETRY_AFTER)]
    else:
        status, message, headers = 500, "the registry failed", []
    entry = {"code": "UNKNOWN", "message": message, "detail": {"reference": reference}}
    return json_response(status, {"errors": [entry]}, headers)


def too_slow(root: str, closing: bool) -> Response:
    """408 for a body that is not waited for any more; with ``closing`` the connection ends behind it."""
    response = error(RequestTooSlow("the body does not come"), root)
    if closing:
        response.headers.append((b"connection", b"close"))
    return response


def manifest(stored: StoredManifest) -> Response:
    """GET of a manifest: the bytes and the type that were pushed."""
    headers = _manifest_headers(stored.digest, stored.media_type, len(stored.content))
    return Response(200, headers, stored.content)


def manifest_info(info: ManifestInfo) -> Response:
    """HEAD of a manifest."""
    return Response(200, _manifest_headers(info.digest, info.media_type, info.size))


def manifest_created(
    root: str, name: RepositoryName, reference: Reference, record: ManifestRecord, tags: Sequence[Tag]
) -> Response:
    """201 with the place of a manifest; says that its subject was noticed, and which ``tag=`` were taken."""
    headers = [_location(f"{root}/v2/{name}/manifests/{reference}"), *_digest(record.digest)]
    if record.subject is not None:
        headers.append((b"oci-subject", record.subject.encode("ascii")))
    headers.extend((b"oci-tag", tag.encode("ascii")) for tag in tags)
    return _empty(201, headers)


def blob(digest: Digest, reader: BlobReader, byte_range: ByteRange | None) -> Response:
    """GET of a blob, or of a part of it."""
    if byte_range is None:
        return Response(200, _blob_headers(digest, reader.size), reader=reader)
    headers = _blob_headers(digest, byte_range.stop - byte_range.start)
    headers.append((b"content-range", byte_range.header(reader.size).encode("ascii")))
    return Response(206, headers, reader=reader, byte_range=byte_range)


def blob_elsewhere(digest: Digest, url: str) -> Response:
    """307 for a GET of a blob, or of a part of it, that a store answers. The link is for this client alone."""
    headers = [_location(url), (b"docker-content-digest", digest.encode("ascii")), (b"cache-control", b"no-store")]
    return _empty(307, headers)


def blob_info(stored: Blob) -> Response:
    """HEAD of a blob."""
    return Response(200, _blob_headers(stored.digest, stored.size))


def blob_created(root: str, name: RepositoryName, stored: Blob) -> Response:
    """201 with the place of a blob that was uploaded or mounted."""
    return _empty(201, [_location(f"{root}/v2/{name}/blobs/{stored.digest}"), *_digest(stored.digest)])


def not_modified(digest: Digest) -> Response:
    """304: the client has it."""
    return Response(304, _digest(digest))


def upload_accepted(root: str, session: UploadSession, chunk_min_length: int) -> Response:
    """202 for a session that was started or has taken a chunk."""
    headers = _upload_headers(root, session.repository, session.id, session.offset)
    headers.append((b"oci-chunk-min-length", b"%d" % chunk_min_length))
    return _empty(202, headers)


def upload_status(root: str, session: UploadSession) -> Response:
    """204 with where a session stands."""
    return Response(204, _upload_headers(root, session.repository, session.id, session.offset))


def upload_cancelled() -> Response:
    """204: the session has ended."""
    return Response(204, [])


def deleted() -> Response:
    """202 for a tag, a manifest or a blob that is no longer there."""
    return _empty(202, [])


def tags(root: str, name: RepositoryName, entries: Sequence[Tag], more: bool, n: int) -> Response:
    """A page of tags."""
    headers = _next(f"{root}/v2/{name}/tags/list", {"n": n}, entries[-1] if more else None)
    return json_response(200, {"name": name, "tags": entries}, headers)


def catalog(root: str, entries: Sequence[RepositoryName], more: bool, n: int) -> Response:
    """A page of repositories."""
    headers = _next(f"{root}/v2/_catalog", {"n": n}, entries[-1] if more else None)
    return json_response(200, {"repositories": entries}, headers)


def referrers(
    root: str,
    place: tuple[RepositoryName, Digest],
    entries: Sequence[Descriptor],
    more: bool,
    n: int,
    artifact_type: str | None,
) -> Response:
    """A page of referrers: an image index."""
    name, subject = place
    parameters: dict[str, Any] = {"n": n}
    if artifact_type is not None:
        parameters["artifactType"] = artifact_type
    last = entries[-1].digest if more else None
    headers = _next(f"{root}/v2/{name}/referrers/{subject}", parameters, last)
    if artifact_type is not None:
        headers.append((b"oci-filters-applied", b"artifactType"))
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_INDEX,
        "manifests": [descriptor.as_json() for descriptor in entries],
    }
    return _sized(200, OCI_IMAGE_INDEX.encode("ascii"), _compact(index), headers)


def _compact(document: Any) -> bytes:
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    # All that has no UTF-8 is half of a surrogate pair, in an annotation, and JSON escapes it as Python does.
    return body.encode("utf-8", "backslashreplace")


def _sized(status: int, content_type: bytes, body: bytes, headers: Headers) -> Response:
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    return Response(status, head, body)


def _empty(status: int, headers: Headers) -> Response:
    return Response(status, [(b"content-length", b"0"), *headers])


def _location(path: str) -> tuple[bytes, bytes]:
    return b"location", path.encode("ascii")


def _digest(digest: Digest) -> Headers:
    return [(b"docker-content-digest", digest.encode("ascii")), (b"etag", f'"{digest}"'.encode("ascii"))]


def _manifest_headers(digest: Digest, media_type: str, size: int) -> Headers:
    return [
        (b"content-type", media_type.encode("ascii")),
        (b"content-length", b"%d" % size),
        *_digest(digest),
        *_UNTRUSTED,
    ]


def _blob_headers(digest: Digest, length: int) -> Headers:
    return [
        (b"content-type", OCTET_STREAM.encode("ascii")),
        (b"content-length", b"%d" % length),
        (b"accept-ranges", b"bytes"),
        *_digest(digest),
        *_UNTRUSTED,
    ]


def _upload_headers(root: str, name: str, upload: str, offset: int) -> Headers:
    # "0-0" stands for nothing and for one byte alike: clients know no other word for an empty session.
    return [
        _location(f"{root}/v2/{name}/blobs/uploads/{upload}"),
        (b"range", b"0-%d" % max(0, offset - 1)),
        (b"docker-upload-uuid", upload.encode("ascii")),
    ]


def _error_headers(exc: OciError, root: str) -> Headers:
    if isinstance(exc, UploadOutOfOrder):
        return _upload_headers(root, exc.name, exc.upload_id, exc.offset)
    if isinstance(exc, RangeNotSatisfiable):
        return [(b"content-range", b"bytes */%d" % exc.size)]
    if isinstance(exc, MethodNotAllowed):
        return [(b"allow", ", ".join(exc.allowed).encode("ascii"))]
    if isinstance(exc, Unauthorized):
        return [(b"www-authenticate", exc.challenge.encode("ascii"))]
    if isinstance(exc, TooManyRequests | StorageFull):
        return [(b"retry-after", b"%d" % exc.retry_after)]
    return []


def _next(path: str, parameters: Mapping[str, Any], last: str | None) -> Headers:
    """The ``Link`` to the page behind ``last``. Spec: RFC 5988."""
    if last is None:
        return []
    pairs: Iterable[tuple[str, Any]] = {"last": last, **parameters}.items()
    query = "&".join(f"{key}={quote(str(value), safe=':')}" for key, value in pairs)
    return [(b"link", f'<{path}?{query}>; rel="next"'.encode("ascii"))]
