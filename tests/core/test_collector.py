"""Garbage collection over both pairs of stores, from what clients do to what is left on the disk."""

from collections.abc import Callable

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.core.collector import Collector, Grace
from ferro_oci_server.core.records import ReviewKind, UploadId
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient, Reply
from ferro_oci_server.testing.images import Content, image, index

pytestmark = pytest.mark.anyio

GRACE = Grace(link=10, manifest=10, upload=10, trash=10, superseded=10, tick=1)


@pytest.fixture
def new_state(backend_pair: Callable[..., AppState]) -> AppState:
    """A state whose graces are ten seconds of its own clock."""
    return backend_pair(grace=GRACE)


@pytest.fixture
def client(state: AppState) -> AsgiClient:
    return AsgiClient(router(state))


@pytest.fixture
def collector(state: AppState) -> Collector:
    assert state.collector is not None
    return state.collector


async def push(client: AsgiClient, content: Content, *tags: str) -> None:
    """Push an image or an index, by digest, with tags."""
    for blob in content.blobs:
        await push_blob(client, blob)
    query = "&".join(f"tag={tag}" for tag in tags)
    target = f"/v2/a/b/manifests/{content.digest}?{query}"
    reply = await client.request("PUT", target, body=content.body, headers={"Content-Type": content.media_type})
    assert reply.status == 201, reply


async def push_blob(client: AsgiClient, blob: bytes) -> None:
    reply = await client.request("POST", f"/v2/a/b/blobs/uploads/?digest={Digest.of(blob)}", body=blob)
    assert reply.status == 201, reply


async def get(client: AsgiClient, path: str) -> Reply:
    return await client.request("GET", f"/v2/a/b/{path}")


async def collect(collector: Collector, seconds: float = 10) -> list[tuple[ReviewKind, str]]:
    """Let the clock go on, and collect; what was removed."""
    await collector.tick(0)
    await collector.tick(seconds)
    return [(verdict.kind, verdict.key) async for verdict in collector.collect() if verdict.removed]


async def stored(state: AppState) -> int:
    """How many blobs there are bytes of."""
    return len([location async for location in state._blob_store.list()])


async def test_what_tags_keep_stays_for_ever(client: AsgiClient, collector: Collector) -> None:
    child = image(b"layer")
    await push(client, child)
    await push(client, index([child]), "v1")
    for _ in range(3):
        assert await collect(collector) == []
    assert (await get(client, f"blobs/{Digest.of(b'layer')}")).body == b"layer"


async def test_blobs_without_a_manifest_go_and_their_bytes_follow(
    client: AsgiClient, collector: Collector, state: AppState
) -> None:
    await push_blob(client, b"lost")
    assert await collect(collector) == [(ReviewKind.LINK, Digest.of(b"lost"))]
    assert (await get(client, f"blobs/{Digest.of(b'lost')}")).status == 404
    assert await stored(state) == 1
    assert [kind for kind, _ in await collect(collector)] == [ReviewKind.TRASH]
    assert await stored(state) == 0


async def test_an_overwritten_image_goes_whole_except_for_what_others_share(
    client: AsgiClient, collector: Collector, state: AppState
) -> None:
    await push(client, image(b"base", b"old"), "v1")
    await push(client, image(b"base", b"new"), "v1")
    for _ in range(4):
        await collect(collector)
    assert (await get(client, "manifests/v1")).status == 200
    assert (await get(client, f"blobs/{Digest.of(b'base')}")).status == 200
    assert (await get(client, f"blobs/{Digest.of(b'old')}")).status == 404
    assert await stored(state) == 3


async def test_a_signed_image_goes_with_its_signatures(
    client: AsgiClient, collector: Collector, state: AppState
) -> None:
    signed = image(b"layer")
    await push(client, signed, "v1")
    await push(client, image(b"signature", subject=signed.descriptor()))
    assert {kind for kind, _ in await collect(collector)} == {ReviewKind.SUPERSEDED}
    await client.request("DELETE", "/v2/a/b/manifests/v1")
    for _ in range(5):
        await collect(collector)
    assert await stored(state) == 0


async def test_what_a_fallback_tag_lists_stays_while_the_tag_does(client: AsgiClient, collector: Collector) -> None:
    signature = image(b"signature")
    await push(client, signature)
    await push(client, index([signature]), f"sha256-{'a' * 64}")
    assert await collect(collector) == []
    assert await collect(collector) == []
    assert (await get(client, f"manifests/{signature.digest}")).status == 200


async def test_the_entries_of_a_build_cache_stay_though_they_are_blobs(
    client: AsgiClient, collector: Collector
) -> None:
    layer = b"cached"
    await push_blob(client, layer)
    entry = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest.of(layer), "size": len(layer)}
    await push(client, index([entry]), "cache")
    assert await collect(collector) == []
    assert (await get(client, f"blobs/{Digest.of(layer)}")).body == layer


async def test_a_push_that_only_asks_whether_a_blob_is_there_can_refer_to_it(
    client: AsgiClient, collector: Collector
) -> None:
    content = image(b"layer")
    for blob in content.blobs:
        await push_blob(client, blob)
    await collector.tick(0)
    await collector.tick(9)
    for blob in content.blobs:
        assert (await client.request("HEAD", f"/v2/a/b/blobs/{Digest.of(blob)}")).status == 200
    assert await collect(collector, 9) == []
    headers = {"Content-Type": content.media_type}
    assert (await client.request("PUT", "/v2/a/b/manifests/v1", body=content.body, headers=headers)).status == 201


async def test_a_blob_that_is_pushed_again_is_not_lost_with_its_old_bytes(
    client: AsgiClient, collector: Collector, state: AppState
) -> None:
    await push(client, image(b"layer"), "v1")
    await push_blob(client, b"layer")
    await collect(collector)
    await collect(collector)
    assert (await get(client, f"blobs/{Digest.of(b'layer')}")).body == b"layer"
    assert await stored(state) == 2


async def test_an_upload_that_rests_is_ended_and_its_bytes_dropped(client: AsgiClient, collector: Collector) -> None:
    location = (await client.request("POST", "/v2/a/b/blobs/uploads/")).location
    await client.request("PATCH", location, body=b"some")
    assert [kind for kind, _ in await collect(collector)] == [ReviewKind.UPLOAD]
    assert (await client.request("GET", location)).status == 404


async def test_an_upload_that_someone_writes_to_is_left_alone(
    client: AsgiClient, collector: Collector, state: AppState
) -> None:
    location = (await client.request("POST", "/v2/a/b/blobs/uploads/")).location
    async with state._blob_store.claim(UploadId(location.rpartition("/")[2])):
        assert await collect(collector) == []
    assert (await client.request("GET", location)).status == 204


@pytest.fixture
def patient_state(backend_pair: Callable[..., AppState]) -> AppState:
    """A state that never collects a manifest for the want of a tag."""
    return backend_pair(grace=Grace(manifest=None))


async def test_manifests_without_tags_may_be_kept_for_ever(patient_state: AppState) -> None:
    async with patient_state as state:
        assert state.collector is not None
        client = AsgiClient(router(state))
        await push(client, image(b"layer"))
        await collect(state.collector, 10**9)
        assert (await get(client, f"manifests/{image(b'layer').digest}")).status == 200


async def test_an_explanation_says_what_would_happen_and_does_nothing(
    client: AsgiClient, collector: Collector, state: AppState
) -> None:
    await push(client, image(b"layer"), "v1")
    await push_blob(client, b"lost")
    told = {verdict.key: verdict async for verdict in collector.explain()}
    assert told[Digest.of(b"lost")].removed
    assert told[Digest.of(b"layer")].reason == "a manifest refers to it"
    assert await stored(state) == 3
