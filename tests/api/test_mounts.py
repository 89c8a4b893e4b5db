"""Blobs that are taken from another repository. Spec: end-11."""

import pytest

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.testing.client import AsgiClient

from .pushing import NAME, Pushing

pytestmark = pytest.mark.anyio

UPLOADS = f"/v2/{NAME}/blobs/uploads/"
CONTENT = b"content"
DIGEST = Digest.of(CONTENT)


@pytest.fixture
async def target(push: Pushing) -> AsgiClient:
    """A registry in which another repository has the blob."""
    for algorithm in Algorithm:
        await push.into("other/repo").blob(CONTENT, algorithm)
    return push.client


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("source", ["&from=other/repo", "&from=other%2Frepo", ""])
async def test_a_blob_is_mounted(target: AsgiClient, source: str, algorithm: Algorithm) -> None:
    digest = Digest.of(CONTENT, algorithm)
    reply = await target.request("POST", f"{UPLOADS}?mount={digest}{source}")
    assert (reply.status, reply.body) == (201, b"")
    assert reply.location == f"/v2/{NAME}/blobs/{digest}"
    assert reply.header("docker-content-digest") == digest
    assert (await target.request("GET", reply.location)).body == CONTENT


async def test_a_mounted_blob_outlives_its_source(target: AsgiClient) -> None:
    await target.request("POST", f"{UPLOADS}?mount={DIGEST}&from=other/repo")
    await target.request("DELETE", f"/v2/other/repo/blobs/{DIGEST}")
    assert (await target.request("GET", f"/v2/{NAME}/blobs/{DIGEST}")).body == CONTENT


async def test_the_source_outlives_a_mounted_blob(target: AsgiClient) -> None:
    await target.request("POST", f"{UPLOADS}?mount={DIGEST}&from=other/repo")
    await target.request("DELETE", f"/v2/{NAME}/blobs/{DIGEST}")
    assert (await target.request("GET", f"/v2/other/repo/blobs/{DIGEST}")).body == CONTENT


async def test_a_blob_that_is_there_already_is_mounted_from_itself(push: Pushing) -> None:
    digest = await push.blob(CONTENT)
    reply = await push.client.request("POST", f"{UPLOADS}?mount={digest}&from={NAME}")
    assert reply.status == 201


@pytest.mark.parametrize(
    "query",
    [
        f"mount={Digest.of(b'unknown')}&from=other/repo",
        f"mount={Digest.of(b'unknown')}",
        f"mount={DIGEST}&from=no/such/repo",
        f"mount={DIGEST}&from=Not/A/Name",
        f"mount={DIGEST}&from=",
        "mount=sha256:xyz&from=other/repo",
        "mount=md5:d41d8cd98f00b204e9800998ecf8427e&from=other/repo",
        "mount=&from=other/repo",
        "from=other/repo",
    ],
)
async def test_what_cannot_be_mounted_starts_a_session_that_works(target: AsgiClient, query: str) -> None:
    reply = await target.request("POST", f"{UPLOADS}?{query}")
    assert (reply.status, reply.header("range")) == (202, "0-0")
    closed = await target.request("PUT", f"{reply.location}?digest={Digest.of(b'new')}", body=b"new")
    assert closed.status == 201


async def test_a_mount_that_cannot_be_had_shows_nothing_in_the_target(target: AsgiClient) -> None:
    await target.request("POST", f"{UPLOADS}?mount={DIGEST}&from=no/such/repo")
    assert (await target.request("HEAD", f"/v2/{NAME}/blobs/{DIGEST}")).status == 404


async def test_a_session_makes_no_repository(target: AsgiClient) -> None:
    await target.request("POST", f"{UPLOADS}?mount={DIGEST}&from=no/such/repo")
    assert (await target.request("GET", f"/v2/{NAME}/tags/list")).status == 404
