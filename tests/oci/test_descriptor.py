"""Descriptors: what a registry reads in them, and what it leaves alone."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.oci.descriptor import Descriptor
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import ManifestInvalid
from ferro_oci_server.testing.images import LAYER_TYPE, describe

DIGEST = Digest.of(b"content")
VALUE = describe(b"content", LAYER_TYPE)


def test_the_three_fields_that_must_be_there_are_read() -> None:
    assert Descriptor.read(VALUE) == Descriptor(LAYER_TYPE, DIGEST, 7)


@pytest.mark.parametrize("field", ["mediaType", "digest", "size"])
def test_each_of_the_three_must_be_there(field: str) -> None:
    with pytest.raises(ManifestInvalid):
        Descriptor.read({key: value for key, value in VALUE.items() if key != field})


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", [], [VALUE]])
def test_a_descriptor_is_an_object(value: object) -> None:
    with pytest.raises(ManifestInvalid):
        Descriptor.read(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mediaType", ""),
        ("mediaType", None),
        ("mediaType", 1),
        ("mediaType", ["a/b"]),
        ("mediaType", "a/b\r\nX-Injected: 1"),
        ("mediaType", "a/\u00e9"),
        ("mediaType", "a/" + "b" * 300),
        ("size", -1),
        ("size", "7"),
        ("size", 7.0),
        ("size", True),
        ("size", None),
        ("size", [7]),
        ("size", 2**63),
        ("size", float("inf")),
        ("digest", ""),
        ("digest", None),
        ("digest", ["sha256:" + "0" * 64]),
        ("digest", "sha256:" + "0" * 63),
        ("digest", "sha256:" + "A" * 64),
        ("digest", "sha256:" + "0" * 64 + "\n"),
        ("digest", "sha256:" + "\x00" * 64),
        ("digest", "sha256:../../etc/passwd"),
        ("digest", "blake3:" + "0" * 64),
        ("data", 1),
        ("data", ["e30="]),
        ("artifactType", ["a/b"]),
        ("artifactType", "a/b\n"),
        ("annotations", []),
        ("annotations", "text"),
        ("annotations", {"key": 1}),
        ("annotations", {"key": None}),
        ("annotations", {"key": {}}),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(field: str, value: object) -> None:
    with pytest.raises(ManifestInvalid):
        Descriptor.read({**VALUE, field: value})


@pytest.mark.parametrize(
    "more",
    [
        {"urls": ["https://example.com/layer"]},
        {"urls": "anything"},
        {"platform": {"os": "linux", "architecture": "amd64"}},
        {"platform": {"os": "unknown", "architecture": "unknown"}},
        {"platform": "text"},
        {"com.example.field": {"nested": [1, None]}},
        {"__proto__": {}},
        {"annotations": None},
        {"artifactType": None},
        {"artifactType": ""},
        {"data": None},
        {"size": 0},
        {"size": 2**63 - 1},
    ],
    ids=str,
)
def test_whatever_else_it_has_is_accepted(more: dict[str, Any]) -> None:
    assert Descriptor.read({**VALUE, **more}).digest == DIGEST


@pytest.mark.parametrize("field", ["Digest", "DIGEST", "mediatype", "Size", "artifacttype", "Annotations", "uRls"])
def test_a_known_field_in_other_letters_is_refused(field: str) -> None:
    with pytest.raises(ManifestInvalid):
        Descriptor.read({**VALUE, field: "whatever"})


@pytest.mark.parametrize("field", ["dige\u017ft", "\u017fize", "url\u017f"])
def test_a_letter_that_other_parsers_fold_to_a_known_field_is_refused(field: str) -> None:
    with pytest.raises(ManifestInvalid):
        Descriptor.read({**VALUE, field: "whatever"})


def test_content_that_is_inline_need_not_be_elsewhere() -> None:
    assert Descriptor.read({**VALUE, "data": base64.b64encode(b"content").decode()}).optional


@pytest.mark.parametrize("data", ["", "Y29udGVu", "not base64"])
def test_data_that_cannot_be_the_content_does_not_stand_for_it(data: str) -> None:
    # Otherwise any text in "data" would let a manifest in whose layers are nowhere.
    try:
        descriptor = Descriptor.read({**VALUE, "data": data})
    except ManifestInvalid:
        return
    assert not descriptor.optional


def test_content_that_may_not_be_distributed_need_not_be_here() -> None:
    media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    assert Descriptor.read({**VALUE, "mediaType": media_type}).optional


def test_all_other_content_must_be_here() -> None:
    assert not Descriptor.read(VALUE).optional


def test_nothing_but_the_three_fields_is_printed_where_nothing_else_is_known() -> None:
    assert Descriptor(LAYER_TYPE, DIGEST, 7).as_json() == VALUE


@given(
    st.integers(0, 2**63 - 1),
    st.none() | st.just("application/vnd.example+json"),
    st.none() | st.dictionaries(st.text(), st.text(), min_size=1),
)
def test_what_is_printed_is_read_back(size: int, artifact_type: str | None, annotations: dict[str, str] | None) -> None:
    descriptor = Descriptor(LAYER_TYPE, DIGEST, size, artifact_type, annotations)
    assert Descriptor.read(descriptor.as_json()) == descriptor
