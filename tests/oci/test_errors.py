"""Errors: their codes and statuses, one row each."""

import inspect

import pytest

from ferro_oci_server.oci import errors
from ferro_oci_server.oci.errors import OciError, OciErrorCode

# distribution-spec, "Error Codes", code-1 to code-14.
SPECIFIED = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
]

ROWS = {
    ("BlobTooLarge", "SIZE_INVALID", 413),
    ("BlobUnknown", "BLOB_UNKNOWN", 404),
    ("Denied", "DENIED", 403),
    ("DigestInvalid", "DIGEST_INVALID", 400),
    ("EndpointUnknown", "UNSUPPORTED", 404),
    ("ManifestBlobUnknown", "MANIFEST_BLOB_UNKNOWN", 404),
    ("ManifestInvalid", "MANIFEST_INVALID", 400),
    ("ManifestTooLarge", "MANIFEST_INVALID", 413),
    ("ManifestUnknown", "MANIFEST_UNKNOWN", 404),
    ("MethodNotAllowed", "UNSUPPORTED", 405),
    ("NameInvalid", "NAME_INVALID", 400),
    ("NameUnknown", "NAME_UNKNOWN", 404),
    ("Overloaded", "TOOMANYREQUESTS", 503),
    ("PreconditionFailed", "DENIED", 412),
    ("QuotaExceeded", "DENIED", 403),
    ("RangeNotSatisfiable", "SIZE_INVALID", 416),
    ("RegistryReadOnly", "UNSUPPORTED", 405),
    ("RequestInvalid", "UNSUPPORTED", 400),
    ("RequestTooLarge", "UNSUPPORTED", 431),
    ("RequestTooSlow", "UNSUPPORTED", 408),
    ("SizeInvalid", "SIZE_INVALID", 400),
    ("StorageFull", "DENIED", 507),
    ("TagInvalid", "MANIFEST_INVALID", 400),
    ("TargetTooLong", "UNSUPPORTED", 414),
    ("TooManyRequests", "TOOMANYREQUESTS", 429),
    ("Unauthorized", "UNAUTHORIZED", 401),
    ("UploadInvalid", "BLOB_UPLOAD_INVALID", 400),
    ("UploadOutOfOrder", "BLOB_UPLOAD_INVALID", 416),
    ("UploadUnknown", "BLOB_UPLOAD_UNKNOWN", 404),
}


def classes() -> list[type[OciError]]:
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, OciError) and value is not OciError
    ]


def test_every_class_has_its_code_and_its_status() -> None:
    assert {(error.__name__, str(error.code), error.status) for error in classes()} == ROWS


def test_the_codes_are_those_of_the_specification() -> None:
    assert [str(code) for code in OciErrorCode] == SPECIFIED


def test_every_status_is_the_clients_but_those_of_limits_that_it_did_not_meet() -> None:
    others = {error for error in classes() if not 400 <= error.status < 500}
    assert others == {errors.Overloaded, errors.StorageFull}


def test_the_drawing_shows_every_row() -> None:
    drawing = inspect.getdoc(errors) or ""
    lines = [line.replace("│", " ").replace("├──", " ").replace("└──", " ").split() for line in drawing.splitlines()]
    drawn = {(line[0], line[2].rstrip(","), int(line[1])) for line in lines if len(line) > 2 and line[1].isdigit()}
    assert drawn == ROWS


@pytest.mark.parametrize("error", classes())
def test_every_class_says_when_it_is_raised(error: type[OciError]) -> None:
    assert (error.__doc__ or "").startswith("Raised when ")


def test_the_base_class_cannot_be_raised() -> None:
    with pytest.raises(TypeError):
        OciError("whatever")


def test_missing_content_is_named_in_order() -> None:
    assert errors.ManifestBlobUnknown(["b", "a"]).detail == {"missing": ["a", "b"]}


def test_an_error_has_no_detail_where_it_has_nothing_to_add() -> None:
    assert errors.NameInvalid("why").detail is None
