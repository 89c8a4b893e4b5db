"""What a blob and a repository may have at most, on both pairs of stores: what is refused, and what goes on."""

from typing import Any

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.core.quota import Quota
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient, Reply
from ferro_oci_server.testing.images import image

from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

DIGEST = Digest.of(b"0123456789")


def pushing(state: AppState, **limits: int) -> Pushing:
    """Pushes to the same stores within limits."""
    return Pushing(AsgiClient(router(AppState(state._blob_store, state._registry_meta, quota=Quota(**limits)))))


async def patch(push: Pushing, location: str, body: Any, **headers: str) -> Reply:
    fields = {key.replace("_", "-"): text for key, text in headers.items()}
    return await push.client.request("PATCH", location, body=body, headers=fields)


async def standing(push: Pushing, location: str) -> str | None:
    """Where an upload stands."""
    return (await push.client.request("GET", location)).header("range")


TOO_LARGE = (413, ["SIZE_INVALID"])
EXCEEDED = (403, ["DENIED"])

# What stands in the way of ten bytes, and the answer.
NARROW = pytest.mark.parametrize(
    ("limits", "answer"),
    [({"max_blob_bytes": 9}, TOO_LARGE), ({"max_repository_bytes": 9}, EXCEEDED)],
    ids=["blob", "repository"],
)
BODIES = pytest.mark.parametrize("last", [b"56789", [b"567", b"89"]], ids=["announced", "in pieces"])


@NARROW
@BODIES
async def test_a_chunk_for_which_there_is_no_room_changes_nothing(
    state: AppState, limits: dict[str, int], answer: object, last: Any
) -> None:
    push = pushing(state, **limits)
    location = await push.session()
    assert (await patch(push, location, b"01234")).status == 202
    reply = await patch(push, location, last)
    assert (reply.status, codes(reply)) == answer
    assert await standing(push, location) == "0-4"

    # Where there is room, the session goes on.
    assert (await patch(push, location, b"5678", content_range="5-8")).status == 202
    digest = Digest.of(b"012345678")
    assert (await push.client.request("PUT", f"{location}?digest={digest}")).status == 201
    assert (await push.get(f"blobs/{digest}")).body == b"012345678"


@NARROW
@BODIES
async def test_a_closing_chunk_for_which_there_is_no_room_changes_nothing(
    state: AppState, limits: dict[str, int], answer: object, last: Any
) -> None:
    push = pushing(state, **limits)
    location = await push.session()
    await patch(push, location, b"01234")
    reply = await push.client.request("PUT", f"{location}?digest={DIGEST}", body=last)
    assert (reply.status, codes(reply)) == answer
    assert await standing(push, location) == "0-4"
    assert (await pushing(state).client.request("PUT", f"{location}?digest={DIGEST}", body=last)).status == 201


@NARROW
@BODIES
async def test_of_a_whole_blob_for_which_there_is_no_room_nothing_is_left(
    state: AppState, limits: dict[str, int], answer: object, last: Any
) -> None:
    push = pushing(state, **limits)
    body = [b"01234", *([last] if isinstance(last, bytes) else last)]
    target = f"/v2/{NAME}/blobs/uploads/?digest={DIGEST}"
    for sent in (b"0123456789", body):
        reply = await push.client.request("POST", target, body=sent)
        assert (reply.status, codes(reply)) == answer
    assert await state.count_uploads() == 0
    assert (await push.get(f"blobs/{DIGEST}")).status == 404


@NARROW
async def test_what_a_range_announces_is_refused_before_it_comes(
    state: AppState, limits: dict[str, int], answer: object
) -> None:
    async def body() -> Any:
        yield b"01234"
        raise AssertionError("this is not to be read")

    push = pushing(state, **limits)
    location = await push.session()
    reply = await patch(push, location, body(), content_range="0-9")
    assert (reply.status, codes(reply)) == answer


@NARROW
async def test_a_session_that_has_more_than_it_may_by_now_cannot_be_closed(
    state: AppState, limits: dict[str, int], answer: object
) -> None:
    location = await pushing(state).session()
    await patch(pushing(state), location, b"0123456789")
    reply = await pushing(state, **limits).client.request("PUT", f"{location}?digest={DIGEST}")
    assert (reply.status, codes(reply)) == answer


async def test_a_manifest_may_be_larger_than_a_blob(state: AppState) -> None:
    content = image(b"layer")
    await Pushing(AsgiClient(router(state))).content(content)
    assert (await pushing(state, max_blob_bytes=4, max_repository_bytes=4).manifest(content, "v1")).status == 201


async def test_of_two_uploads_for_one_of_which_there_is_room_one_is_taken(state: AppState) -> None:
    push = pushing(state, max_repository_bytes=10)
    contents = [b"012345678", b"876543210"]
    locations = [await push.session() for _ in contents]
    for location, content in zip(locations, contents, strict=True):
        assert (await patch(push, location, content)).status == 202
    replies = [
        await push.client.request("PUT", f"{location}?digest={Digest.of(content)}")
        for location, content in zip(locations, contents, strict=True)
    ]
    assert [reply.status for reply in replies] == [201, 403]
    assert (await push.into("acme/other").blob(contents[1])) == Digest.of(contents[1])


async def test_a_blob_that_is_there_is_pushed_again_whatever_room_there_is(state: AppState) -> None:
    push = pushing(state, max_repository_bytes=10)
    await push.blob(b"0123456789")
    await push.blob(b"0123456789")
    location = await push.session()
    assert (await push.client.request("PUT", f"{location}?digest={DIGEST}", body=[b"01234", b"56789"])).status == 201


async def test_a_mount_for_which_there_is_no_room_is_refused(state: AppState) -> None:
    push = pushing(state, max_repository_bytes=10)
    source = push.into("acme/source")
    large, small = await source.blob(b"01234567"), await source.blob(b"89")
    await push.blob(b"01234")
    replies = [
        await push.client.request("POST", f"/v2/{NAME}/blobs/uploads/?mount={digest}{query}")
        for digest, query in [(large, "&from=acme/source"), (small, "&from=acme/source"), (small, ""), (large, "")]
    ]
    # What is not mounted is pushed, and refused then if need be.
    assert [reply.status for reply in replies] == [403, 201, 202, 202]
    assert codes(replies[0]) == ["DENIED"]
    assert (await push.get(f"blobs/{large}")).status == 404
    assert (await push.get(f"blobs/{small}")).body == b"89"


async def test_deleting_a_blob_makes_room(state: AppState) -> None:
    push = pushing(state, max_repository_bytes=10)
    digest = await push.blob(b"0123456789")
    other = f"/v2/{NAME}/blobs/uploads/?digest={Digest.of(b'other')}"
    assert (await push.client.request("POST", other, body=b"other")).status == 403
    assert (await push.client.request("DELETE", f"/v2/{NAME}/blobs/{digest}")).status == 202
    assert (await push.client.request("POST", other, body=b"other")).status == 201


async def test_a_tag_too_many_is_refused_and_others_are_moved(state: AppState) -> None:
    first, second = image(b"first"), image(b"second")
    push = pushing(state, max_repository_tags=2)
    await push.content(first, "v1")
    await push.content(second, "v2")
    reply = await push.manifest(first, "v3")
    assert (reply.status, codes(reply)) == EXCEEDED
    reply = await push.manifest(first, f"{first.digest}?tag=v2&tag=v3")
    assert reply.status == 403
    assert (await push.get("manifests/v2")).body == second.body
    assert (await push.get("manifests/v3")).status == 404

    assert (await push.manifest(first, f"{first.digest}?tag=v1&tag=v2")).status == 201
    assert (await push.client.request("DELETE", f"/v2/{NAME}/manifests/v1")).status == 202
    assert (await push.manifest(first, "v3")).status == 201


async def test_a_manifest_too_many_is_refused_and_others_are_pushed_again(state: AppState) -> None:
    first, second = image(b"first"), image(b"second")
    push = pushing(state, max_repository_manifests=1)
    await push.content(first, "v1")
    for blob in second.blobs:
        await push.blob(blob)
    reply = await push.manifest(second, "v1")
    assert (reply.status, codes(reply)) == EXCEEDED
    assert (await push.get("manifests/v1")).body == first.body

    assert (await push.manifest(first, "v2")).status == 201
    assert (await push.client.request("DELETE", f"/v2/{NAME}/manifests/{first.digest}")).status == 202
    assert (await push.manifest(second, "v1")).status == 201


async def test_without_limits_there_is_room_for_everything(state: AppState) -> None:
    push = pushing(state, max_repository_tags=0, max_repository_manifests=0)
    for number in range(5):
        await push.content(image(bytes([number])), f"v{number}")
