"""Every answer that tells a client that it may not, cannot, or has to do it differently.

    OciError                        cannot be raised itself
    ├── NameInvalid             400 NAME_INVALID
    ├── NameUnknown             404 NAME_UNKNOWN
    ├── TagInvalid              400 MANIFEST_INVALID
    ├── DigestInvalid           400 DIGEST_INVALID
    ├── BlobUnknown             404 BLOB_UNKNOWN
    ├── UploadInvalid           400 BLOB_UPLOAD_INVALID
    │   └── UploadOutOfOrder    416 BLOB_UPLOAD_INVALID, and where to go on
    ├── UploadUnknown           404 BLOB_UPLOAD_UNKNOWN
    ├── SizeInvalid             400 SIZE_INVALID
    │   └── BlobTooLarge        413 SIZE_INVALID
    ├── RangeNotSatisfiable     416 SIZE_INVALID, and the size there is
    ├── ManifestInvalid         400 MANIFEST_INVALID
    │   └── ManifestTooLarge    413 MANIFEST_INVALID
    ├── ManifestUnknown         404 MANIFEST_UNKNOWN
    ├── ManifestBlobUnknown     404 MANIFEST_BLOB_UNKNOWN, and the digests
    ├── PreconditionFailed      412 DENIED
    ├── RequestInvalid          400 UNSUPPORTED
    │   ├── RequestTooLarge     431 UNSUPPORTED
    │   ├── RequestTooSlow      408 UNSUPPORTED
    │   └── TargetTooLong       414 UNSUPPORTED
    ├── EndpointUnknown         404 UNSUPPORTED
    ├── MethodNotAllowed        405 UNSUPPORTED, and the methods allowed
    │   └── RegistryReadOnly    405 UNSUPPORTED, and the methods allowed
    ├── TooManyRequests         429 TOOMANYREQUESTS, and when to come again
    │   └── Overloaded          503 TOOMANYREQUESTS, and when to come again
    ├── StorageFull             507 DENIED, and when to come again
    ├── QuotaExceeded           403 DENIED
    ├── Unauthorized            401 UNAUTHORIZED, and the challenge
    └── Denied                  403 DENIED

A class has one code and one status: another status is another class. The codes are the specification's fourteen,
and no others: it forbids them.

Spec: distribution-spec, "Error Codes".
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import ClassVar

__all__ = [
    "BlobTooLarge",
    "BlobUnknown",
    "Denied",
    "DigestInvalid",
    "EndpointUnknown",
    "ManifestBlobUnknown",
    "ManifestInvalid",
    "ManifestTooLarge",
    "ManifestUnknown",
    "MethodNotAllowed",
    "NameInvalid",
    "NameUnknown",
    "OciError",
    "OciErrorCode",
    "Overloaded",
    "PreconditionFailed",
    "QuotaExceeded",
    "RangeNotSatisfiable",
    "RegistryReadOnly",
    "RequestInvalid",
    "RequestTooLarge",
    "RequestTooSlow",
    "SizeInvalid",
    "StorageFull",
    "TagInvalid",
    "TargetTooLong",
    "TooManyRequests",
    "Unauthorized",
    "UploadInvalid",
    "UploadOutOfOrder",
    "UploadUnknown",
]


class OciErrorCode(StrEnum):
    """The specification's error codes, code-1 to code-14."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"


class OciError(Exception):
    """An error that the client is told about; ``code`` and ``status`` belong to the class."""

    code: ClassVar[OciErrorCode]
    status: ClassVar[int]

    def __init__(self, message: str) -> None:
        if type(self) is OciError:
            raise TypeError("raise one of its subclasses, which have a code and a status")
        super().__init__(message)
        self.message = message

    @property
    def detail(self) -> object:
        """What else the client may use to resolve the issue: anything that JSON can hold, or ``None``."""
        return None


class NameInvalid(OciError):
    """Raised when a repository name does not match the specification's grammar."""

    code, status = OciErrorCode.NAME_INVALID, 400


class NameUnknown(OciError):
    """Raised when a repository has never received anything."""

    code, status = OciErrorCode.NAME_UNKNOWN, 404


class TagInvalid(OciError):
    """Raised when a tag does not match the specification's grammar."""

    code, status = OciErrorCode.MANIFEST_INVALID, 400


class DigestInvalid(OciError):
    """Raised when a digest is malformed, of an unknown algorithm, or not that of the content."""

    code, status = OciErrorCode.DIGEST_INVALID, 400


class BlobUnknown(OciError):
    """Raised when a repository does not hold a blob."""

    code, status = OciErrorCode.BLOB_UNKNOWN, 404


class UploadInvalid(OciError):
    """Raised when a request of an upload session makes no sense."""

    code, status = OciErrorCode.BLOB_UPLOAD_INVALID, 400


class UploadOutOfOrder(UploadInvalid):
    """Raised when a chunk does not start where its session ends; carries the session to resume."""

    status = 416

    def __init__(self, name: str, upload_id: str, offset: int) -> None:
        super().__init__("a chunk must start where the upload ends")
        self.name, self.upload_id, self.offset = name, upload_id, offset


class UploadUnknown(OciError):
    """Raised when a repository has no such open upload session."""

    code, status = OciErrorCode.BLOB_UPLOAD_UNKNOWN, 404


class SizeInvalid(OciError):
    """Raised when fewer or more bytes arrived than were announced."""

    code, status = OciErrorCode.SIZE_INVALID, 400


class BlobTooLarge(SizeInvalid):
    """Raised when a blob is larger than this registry takes, as soon as that is known."""

    status = 413


class RangeNotSatisfiable(OciError):
    """Raised when the part of a blob that is asked for begins behind its end; carries its size."""

    code, status = OciErrorCode.SIZE_INVALID, 416

    def __init__(self, size: int) -> None:
        super().__init__("the range begins behind the end")
        self.size = size


class ManifestInvalid(OciError):
    """Raised when a manifest is not one that clients could read in one way only."""

    code, status = OciErrorCode.MANIFEST_INVALID, 400


class ManifestTooLarge(ManifestInvalid):
    """Raised when a manifest is larger than the limit, as soon as that is known."""

    status = 413


class ManifestUnknown(OciError):
    """Raised when a repository has no such tag or manifest."""

    code, status = OciErrorCode.MANIFEST_UNKNOWN, 404


class ManifestBlobUnknown(OciError):
    """Raised when a manifest refers to blobs or manifests that its repository does not hold; carries the digests."""

    # The specification's table gives end-7 a 404 among its failures, and distribution's clients look at the code.
    code, status = OciErrorCode.MANIFEST_BLOB_UNKNOWN, 404

    def __init__(self, missing: Iterable[str]) -> None:
        super().__init__("the manifest refers to content that this repository does not hold")
        self.missing = sorted(missing)

    @property
    def detail(self) -> object:
        """The digests that are missing."""
        return {"missing": self.missing}


class PreconditionFailed(OciError):
    """Raised when ``If-Match`` or ``If-None-Match`` forbids a change. Spec: RFC 9110 section 13."""

    code, status = OciErrorCode.DENIED, 412


class RequestInvalid(OciError):
    """Raised when the request itself is broken, whatever it asks for."""

    code, status = OciErrorCode.UNSUPPORTED, 400


class RequestTooLarge(RequestInvalid):
    """Raised when there are more header fields, or more bytes in them, than any client sends."""

    status = 431


class RequestTooSlow(RequestInvalid):
    """Raised when the body stops before its end, or comes slower than any client's."""

    status = 408


class TargetTooLong(RequestInvalid):
    """Raised when path and query are longer than any client sends."""

    status = 414


class EndpointUnknown(OciError):
    """Raised when no endpoint has the form of the path."""

    code, status = OciErrorCode.UNSUPPORTED, 404


class MethodNotAllowed(OciError):
    """Raised when the endpoint exists, but not with this method; carries the methods that it has."""

    code, status = OciErrorCode.UNSUPPORTED, 405

    def __init__(self, allowed: Sequence[str], message: str = "this endpoint does not have that method") -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class RegistryReadOnly(MethodNotAllowed):
    """Raised when a method would change something where nothing may be; carries the methods that do not."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(allowed, "this registry is read-only")


class TooManyRequests(OciError):
    """Raised when there are too many of what the request would begin; carries the seconds to wait."""

    code, status = OciErrorCode.TOOMANYREQUESTS, 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(TooManyRequests):
    """Raised when as many requests are being answered as can be at a time, whoever they come from."""

    status = 503


class StorageFull(OciError):
    """Raised when there is no room for more content, and before that is tried; carries the seconds to wait."""

    code, status = OciErrorCode.DENIED, 507

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExceeded(OciError):
    """Raised when a repository would have more than it may, as soon as that is known."""

    # Not 413, since the request need not be large, nor 429 or 507: clients would try again, which does not help.
    code, status = OciErrorCode.DENIED, 403


class Unauthorized(OciError):
    """Raised when it is not known who the client is, or who it claims to be is not shown; carries the challenge."""

    code, status = OciErrorCode.UNAUTHORIZED, 401

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class Denied(OciError):
    """Raised when the client is known, and may not do this."""

    code, status = OciErrorCode.DENIED, 403
