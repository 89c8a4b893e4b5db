"""Uploads in all their forms. Spec: end-4a, end-4b, end-4c, end-5, end-6, end-13, end-14."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.testing.client import AsgiClient, Reply

from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

UPLOADS = f"/v2/{NAME}/blobs/uploads/"
SESSION = re.compile(rf"{UPLOADS}([0-9a-f-]{{36}})")
CONTENT = bytes(range(256)) * 4
FIRST, SECOND = CONTENT[:300], CONTENT[300:]
DIGEST = Digest.of(CONTENT)
OTHER = Digest.of(b"other")


async def patch(client: AsgiClient, location: str, body: bytes, content_range: str | None = None) -> Reply:
    headers = {} if content_range is None else {"Content-Range": content_range}
    return await client.request("PATCH", location, headers=headers, body=body)


async def close(client: AsgiClient, location: str, digest: str = DIGEST, body: bytes = b"", **headers: str) -> Reply:
    fields = {key.replace("_", "-"): text for key, text in headers.items()}
    return await client.request("PUT", f"{location}?digest={digest}", headers=fields, body=body)


async def offset(client: AsgiClient, location: str) -> str | None:
    reply = await client.request("GET", location)
    assert reply.status == 204, reply
    return reply.header("range")


async def assert_stored(client: AsgiClient, reply: Reply, digest: str = DIGEST, content: bytes = CONTENT) -> None:
    """The closing reply says that the blob is stored, and it is."""
    assert (reply.status, reply.body) == (201, b"")
    assert reply.location == f"/v2/{NAME}/blobs/{digest}"
    assert reply.header("docker-content-digest") == digest
    assert (await client.request("GET", reply.location)).body == content


# The forms.


async def test_post_starts_a_session(registry: AsgiClient) -> None:
    reply = await registry.request("POST", UPLOADS)
    assert (reply.status, reply.body) == (202, b"")
    match = SESSION.fullmatch(reply.location)
    assert match is not None
    assert reply.header("docker-upload-uuid") == match[1]
    assert reply.header("range") == "0-0"
    assert (reply.header("oci-chunk-min-length") or "0").isdigit()


async def test_no_two_sessions_are_the_same(push: Pushing) -> None:
    assert len({await push.session() for _ in range(5)}) == 5


async def test_post_and_put(push: Pushing) -> None:
    await assert_stored(push.client, await close(push.client, await push.session(), body=CONTENT))


async def test_one_post(registry: AsgiClient) -> None:
    reply = await registry.request("POST", f"{UPLOADS}?digest={DIGEST}", body=CONTENT)
    await assert_stored(registry, reply)


async def test_one_post_without_a_length(registry: AsgiClient) -> None:
    await assert_stored(registry, await registry.request("POST", f"{UPLOADS}?digest={DIGEST}", body=[FIRST, SECOND]))


async def test_chunks_and_an_empty_put(push: Pushing) -> None:
    location = await push.session()
    first = await patch(push.client, location, FIRST, "0-299")
    assert (first.status, first.header("range"), first.body) == (202, "0-299", b"")
    second = await patch(push.client, first.location, SECOND, "300-1023")
    assert (second.status, second.header("range")) == (202, "0-1023")
    await assert_stored(push.client, await close(push.client, second.location))


async def test_chunks_and_a_put_with_the_last(push: Pushing) -> None:
    location = await push.session()
    await patch(push.client, location, FIRST, "0-299")
    await assert_stored(push.client, await close(push.client, location, body=SECOND, Content_Range="300-1023"))


async def test_a_put_with_the_last_chunk_needs_no_range(push: Pushing) -> None:
    location = await push.session()
    await patch(push.client, location, FIRST)
    await assert_stored(push.client, await close(push.client, location, body=SECOND))


async def test_a_stream_without_length_or_range(push: Pushing) -> None:
    location = await push.session()
    reply = await push.client.request("PATCH", location, body=[CONTENT[at : at + 100] for at in range(0, 1024, 100)])
    assert (reply.status, reply.header("range")) == (202, "0-1023")
    await assert_stored(push.client, await close(push.client, location))


async def test_many_large_pieces(push: Pushing) -> None:
    content = CONTENT * 6000
    location = await push.session()
    pieces = [content[at : at + 700_001] for at in range(0, len(content), 700_001)]
    assert (await push.client.request("PATCH", location, body=pieces)).status == 202
    digest = Digest.of(content)
    await assert_stored(push.client, await close(push.client, location, digest), digest, content)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_nothing_is_a_blob_too(push: Pushing, algorithm: Algorithm) -> None:
    digest = Digest.of(b"", algorithm)
    await assert_stored(push.client, await close(push.client, await push.session(), digest), digest, b"")


async def test_an_empty_patch_changes_nothing(push: Pushing) -> None:
    location = await push.session()
    assert (await patch(push.client, location, b"")).status == 202
    await assert_stored(push.client, await close(push.client, location, body=CONTENT))


@pytest.mark.parametrize("query", ["", "?digest-algorithm=sha512", "?digest-algorithm=sha256"])
@pytest.mark.parametrize("parts", [(CONTENT, b""), (FIRST, SECOND), (b"", CONTENT)], ids=["patch", "both", "put"])
async def test_sha512_with_and_without_notice(push: Pushing, query: str, parts: tuple[bytes, bytes]) -> None:
    digest = Digest.of(CONTENT, Algorithm.SHA512)
    location = await push.session(query)
    await patch(push.client, location, parts[0])
    await assert_stored(push.client, await close(push.client, location, digest, body=parts[1]), digest)


async def test_notice_of_one_algorithm_does_not_bind(push: Pushing) -> None:
    location = await push.session("?digest-algorithm=sha512")
    await patch(push.client, location, CONTENT)
    await assert_stored(push.client, await close(push.client, location))


@pytest.mark.parametrize("algorithm", ["md5", "SHA256", "sha384", "blake3"])
async def test_an_unknown_algorithm_is_refused_at_the_start(registry: AsgiClient, algorithm: str) -> None:
    reply = await registry.request("POST", f"{UPLOADS}?digest-algorithm={algorithm}")
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])


async def test_a_blob_can_be_pushed_again(push: Pushing) -> None:
    for _ in range(2):
        await assert_stored(push.client, await close(push.client, await push.session(), body=CONTENT))


@pytest.mark.parametrize("headers", [{"Content-Type": "multipart/form-data; boundary=x"}, {"Content-Type": "text/x"}])
async def test_a_body_is_never_read_as_a_form(registry: AsgiClient, headers: dict[str, str]) -> None:
    reply = await registry.request("POST", UPLOADS, headers=headers, body=b"digest=x&mount=y&from=z")
    assert reply.status == 202


# The order.


@pytest.mark.parametrize("content_range", ["0-299", "299-599", "301-600", "1024-1323", "bytes 500-799/1024"])
async def test_a_chunk_out_of_order_changes_nothing(push: Pushing, content_range: str) -> None:
    location = await push.session()
    await patch(push.client, location, FIRST)
    reply = await patch(push.client, location, b"x" * 300, content_range)
    assert (reply.status, codes(reply)) == (416, ["BLOB_UPLOAD_INVALID"])
    assert (reply.location, reply.header("range")) == (location, "0-299")
    assert await offset(push.client, location) == "0-299"
    await assert_stored(push.client, await close(push.client, location, body=SECOND))


async def test_the_first_chunk_starts_at_nothing(push: Pushing) -> None:
    location = await push.session()
    reply = await patch(push.client, location, FIRST, "1-300")
    assert (reply.status, reply.location, reply.header("range")) == (416, location, "0-0")
    await assert_stored(push.client, await close(push.client, location, body=CONTENT, Content_Range="0-1023"))


async def test_a_put_out_of_order_keeps_the_session(push: Pushing) -> None:
    location = await push.session()
    await patch(push.client, location, FIRST, "0-299")
    reply = await close(push.client, location, body=SECOND, Content_Range="0-723")
    assert (reply.status, codes(reply)) == (416, ["BLOB_UPLOAD_INVALID"])
    assert (reply.location, reply.header("range")) == (location, "0-299")
    assert await offset(push.client, f"{location}?digest={DIGEST}") == "0-299"
    await assert_stored(push.client, await close(push.client, location, body=SECOND, Content_Range="300-1023"))


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("content_range", ["", "x", "0x0-0x4", "0 - 4", "4-0", "0-4x", "0-18446744073709551616"])
async def test_a_range_that_cannot_be_read_changes_nothing(push: Pushing, method: str, content_range: str) -> None:
    location = await push.session()
    headers = {"Content-Range": content_range}
    target = f"{location}?digest={DIGEST}"
    reply = await push.client.request(method, target, headers=headers, body=b"hello")
    assert (reply.status, codes(reply)) == (400, ["BLOB_UPLOAD_INVALID"])
    await assert_stored(push.client, await close(push.client, location, body=CONTENT))


@pytest.mark.parametrize("content_range", ["300-400", "300-302", "300-1000000"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_chunk_of_another_length_than_its_range_changes_nothing(
    push: Pushing, method: str, content_range: str
) -> None:
    location = await push.session()
    await patch(push.client, location, FIRST)
    headers = {"Content-Range": content_range}
    reply = await push.client.request(method, f"{location}?digest={DIGEST}", headers=headers, body=b"x" * 50)
    assert (reply.status, codes(reply)) == (400, ["SIZE_INVALID"])
    assert await offset(push.client, location) == "0-299"
    await assert_stored(push.client, await close(push.client, location, body=SECOND))


async def test_an_empty_chunk_has_no_range(push: Pushing) -> None:
    reply = await patch(push.client, await push.session(), b"", "0-4")
    assert (reply.status, codes(reply)) == (400, ["SIZE_INVALID"])


# Two at once: each of these tests sends a second request while the body of the first is on its way.

Action = Callable[[], Awaitable[Reply]]


async def around(first: bytes, action: Action, replies: list[Reply], second: bytes = b"") -> AsyncIterator[bytes]:
    """A body: some bytes, then whatever ``action`` does, then the rest."""
    if first:
        yield first
    replies.append(await action())
    yield second


async def test_a_late_chunk_does_not_replace_one_that_was_acknowledged(push: Pushing) -> None:
    location, between = await push.session(), list[Reply]()
    late = around(b"", lambda: patch(push.client, location, CONTENT), between, b"y" * len(CONTENT))
    reply = await push.client.request("PATCH", location, body=late)
    assert between[0].status in (202, 416)
    if between[0].status == 202:
        assert reply.status == 416
        await assert_stored(push.client, await close(push.client, location))


async def test_a_late_chunk_does_not_change_a_blob_that_is_being_closed(push: Pushing) -> None:
    location, between = await push.session(), list[Reply]()
    late = around(b"", lambda: close(push.client, location, body=CONTENT), between, b"y" * len(CONTENT))
    reply = await push.client.request("PATCH", location, body=late)
    assert between[0].status in (201, 416)
    if between[0].status == 201:
        assert reply.status in (404, 416)
        await assert_stored(push.client, between[0])


async def test_a_late_closing_put_does_not_replace_a_chunk(push: Pushing) -> None:
    location, between = await push.session(), list[Reply]()
    late = around(b"", lambda: patch(push.client, location, CONTENT), between, b"y" * len(CONTENT))
    digest = Digest.of(b"y" * len(CONTENT))
    reply = await push.client.request("PUT", f"{location}?digest={digest}", body=late)
    if between[0].status == 202:
        assert reply.status == 416
        await assert_stored(push.client, await close(push.client, location))
    else:
        await assert_stored(push.client, reply, digest, b"y" * len(CONTENT))


async def test_a_second_writer_is_turned_away(push: Pushing) -> None:
    location, between = await push.session(), list[Reply]()
    large = b"x" * 1_000_000
    body = around(large, lambda: patch(push.client, location, b"intruder"), between, b"end")
    reply = await push.client.request("PATCH", location, body=body)
    assert (between[0].status, codes(between[0])) == (416, ["BLOB_UPLOAD_INVALID"])
    assert between[0].location == location
    assert (reply.status, reply.header("range")) == (202, "0-1000002")


async def test_a_session_that_is_cancelled_while_it_is_fed_is_gone(push: Pushing) -> None:
    location, between = await push.session(), list[Reply]()
    body = around(b"x" * 1_000_000, lambda: push.client.request("DELETE", location), between, b"end")
    reply = await push.client.request("PATCH", location, body=body)
    assert between[0].status == 204
    assert (reply.status, codes(reply)) == (404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_of_two_closings_at_once_at_most_one_is_turned_away(push: Pushing) -> None:
    location, replies = await push.session(), list[Reply]()
    await patch(push.client, location, CONTENT)

    async def close_it() -> None:
        replies.append(await close(push.client, location))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close_it)
        tasks.start_soon(close_it)
    assert sorted(reply.status for reply in replies)[0] == 201
    assert all(reply.status in (201, 404, 416) for reply in replies)
    assert (await push.get(f"blobs/{DIGEST}")).body == CONTENT


# Clients that go away.


async def test_what_came_before_the_client_vanished_is_kept(push: Pushing) -> None:
    location = await push.session()
    await push.client.request("PATCH", location, body=[FIRST], vanish=True)
    assert await offset(push.client, location) == "0-299"
    reply = await patch(push.client, location, SECOND, "300-1023")
    assert (reply.status, reply.header("range")) == (202, "0-1023")
    await assert_stored(push.client, await close(push.client, location))


async def test_a_chunk_that_was_cut_off_can_be_gone_on_from(push: Pushing) -> None:
    location = await push.session()
    headers = {"Content-Range": "0-1023"}
    await push.client.request("PATCH", location, headers=headers, body=[FIRST], vanish=True)
    assert await offset(push.client, location) == "0-299"
    await assert_stored(push.client, await close(push.client, location, body=SECOND))


async def test_a_closing_put_that_was_cut_off_can_be_repeated(push: Pushing) -> None:
    location = await push.session()
    await push.client.request("PUT", f"{location}?digest={DIGEST}", body=[FIRST], vanish=True)
    assert await offset(push.client, location) == "0-299"
    await assert_stored(push.client, await close(push.client, location, body=SECOND))


async def test_of_one_post_that_was_cut_off_nothing_is_left(push: Pushing) -> None:
    reply = await push.client.request("POST", f"{UPLOADS}?digest={DIGEST}", body=[FIRST], vanish=True)
    assert reply.status == 400
    assert (await push.get(f"blobs/{DIGEST}")).status == 404


async def test_a_client_that_vanished_before_its_first_byte_changes_nothing(push: Pushing) -> None:
    location = await push.session()
    await push.client.request("PATCH", location, body=[], vanish=True)
    await assert_stored(push.client, await close(push.client, location, body=CONTENT))


# Wrong digests.


async def test_a_wrong_digest_ends_the_session(push: Pushing) -> None:
    location = await push.session()
    reply = await close(push.client, location, OTHER, body=CONTENT)
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])
    assert (await push.client.request("GET", location)).status == 404
    assert (await push.get(f"blobs/{OTHER}")).status == 404
    assert (await push.get(f"blobs/{DIGEST}")).status == 404


@pytest.mark.parametrize("wrong", [OTHER, Digest.of(b"other", Algorithm.SHA512)], ids=["sha256", "sha512"])
async def test_a_wrong_digest_after_chunks(push: Pushing, wrong: Digest) -> None:
    location = await push.session()
    await patch(push.client, location, CONTENT)
    reply = await close(push.client, location, wrong)
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])


async def test_a_wrong_digest_of_nothing(push: Pushing) -> None:
    assert (await close(push.client, await push.session())).status == 400


async def test_a_wrong_digest_of_one_post(registry: AsgiClient) -> None:
    reply = await registry.request("POST", f"{UPLOADS}?digest={OTHER}", body=CONTENT)
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])


async def test_bytes_that_are_not_those_of_a_known_blob_do_not_replace_it(push: Pushing) -> None:
    await push.blob(CONTENT)
    assert (await close(push.client, await push.session(), body=b"x" * len(CONTENT))).status == 400
    assert (await push.get(f"blobs/{DIGEST}")).body == CONTENT


@pytest.mark.parametrize("query", ["", "digest=", "digest=md5:0", "digest=sha256:baddigeststring", f"other={DIGEST}"])
async def test_a_closing_put_names_a_digest(push: Pushing, query: str) -> None:
    location = await push.session()
    reply = await push.client.request("PUT", f"{location}?{query}", body=CONTENT)
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])
    await assert_stored(push.client, await close(push.client, location, body=CONTENT))


async def test_two_digests_are_one_too_many(push: Pushing) -> None:
    location = await push.session()
    for method, target in [("PUT", location), ("POST", UPLOADS)]:
        reply = await push.client.request(method, f"{target}?digest={OTHER}&digest={DIGEST}", body=CONTENT)
        assert (reply.status, codes(reply)) == (400, ["UNSUPPORTED"])


# Status, and the end.


async def test_the_status_says_where_to_go_on(push: Pushing) -> None:
    location = await push.session()
    await patch(push.client, location, FIRST)
    reply = await push.client.request("GET", location)
    assert (reply.status, reply.location, reply.header("range"), reply.body) == (204, location, "0-299", b"")
    assert reply.header("docker-upload-uuid") == location.rpartition("/")[2]


async def test_head_is_the_status_too(push: Pushing) -> None:
    location = await push.session()
    read, seen = [await push.client.request(method, location) for method in ("GET", "HEAD")]
    assert (seen.status, seen.headers, seen.body) == (204, read.headers, b"")


async def test_a_cancelled_session_is_unknown(push: Pushing) -> None:
    location = await push.session()
    await patch(push.client, location, FIRST)
    reply = await push.client.request("DELETE", location)
    assert (reply.status, reply.body) == (204, b"")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        again = await push.client.request(method, f"{location}?digest={DIGEST}", body=b"x")
        assert (method, again.status, codes(again)) == (method, 404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_a_closed_session_is_unknown(push: Pushing) -> None:
    location = await push.session()
    await close(push.client, location, body=CONTENT)
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        again = await push.client.request(method, f"{location}?digest={DIGEST}", body=b"x")
        assert (method, again.status, codes(again)) == (method, 404, ["BLOB_UPLOAD_UNKNOWN"])
    assert (await push.get(f"blobs/{DIGEST}")).body == CONTENT


@pytest.mark.parametrize(
    "session",
    [
        "00000000-0000-4000-8000-000000000000",
        "00000000000040008000000000000000",
        "urn:uuid:00000000-0000-4000-8000-000000000000",
        "notauuid",
        "..",
        "%2e%2e%2f%2e%2e%2fetc",
        "%c3%a9",
        "00000000-0000-4000-8000-000000000000%0d%0aX:1",
        "00000000-0000-4000-8000-000000000000%2fhashstates",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_a_session_that_was_never_started_is_unknown(registry: AsgiClient, method: str, session: str) -> None:
    reply = await registry.request(method, f"{UPLOADS}{session}?digest={DIGEST}", body=b"x")
    assert (reply.status, codes(reply)) == (404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_a_session_survives_any_query(push: Pushing) -> None:
    location = await push.session()
    reply = await push.client.request("PATCH", f"{location}?_state=AAAA&offset=999&name=other", body=CONTENT)
    assert (reply.status, reply.header("range")) == (202, "0-1023")
    assert reply.location == location
