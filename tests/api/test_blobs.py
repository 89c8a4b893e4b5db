"""Blobs that are read and deleted. Spec: end-2, end-10."""

import pytest

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.testing.client import AsgiClient

from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 8
UNKNOWN = Digest.of(b"never pushed")


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("content", [CONTENT, b"x", b"", b"<html>" * 500_000], ids=["2 KiB", "1", "0", "3 MB"])
async def test_a_blob_is_read_as_it_was_pushed(push: Pushing, content: bytes, algorithm: Algorithm) -> None:
    digest = await push.blob(content, algorithm)
    reply = await push.get(f"blobs/{digest}")
    assert (reply.status, reply.body) == (200, content)
    assert reply.header("content-length") == str(len(content))
    assert reply.header("docker-content-digest") == digest
    assert reply.header("etag") == f'"{digest}"'
    assert reply.header("content-type") == "application/octet-stream"
    assert reply.header("accept-ranges") == "bytes"


@pytest.mark.parametrize("content", [CONTENT, b""], ids=["2 KiB", "0"])
async def test_head_is_get_without_the_body(push: Pushing, content: bytes) -> None:
    digest = await push.blob(content)
    read = await push.get(f"blobs/{digest}")
    seen = await push.client.request("HEAD", f"/v2/{NAME}/blobs/{digest}")
    assert (seen.status, seen.headers, seen.body) == (200, read.headers, b"")


async def test_no_browser_takes_a_blob_for_a_page_of_ours(push: Pushing) -> None:
    reply = await push.get(f"blobs/{await push.blob(b'<script>')}")
    assert reply.header("x-content-type-options") == "nosniff"
    assert reply.header("content-security-policy") == "sandbox; default-src 'none'"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_a_blob_that_was_never_pushed_is_unknown(registry: AsgiClient, method: str) -> None:
    reply = await registry.request(method, f"/v2/{NAME}/blobs/{UNKNOWN}")
    assert reply.status == 404
    assert method == "HEAD" or codes(reply) == ["BLOB_UNKNOWN"]


async def test_a_deleted_blob_is_unknown_at_once(push: Pushing) -> None:
    digest = await push.blob(CONTENT)
    path = f"/v2/{NAME}/blobs/{digest}"
    deleted = await push.client.request("DELETE", path)
    assert (deleted.status, deleted.body) == (202, b"")
    for method in ("HEAD", "GET", "DELETE"):
        assert (await push.client.request(method, path)).status == 404


async def test_a_deleted_blob_can_be_pushed_again(push: Pushing) -> None:
    digest = await push.blob(CONTENT)
    await push.client.request("DELETE", f"/v2/{NAME}/blobs/{digest}")
    await push.blob(CONTENT)
    assert (await push.get(f"blobs/{digest}")).body == CONTENT


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
        ("bytes=0-18446744073709551616", 0, 2048),
    ],
)
async def test_a_range_is_answered_by_206(push: Pushing, header: str, start: int, stop: int) -> None:
    digest = await push.blob(CONTENT)
    reply = await push.get(f"blobs/{digest}", Range=header)
    assert (reply.status, reply.body) == (206, CONTENT[start:stop])
    assert reply.header("content-range") == f"bytes {start}-{stop - 1}/2048"
    assert reply.header("content-length") == str(stop - start)
    assert reply.header("docker-content-digest") == digest


@pytest.mark.parametrize("header", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"])
async def test_a_range_without_bytes_is_answered_by_416_and_the_size(push: Pushing, header: str) -> None:
    reply = await push.get(f"blobs/{await push.blob(CONTENT)}", Range=header)
    assert (reply.status, codes(reply)) == (416, ["SIZE_INVALID"])
    assert reply.header("content-range") == "bytes */2048"


@pytest.mark.parametrize("header", ["items=0-5", "bytes=0-1,4-5", "bytes=x", "0-5", "bytes=0-\u0663"])
async def test_another_range_is_answered_by_the_whole_blob(push: Pushing, header: str) -> None:
    reply = await push.get(f"blobs/{await push.blob(CONTENT)}", Range=header.encode().decode("latin-1"))
    assert (reply.status, reply.body) == (200, CONTENT)


async def test_a_range_of_a_large_blob_spans_pieces(push: Pushing) -> None:
    content = CONTENT * 2048
    digest = await push.blob(content)
    reply = await push.get(f"blobs/{digest}", Range="bytes=1048575-3145729")
    assert reply.body == content[1048575:3145730]


async def test_head_ignores_a_range(push: Pushing) -> None:
    digest = await push.blob(CONTENT)
    reply = await push.client.request("HEAD", f"/v2/{NAME}/blobs/{digest}", headers={"Range": "bytes=0-9"})
    assert (reply.status, reply.header("content-length")) == (200, "2048")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
async def test_a_client_that_has_the_blob_is_told_so(push: Pushing, method: str, form: str) -> None:
    digest = await push.blob(CONTENT)
    headers = {"If-None-Match": form.format(digest)}
    reply = await push.client.request(method, f"/v2/{NAME}/blobs/{digest}", headers=headers)
    assert (reply.status, reply.body) == (304, b"")
    assert reply.header("etag") == f'"{digest}"'


@pytest.mark.parametrize("value", ['"other"', "", '"a,b,W/"",,*"', "sha256:0"])
async def test_a_client_that_has_something_else_gets_the_blob(push: Pushing, value: str) -> None:
    reply = await push.get(f"blobs/{await push.blob(CONTENT)}", If_None_Match=value)
    assert (reply.status, reply.body) == (200, CONTENT)


async def test_if_none_match_may_be_there_twice(push: Pushing) -> None:
    digest = await push.blob(CONTENT)
    lines = [("If-None-Match", f'"{digest}"'), ("If-None-Match", '"other"')]
    assert (await push.client.request("GET", f"/v2/{NAME}/blobs/{digest}", headers=lines)).status == 304


async def test_a_range_is_served_where_if_range_names_the_blob(push: Pushing) -> None:
    digest = await push.blob(CONTENT)
    reply = await push.get(f"blobs/{digest}", Range="bytes=0-9", If_Range=f'"{digest}"')
    assert (reply.status, reply.body) == (206, CONTENT[:10])


@pytest.mark.parametrize("value", ['"other"', 'W/"x"', "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_all_is_served_where_if_range_names_something_else(push: Pushing, value: str) -> None:
    reply = await push.get(f"blobs/{await push.blob(CONTENT)}", Range="bytes=0-9", If_Range=value)
    assert (reply.status, reply.body) == (200, CONTENT)
