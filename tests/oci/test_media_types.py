"""Media types: the form they have, and those that need not be in a registry."""

import pytest

from ferro_oci_server.oci.media_types import IMAGE_MANIFEST_TYPES, INDEX_TYPES, is_media_type, is_nondistributable


@pytest.mark.parametrize(
    "text",
    [
        "application/json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.example.sbom.v1",
        "text/x.y-z_1!#$&^",
        "a/b",
        f"{'a' * 127}/{'b' * 127}",
    ],
)
def test_a_type_and_a_subtype_are_a_media_type(text: str) -> None:
    assert is_media_type(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a",
        "a/",
        "/b",
        "a/b/c",
        "a/b; charset=utf-8",
        "a /b",
        "a/b\n",
        "a/b\r\nX: y",
        "a/*",
        "*/*",
        "+a/b",
        "a/\u00e9",
        f"a/{'b' * 128}",
    ],
)
def test_other_text_is_no_media_type(text: str) -> None:
    assert not is_media_type(text)


@pytest.mark.parametrize(
    "text",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_that_may_not_be_distributed_are_known(text: str) -> None:
    assert is_nondistributable(text)


@pytest.mark.parametrize(
    "text",
    [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.example.nondistributable",
    ],
)
def test_other_layers_must_be_there(text: str) -> None:
    assert not is_nondistributable(text)


def test_no_type_is_both_an_image_and_an_index() -> None:
    assert not IMAGE_MANIFEST_TYPES & INDEX_TYPES


@pytest.mark.parametrize("text", sorted(IMAGE_MANIFEST_TYPES | INDEX_TYPES))
def test_known_types_have_the_form_of_one(text: str) -> None:
    assert is_media_type(text)
