"""Repositories do not leak: what is in one is not in another, however it is asked for."""

import pytest

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.images import LAYER_TYPE, describe, image, index

from .pushing import Pushing, codes

pytestmark = pytest.mark.anyio

IMAGE = image(b"secret")
BLOB = Digest.of(b"secret")


@pytest.fixture
async def outside(push: Pushing) -> Pushing:
    """Another repository than the one that has a tagged image."""
    await push.into("private/repo").content(IMAGE, "v1")
    other = push.into("other/repo")
    await other.blob(b"{}")
    return other


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("path", [f"blobs/{BLOB}", f"manifests/{IMAGE.digest}", "manifests/v1"])
@pytest.mark.parametrize("name", ["other/repo", "no/such", "private", "private/repo/x", "rivate/repo"])
async def test_content_is_neither_seen_nor_deleted_from_outside(
    outside: Pushing, method: str, path: str, name: str
) -> None:
    assert (await outside.client.request(method, f"/v2/{name}/{path}")).status == 404
    assert (await outside.client.request("GET", f"/v2/private/repo/{path}")).status == 200


async def test_a_manifest_is_no_blob(outside: Pushing) -> None:
    assert (await outside.client.request("GET", f"/v2/private/repo/blobs/{IMAGE.digest}")).status == 404


@pytest.mark.parametrize(
    "content",
    [IMAGE, index([IMAGE]), index([describe(b"secret", LAYER_TYPE)])],
    ids=["a layer", "a child", "a blob as a child"],
)
async def test_content_cannot_be_referred_to_from_outside(outside: Pushing, content: object) -> None:
    reply = await outside.manifest(content, "steal")  # type: ignore[arg-type]
    assert (reply.status, codes(reply)) == (404, ["MANIFEST_BLOB_UNKNOWN"])
    assert (await outside.get(f"blobs/{BLOB}")).status == 404


async def test_a_digest_is_not_the_content(outside: Pushing) -> None:
    location = await outside.session()
    reply = await outside.client.request("PUT", f"{location}?digest={BLOB}")
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])
    assert (await outside.get(f"blobs/{BLOB}")).status == 404


async def test_a_mount_names_a_repository_that_has_the_blob(outside: Pushing) -> None:
    reply = await outside.client.request("POST", f"/v2/third/blobs/uploads/?mount={BLOB}&from=other/repo")
    assert reply.status == 202
    assert (await outside.client.request("GET", f"/v2/third/blobs/{BLOB}")).status == 404


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_a_session_belongs_to_its_repository(outside: Pushing, method: str) -> None:
    location = await outside.into("private/repo").session()
    elsewhere = location.replace("private/repo", "other/repo")
    reply = await outside.client.request(method, f"{elsewhere}?digest={Digest.of(b'x')}", body=b"x")
    assert (reply.status, codes(reply)) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    state = await outside.client.request("GET", location)
    assert (state.status, state.header("range")) == (204, "0-0")


async def test_the_same_blob_in_two_repositories_is_deleted_in_one(outside: Pushing) -> None:
    await outside.blob(b"secret")
    assert (await outside.client.request("DELETE", f"/v2/other/repo/blobs/{BLOB}")).status == 202
    assert (await outside.get(f"blobs/{BLOB}")).status == 404
    assert (await outside.client.request("GET", f"/v2/private/repo/blobs/{BLOB}")).body == b"secret"


async def test_the_same_tag_in_two_repositories_is_two_tags(outside: Pushing) -> None:
    await outside.content(image(b"mine"), "v1")
    assert (await outside.client.request("DELETE", "/v2/other/repo/manifests/v1")).status == 202
    assert (await outside.client.request("GET", "/v2/private/repo/manifests/v1")).body == IMAGE.body
