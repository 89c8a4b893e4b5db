"""Manifests that are pushed, read and deleted. Spec: end-3, end-7a, end-7b, end-9."""

import json
from collections.abc import Callable, Iterator

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.api.requests import MAX_BODY_BYTES
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_IMAGE_MANIFEST
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import LAYER_TYPE, Content, describe, image, index

from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

IMAGE = image(b"layer")
SHA512 = image(b"layer", algorithm=Algorithm.SHA512)
KINDS = {
    "image": IMAGE,
    "sha512": SHA512,
    "docker": image(b"layer", media_type=DOCKER_MANIFEST),
    "index": index([]),
    "docker list": index([], media_type=DOCKER_MANIFEST_LIST),
    "odd spacing": Content(
        OCI_IMAGE_MANIFEST, json.dumps(json.loads(IMAGE.body), indent=3).encode() + b"\n", IMAGE.blobs
    ),
}
kinds = pytest.mark.parametrize("content", KINDS.values(), ids=KINDS.keys())


@kinds
async def test_a_manifest_is_read_by_digest_as_it_was_pushed(push: Pushing, content: Content) -> None:
    created = await push.content(content)
    assert created.location == f"/v2/{NAME}/manifests/{content.digest}"
    assert created.header("docker-content-digest") == content.digest
    reply = await push.client.request("GET", created.location)
    assert (reply.status, reply.body) == (200, content.body)
    assert reply.header("content-type") == content.media_type
    assert reply.header("content-length") == str(len(content.body))
    assert reply.header("docker-content-digest") == content.digest
    assert reply.header("etag") == f'"{content.digest}"'
    assert reply.header("x-content-type-options") == "nosniff"


@kinds
async def test_a_manifest_is_read_by_tag_as_it_was_pushed(push: Pushing, content: Content) -> None:
    created = await push.content(content, "v1")
    assert created.location == f"/v2/{NAME}/manifests/v1"
    reply = await push.client.request("GET", created.location)
    assert (reply.status, reply.body, reply.header("content-type")) == (200, content.body, content.media_type)
    assert reply.header("docker-content-digest") == Digest.of(content.body)


@kinds
@pytest.mark.parametrize("reference", [None, "v1"], ids=["digest", "tag"])
async def test_head_is_get_without_the_body(push: Pushing, content: Content, reference: str | None) -> None:
    path = (await push.content(content, reference)).location
    read, seen = [await push.client.request(method, path) for method in ("GET", "HEAD")]
    assert (seen.status, seen.headers, seen.body) == (200, read.headers, b"")


async def test_what_was_pushed_by_sha512_is_known_by_it_under_its_tags(push: Pushing) -> None:
    for blob in SHA512.blobs:
        await push.blob(blob, Algorithm.SHA512)
    assert (await push.manifest(SHA512, f"{SHA512.digest}?tag=v1")).status == 201
    assert (await push.get("manifests/v1")).header("docker-content-digest") == SHA512.digest


@pytest.mark.parametrize("reference", ["latest", Digest.of(b"unknown")])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_what_was_never_pushed_is_unknown(push: Pushing, method: str, reference: str) -> None:
    for name in (NAME, "no/such"):
        reply = await push.client.request(method, f"/v2/{name}/manifests/{reference}")
        assert reply.status == 404
        assert method == "HEAD" or codes(reply) == ["MANIFEST_UNKNOWN"]
    await push.content(IMAGE, "other")
    assert (await push.client.request(method, f"/v2/{NAME}/manifests/{reference}")).status == 404


async def test_a_tag_moves(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    await push.content(image(b"second"), "v1")
    assert (await push.get("manifests/v1")).body == image(b"second").body
    assert (await push.get(f"manifests/{IMAGE.digest}")).body == IMAGE.body


async def test_a_manifest_may_be_pushed_again(push: Pushing) -> None:
    for _ in range(2):
        assert (await push.content(IMAGE, "v1")).status == 201
    assert (await push.get("tags/list")).body == json.dumps(
        {"name": NAME, "tags": ["v1"]}, separators=(",", ":")
    ).encode()


@pytest.mark.parametrize("accept", ["*/*", "text/html", DOCKER_MANIFEST, f"{DOCKER_MANIFEST};q=0.5, x/y", ""])
async def test_whatever_a_client_accepts_it_gets_what_was_pushed(push: Pushing, accept: str) -> None:
    await push.content(IMAGE, "v1")
    reply = await push.get("manifests/v1", Accept=accept)
    assert (reply.status, reply.header("content-type")) == (200, OCI_IMAGE_MANIFEST)


@pytest.mark.parametrize("more", ["; charset=utf-8", ";x=y", " ; a=b"])
async def test_parameters_of_the_content_type_are_ignored(push: Pushing, more: str) -> None:
    await push.content(IMAGE)
    assert (await push.manifest(IMAGE, "v1", Content_Type=OCI_IMAGE_MANIFEST + more)).status == 201
    assert (await push.get("manifests/v1")).header("content-type") == OCI_IMAGE_MANIFEST


async def test_without_a_content_type_the_manifest_names_its_own(push: Pushing) -> None:
    await push.content(IMAGE)
    assert (await push.client.request("PUT", f"/v2/{NAME}/manifests/v1", body=IMAGE.body)).status == 201
    assert (await push.get("manifests/v1")).header("content-type") == OCI_IMAGE_MANIFEST


@pytest.mark.parametrize("content_type", ["application/json", DOCKER_MANIFEST, "x", ";charset=utf-8"])
async def test_another_content_type_is_refused(push: Pushing, content_type: str) -> None:
    await push.content(IMAGE)
    reply = await push.manifest(IMAGE, "v1", Content_Type=content_type)
    assert (reply.status, codes(reply)) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("body", [b"", b"null", b"{", b'{"schemaVersion":1}', b"\x1f\x8b\x08\x00", b"[" * 9000])
async def test_what_is_no_manifest_is_refused(push: Pushing, body: bytes) -> None:
    reply = await push.manifest(Content(OCI_IMAGE_MANIFEST, body), "v1")
    assert (reply.status, codes(reply)) == (400, ["MANIFEST_INVALID"])
    assert (await push.get("manifests/v1")).status == 404


@pytest.mark.parametrize(
    "reference",
    [Digest.of(b"other"), Digest.of(b"other", Algorithm.SHA512), "sha256:baddigeststring", "md5:" + "0" * 32],
)
async def test_a_digest_that_is_not_that_of_the_manifest_is_refused(push: Pushing, reference: str) -> None:
    await push.content(IMAGE)
    reply = await push.manifest(IMAGE, reference)
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])


async def test_white_space_is_part_of_the_manifest(push: Pushing) -> None:
    await push.content(IMAGE)
    reply = await push.manifest(Content(OCI_IMAGE_MANIFEST, IMAGE.body + b"  "), IMAGE.digest)
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])


ODD_ANNOTATIONS = {
    "nul": {"a": "\x00"},
    "line ends": {"a\r\nX-Injected: 1": "\r\n"},
    "a lone surrogate": {"a": "\ud800", "\udfff": "b"},
    "not ASCII": {"\u00e9\u4e2d\U0001f433": "\U0001f433" * 1000},
    "words of other languages": {"__proto__": "x", "constructor": "y", "": ""},
}


@pytest.mark.parametrize("annotations", ODD_ANNOTATIONS.values(), ids=ODD_ANNOTATIONS.keys())
async def test_annotations_hold_any_text(push: Pushing, annotations: dict[str, str]) -> None:
    subject = Digest.of(b"subject")
    content = image(annotations=annotations, subject=describe(b"subject", OCI_IMAGE_MANIFEST))
    await push.content(content, "v1")
    assert (await push.get("manifests/v1")).body == content.body
    listed = json.loads((await push.get(f"referrers/{subject}")).body)
    assert listed["manifests"][0]["annotations"] == annotations


# What it refers to.


async def test_missing_content_is_refused_and_named(push: Pushing) -> None:
    config = await push.blob(b"{}")
    reply = await push.manifest(image(b"one", b"two"), "v1")
    assert (reply.status, codes(reply)) == (404, ["MANIFEST_BLOB_UNKNOWN"])
    missing = json.loads(reply.body)["errors"][0]["detail"]["missing"]
    assert missing == sorted([Digest.of(b"one"), Digest.of(b"two")])
    assert config not in missing
    assert (await push.get("manifests/v1")).status == 404


async def test_a_missing_child_is_refused(push: Pushing) -> None:
    reply = await push.manifest(index([IMAGE]), "v1")
    assert (reply.status, codes(reply)) == (404, ["MANIFEST_BLOB_UNKNOWN"])


async def test_children_may_be_manifests_indexes_and_blobs(push: Pushing) -> None:
    inner = index([IMAGE])
    for content in (IMAGE, inner):
        await push.content(content)
    blob = describe(b"layer", LAYER_TYPE)
    assert (await push.content(index([inner, IMAGE, blob]), "v1")).status == 201


async def test_a_manifest_is_no_layer(push: Pushing) -> None:
    await push.content(IMAGE)
    reply = await push.manifest(image(IMAGE.body), "v1")
    assert (reply.status, codes(reply)) == (404, ["MANIFEST_BLOB_UNKNOWN"])


async def test_layers_that_may_not_be_distributed_may_be_missing(push: Pushing) -> None:
    await push.blob(b"{}")
    content = image(b"foreign", layer_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    assert (await push.manifest(content, "v1")).status == 201


async def test_a_missing_subject_is_accepted(push: Pushing) -> None:
    content = image(subject=IMAGE.descriptor())
    reply = await push.content(content)
    assert reply.header("oci-subject") == IMAGE.digest


@pytest.mark.parametrize("reference", [None, "v1"], ids=["digest", "tag"])
async def test_a_subject_is_confirmed(push: Pushing, reference: str | None) -> None:
    await push.content(IMAGE)
    reply = await push.content(index([], subject=IMAGE.descriptor()), reference)
    assert reply.header("oci-subject") == IMAGE.digest


async def test_no_subject_is_not_confirmed(push: Pushing) -> None:
    assert (await push.content(IMAGE)).header("oci-subject") is None


@pytest.fixture
def sparse_state(backend_pair: Callable[..., AppState]) -> AppState:
    return backend_pair(missing_references=MissingReferences(["mirror/*"]))


async def test_where_it_is_allowed_content_may_be_missing_and_stays_so(sparse_state: AppState) -> None:
    async with sparse_state:
        push = Pushing(AsgiClient(router(sparse_state)), "mirror/app")
        assert (await push.manifest(IMAGE, "v1")).status == 201
        assert (await push.manifest(index([image(b"other")]), "all")).status == 201
        assert (await push.get(f"blobs/{Digest.of(b'layer')}")).status == 404
        assert (await push.get(f"manifests/{image(b'other').digest}")).status == 404


async def test_elsewhere_it_must_be_there(sparse_state: AppState) -> None:
    async with sparse_state:
        push = Pushing(AsgiClient(router(sparse_state)), "acme/app")
        assert codes(await push.manifest(IMAGE, "v1")) == ["MANIFEST_BLOB_UNKNOWN"]


# Size.


def sized(size: int) -> Content:
    content = image(annotations={"a": ""})
    return image(annotations={"a": "x" * (size - len(content.body))})


@pytest.mark.parametrize("size", [4_000_000, MAX_BODY_BYTES])
async def test_four_mebibytes_are_accepted_with_and_without_a_length(push: Pushing, size: int) -> None:
    content = sized(size)
    assert len(content.body) == size
    await push.content(content, "v1")
    headers = {"Content-Type": content.media_type}
    body = [content.body[:1_000_000], content.body[1_000_000:]]
    assert (await push.client.request("PUT", f"/v2/{NAME}/manifests/v2", headers=headers, body=body)).status == 201
    assert (await push.get("manifests/v2")).body == content.body


async def test_one_byte_more_is_refused_by_its_length_before_it_is_read(push: Pushing) -> None:
    headers = {"Content-Type": OCI_IMAGE_MANIFEST, "Content-Length": str(MAX_BODY_BYTES + 1)}
    reply = await push.client.request("PUT", f"/v2/{NAME}/manifests/v1", headers=headers, body=b"", vanish=True)
    assert (reply.status, codes(reply)) == (413, ["MANIFEST_INVALID"])


async def test_one_byte_more_is_refused_by_counting(push: Pushing) -> None:
    read = list[int]()

    def endless() -> Iterator[bytes]:
        while len(read) < 100:
            read.append(1)
            yield b"x" * 1_048_576

    headers = {"Content-Type": OCI_IMAGE_MANIFEST}
    reply = await push.client.request("PUT", f"/v2/{NAME}/manifests/v1", headers=headers, body=endless())
    assert (reply.status, codes(reply)) == (413, ["MANIFEST_INVALID"])
    assert len(read) == 5


async def test_a_manifest_that_was_cut_off_is_not_stored(push: Pushing) -> None:
    await push.content(IMAGE)
    headers = {"Content-Type": OCI_IMAGE_MANIFEST}
    await push.client.request("PUT", f"/v2/{NAME}/manifests/v1", headers=headers, body=[IMAGE.body], vanish=True)
    assert (await push.get("manifests/v1")).status == 404


# tag=


async def test_tags_of_the_query_are_set_and_confirmed(push: Pushing) -> None:
    tags = [f"v{number}" for number in range(100)]
    await push.content(IMAGE)
    reply = await push.manifest(IMAGE, f"{IMAGE.digest}?" + "&".join(f"tag={tag}" for tag in tags))
    assert reply.status == 201
    assert [tag.strip() for line in reply.all("oci-tag") for tag in line.split(",")] == tags
    assert json.loads((await push.get("tags/list")).body)["tags"] == sorted(tags)


async def test_without_tags_none_is_confirmed(push: Pushing) -> None:
    assert (await push.content(IMAGE, "v1")).all("oci-tag") == []


async def test_more_than_a_hundred_tags_are_too_many(push: Pushing) -> None:
    await push.content(IMAGE)
    reply = await push.manifest(IMAGE, f"{IMAGE.digest}?" + "&".join(f"tag=v{number}" for number in range(101)))
    assert (reply.status, codes(reply)) == (414, ["UNSUPPORTED"])
    assert json.loads((await push.get("tags/list")).body)["tags"] == []


@pytest.mark.parametrize("tag", ["", "..%2f..%2fx", "-x", "a" * 129, "v1%00", "%ff"])
async def test_one_bad_tag_sets_none(push: Pushing, tag: str) -> None:
    await push.content(IMAGE)
    reply = await push.manifest(IMAGE, f"{IMAGE.digest}?tag=good&tag={tag}")
    assert reply.status == 400
    assert (await push.get("manifests/good")).status == 404


async def test_tags_go_with_a_digest(push: Pushing) -> None:
    await push.content(IMAGE)
    reply = await push.manifest(IMAGE, "v1?tag=v2")
    assert (reply.status, codes(reply)) == (400, ["UNSUPPORTED"])


# The end.


async def test_a_deleted_tag_leaves_its_manifest(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    await push.content(IMAGE, "v2")
    reply = await push.client.request("DELETE", f"/v2/{NAME}/manifests/v1")
    assert (reply.status, reply.body) == (202, b"")
    assert (await push.get("manifests/v1")).status == 404
    assert (await push.get("manifests/v2")).status == 200
    assert (await push.get(f"manifests/{IMAGE.digest}")).status == 200


async def test_a_deleted_manifest_takes_its_tags_along(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    await push.content(image(b"other"), "v2")
    reply = await push.client.request("DELETE", f"/v2/{NAME}/manifests/{IMAGE.digest}")
    assert (reply.status, reply.body) == (202, b"")
    for reference in ("v1", IMAGE.digest):
        assert (await push.get(f"manifests/{reference}")).status == 404
    assert json.loads((await push.get("tags/list")).body)["tags"] == ["v2"]


async def test_what_was_deleted_can_be_deleted_once(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    for reference in ("v1", IMAGE.digest):
        path = f"/v2/{NAME}/manifests/{reference}"
        replies = [await push.client.request("DELETE", path) for _ in range(2)]
        assert [reply.status for reply in replies] == [202, 404]


async def test_a_deleted_manifest_can_be_pushed_again(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    await push.client.request("DELETE", f"/v2/{NAME}/manifests/{IMAGE.digest}")
    assert (await push.manifest(IMAGE, "v1")).status == 201
    assert (await push.get("manifests/v1")).body == IMAGE.body
