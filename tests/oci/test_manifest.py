"""Manifests: refused where two readers could read two things, and accepted in all else."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import ManifestInvalid, OciError
from ferro_oci_server.oci.manifest import Manifest, parse_manifest
from ferro_oci_server.oci.media_types import (
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    IMAGE_MANIFEST_TYPES,
    INDEX_TYPES,
    OCI_IMAGE_INDEX,
    OCI_IMAGE_MANIFEST,
)
from ferro_oci_server.testing.images import CONFIG_TYPE, LAYER_TYPE, Content, describe, image, index

CONFIG, LAYER = Digest.of(b"{}"), Digest.of(b"layer")
IMAGE: dict[str, Any] = json.loads(image(b"layer").body)
INDEX: dict[str, Any] = json.loads(index([image(b"layer")]).body)


def parse(document: object, content_type: str | None = OCI_IMAGE_MANIFEST) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), content_type)


def refused(content: bytes, content_type: str | None = OCI_IMAGE_MANIFEST) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(content, content_type)


def without(document: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != field}


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


# What it reads.


def test_an_image_refers_to_its_config_and_layers() -> None:
    manifest = parse(IMAGE)
    assert manifest.blobs == (CONFIG, LAYER)
    assert (manifest.children, manifest.optional, manifest.subject) == ((), (), None)


def test_an_index_refers_to_its_children() -> None:
    manifest = parse(INDEX, OCI_IMAGE_INDEX)
    assert manifest.children == (image(b"layer").digest,)
    assert (manifest.blobs, manifest.optional) == ((), ())


def test_content_that_is_named_twice_is_reported_once() -> None:
    assert parse_manifest(image(b"a", b"a", b"a").body, None).blobs == (CONFIG, Digest.of(b"a"))


@pytest.mark.parametrize("document", [IMAGE, INDEX], ids=["image", "index"])
def test_the_subject_is_read(document: dict[str, Any]) -> None:
    subject = image(b"subject")
    manifest = parse({**document, "subject": subject.descriptor()}, document["mediaType"])
    assert manifest.subject == subject.digest
    assert subject.digest not in (*manifest.blobs, *manifest.children, *manifest.optional)


@pytest.mark.parametrize("more", [{}, {"artifactType": ""}, {"artifactType": None}], ids=str)
def test_an_image_without_an_artifact_type_has_that_of_its_config(more: dict[str, Any]) -> None:
    assert parse({**IMAGE, **more}).artifact_type == CONFIG_TYPE


@pytest.mark.parametrize("more", [{}, {"artifactType": ""}], ids=str)
def test_an_index_without_an_artifact_type_has_none(more: dict[str, Any]) -> None:
    assert parse({**INDEX, **more}, OCI_IMAGE_INDEX).artifact_type is None


@pytest.mark.parametrize("document", [IMAGE, INDEX], ids=["image", "index"])
def test_its_own_artifact_type_counts_first(document: dict[str, Any]) -> None:
    manifest = parse({**document, "artifactType": "application/vnd.example"}, document["mediaType"])
    assert manifest.artifact_type == "application/vnd.example"


def test_annotations_are_read() -> None:
    annotations = {"a": "b", "": "", "\u00e9": "\u0000\r\n"}
    assert parse({**IMAGE, "annotations": annotations}).annotations == annotations


def test_layers_that_are_inline_or_not_distributable_are_optional() -> None:
    inline = describe(b"inline", LAYER_TYPE, data=base64.b64encode(b"inline").decode())
    foreign = describe(b"foreign", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://x/y"])
    manifest = parse({**IMAGE, "layers": [inline, foreign]})
    assert manifest.blobs == (CONFIG,)
    assert manifest.optional == (Digest.of(b"inline"), Digest.of(b"foreign"))


# What it must accept.

ACCEPTED: dict[str, Content] = {
    "no layers": image(),
    "an empty index": index([]),
    "a nested index": index([index([image(b"a")]), image(b"b")]),
    "unknown fields": image(b"a", futureField={"nested": [1, 2.5e10, None, True]}, __proto__={}),
    "unknown fields of an index": index([], future=[[[]]]),
    "an empty config": image(b"a", config=b""),
    "the empty descriptor": image(b"{}", config_type="application/vnd.oci.empty.v1+json"),
    "unknown types": image(b"a", config_type="application/vnd.wasm.config.v0+json", layer_type="application/wasm"),
    "types that are no media types": image(b"a", config_type="helm config", layer_type="x"),
    "Docker's image": image(b"a", media_type=DOCKER_MANIFEST),
    "Docker's list": index([image(b"a", media_type=DOCKER_MANIFEST)], media_type=DOCKER_MANIFEST_LIST),
    "sha512 throughout": image(b"a", algorithm=Algorithm.SHA512),
    "layers as children": index([describe(b"layer", LAYER_TYPE), describe(b"{}", "application/vnd.buildkit.x")]),
    "unknown platforms": index(
        [image(b"a").descriptor(platform={"os": "unknown", "architecture": "unknown"})],
    ),
    "a null subject": image(b"a", subject=None),
    "null annotations": image(b"a", annotations=None),
    "as many layers as are allowed": image(*[b"%d" % number for number in range(10_000)]),
    "numbers of 20 digits": image(b"a", number=10**20 - 1),
    "64 levels": Content(OCI_IMAGE_MANIFEST, json.dumps({**IMAGE, "deep": json.loads("[" * 63 + "]" * 63)}).encode()),
    "brackets in text": image(b"a", text="[{" * 100 + '"' + "\\" * 3 + "[" * 100),
}


@pytest.mark.parametrize("content", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_it_is_accepted(content: Content) -> None:
    assert parse_manifest(content.body, content.media_type).media_type == content.media_type


def test_four_mebibytes_are_read_within_a_second() -> None:
    body = image(b"a", annotations={f"key{number}": "x" * 10_000 for number in range(415)}).body
    assert 4_000_000 < len(body) < 4 * 1024 * 1024
    assert seconds(lambda: parse_manifest(body, OCI_IMAGE_MANIFEST)) < 1


@pytest.mark.parametrize("media_type", sorted(IMAGE_MANIFEST_TYPES))
def test_an_image_may_leave_its_type_to_the_content_type(media_type: str) -> None:
    assert parse(without(IMAGE, "mediaType"), media_type).media_type == media_type


@pytest.mark.parametrize("media_type", sorted(INDEX_TYPES))
def test_an_index_may_leave_its_type_to_the_content_type(media_type: str) -> None:
    assert parse(without(INDEX, "mediaType"), media_type).media_type == media_type


def test_a_missing_content_type_leaves_the_word_to_the_manifest() -> None:
    assert parse(IMAGE, None).media_type == OCI_IMAGE_MANIFEST


# What it must refuse: the JSON.


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b"2",
        b'"text"',
        b"{'schemaVersion':2}",
        image().body + b"x",
        image().body + image().body,
        image().body[:-1] + b",}",
        b"\xef\xbb\xbf" + image().body,
        image().body.decode().encode("utf-16"),
        image().body.decode().encode("utf-32"),
        image().body[:-1] + b',"a":"\xff"}',
        image().body[:-1] + b',"a":"\xed\xa0\x80"}',
        image().body[:-1] + b',"a":"\x01"}',
        image().body[:-1] + b',"a":NaN}',
        image().body[:-1] + b',"a":-Infinity}',
        image().body[:-1] + b',"a":01}',
        image().body[:-1] + b',"a":' + b"1" * 21 + b"}",
        image().body[:-1] + b',"a":' + b"1" * 5000 + b"}",
        b"/* */" + image().body,
    ],
)
def test_what_is_not_strict_json_in_utf8_is_refused(content: bytes) -> None:
    refused(content)


@pytest.mark.parametrize(
    "pair",
    [b'"schemaVersion":1', b'"mediaType":"x"', b'"layers":[]', b'"config":{}', b'"unknown":1,"unknown":1'],
)
def test_a_key_that_is_there_twice_is_refused(pair: bytes) -> None:
    refused(image(b"a").body[:-1] + b"," + pair + b"}")


@pytest.mark.parametrize("old", [b'"size":', b'"mediaType":"application/vnd.oci.image.config.v1+json"'])
def test_a_key_that_is_twice_in_a_descriptor_is_refused(old: bytes) -> None:
    body = image(b"a").body
    assert old in body
    refused(body.replace(old, b'"digest":"x",' + old))


def test_an_annotation_that_is_there_twice_is_refused() -> None:
    refused(image(b"a").body[:-1] + b',"annotations":{"a":"1","a":"2"}}')


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 9000,
        b'{"a":' * 100_000,
        b"[" * 1_000_000 + b"]" * 1_000_000,
        image().body[:-1] + b',"a":' + b"[" * 64 + b"]" * 64 + b"}",
    ],
    ids=["arrays", "objects", "9000 open", "100000 open", "a million", "in a field"],
)
def test_deep_nesting_is_refused_without_descending(content: bytes) -> None:
    assert seconds(lambda: refused(content)) < 1


@pytest.mark.parametrize("tail", [b"", b"\\", b'"'], ids=["open", "escape at the end", "closed"])
def test_text_is_skipped_in_linear_time_wherever_it_ends(tail: bytes) -> None:
    assert seconds(lambda: refused(b"[" * 65 + b'"' + b'\\"' * 30_000 + tail)) < 1


# What it must refuse: the document.


@pytest.mark.parametrize("value", [None, 1, 3, 2.0, "2", True, {}, [2]], ids=str)
def test_the_schema_version_is_the_number_two(value: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "schemaVersion": value})


def test_the_schema_version_must_be_there() -> None:
    with pytest.raises(ManifestInvalid):
        parse(without(IMAGE, "schemaVersion"))


@pytest.mark.parametrize(
    "media_type", ["", 1, ["x"], OCI_IMAGE_INDEX, DOCKER_MANIFEST, OCI_IMAGE_MANIFEST + "\r\nX: y", "x/y"], ids=str
)
def test_a_media_type_that_is_not_the_content_type_is_refused(media_type: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "mediaType": media_type})


@pytest.mark.parametrize(
    "media_type", ["", "application/json", "application/vnd.docker.distribution.manifest.v1+prettyjws", "x"]
)
def test_an_unknown_type_is_refused(media_type: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "mediaType": media_type}, media_type)


def test_a_manifest_that_names_its_type_nowhere_is_refused() -> None:
    with pytest.raises(ManifestInvalid):
        parse(without(IMAGE, "mediaType"), None)


@pytest.mark.parametrize("manifests", [[], None, [image(b"a").descriptor()]], ids=["empty", "null", "one"])
def test_an_image_with_manifests_is_refused(manifests: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "manifests": manifests})


@pytest.mark.parametrize("more", [{"layers": []}, {"layers": None}, {"config": IMAGE["config"]}], ids=str)
def test_an_index_with_layers_or_config_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**INDEX, **more}, OCI_IMAGE_INDEX)


@pytest.mark.parametrize("field", ["config", "layers"])
def test_an_image_has_config_and_layers(field: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse(without(IMAGE, field))


def test_an_index_has_manifests() -> None:
    with pytest.raises(ManifestInvalid):
        parse(without(INDEX, "manifests"), OCI_IMAGE_INDEX)


@pytest.mark.parametrize("value", [None, True, 1, "text", {}, ["text"], [None], [1], [[]]], ids=str)
def test_lists_hold_descriptors(value: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "layers": value})
    with pytest.raises(ManifestInvalid):
        parse({**INDEX, "manifests": value}, OCI_IMAGE_INDEX)


def test_more_descriptors_than_any_image_has_are_refused() -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "layers": IMAGE["layers"] * 10_001})


@pytest.mark.parametrize(
    "subject",
    ["text", 1, [], {}, {"mediaType": "x", "size": 1}, describe(b"a", "x") | {"digest": "sha256:../x"}],
    ids=str,
)
def test_a_subject_is_a_descriptor(subject: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "subject": subject})


@pytest.mark.parametrize("annotations", [[], "text", 1, {"a": 1}, {"a": []}, {"a": {}}, {"a": None}], ids=str)
def test_annotations_map_text_to_text(annotations: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "annotations": annotations})


@pytest.mark.parametrize("artifact_type", [1, ["x"], {}, "a\r\nb", "\u00e9", "x" * 256], ids=str)
def test_an_artifact_type_is_printable_text(artifact_type: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, "artifactType": artifact_type})


@pytest.mark.parametrize("field", ["SchemaVersion", "Layers", "MANIFESTS", "mediatype", "Config", "SUBJECT"])
def test_a_known_field_in_other_letters_is_refused(field: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, field: []})


@pytest.mark.parametrize("field", ["layer\u017f", "manife\u017fts", "\u017fubject", "\u017fchemaVersion"])
def test_a_letter_that_other_parsers_fold_to_a_known_field_is_refused(field: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse({**IMAGE, field: []})


# Anything at all.

CONTENT_TYPES = st.sampled_from([None, "", "x/y", *sorted(IMAGE_MANIFEST_TYPES | INDEX_TYPES)])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.builds(
    lambda base, changes: {**base, **changes},
    st.sampled_from([IMAGE, INDEX]),
    st.dictionaries(
        st.sampled_from([*IMAGE, "manifests", "subject", "annotations", "artifactType", "Layers"]), VALUES, max_size=3
    ),
)


@given(st.binary(), CONTENT_TYPES)
def test_any_bytes_are_a_manifest_or_refused(content: bytes, content_type: str | None) -> None:
    with pytest.raises(OciError):
        parse_manifest(content, content_type)


@given(DOCUMENTS, CONTENT_TYPES)
def test_any_document_is_a_manifest_or_refused(document: dict[str, Any], content_type: str | None) -> None:
    try:
        manifest = parse(document, content_type)
    except OciError:
        return
    assert manifest.media_type in IMAGE_MANIFEST_TYPES | INDEX_TYPES


@given(st.lists(st.binary(max_size=5), max_size=5), st.binary(max_size=5), st.sampled_from(Algorithm))
def test_an_image_that_was_written_is_read_back(layers: list[bytes], config: bytes, algorithm: Algorithm) -> None:
    content = image(*layers, config=config, algorithm=algorithm)
    manifest = parse_manifest(content.body, content.media_type)
    assert set(manifest.blobs) == {Digest.of(blob, algorithm) for blob in content.blobs}
