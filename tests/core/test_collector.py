"""Garbage collection over both pairs of stores, from what clients do to what is left on the disk."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.collector import Collector, Grace
from ferro_oci_server.core.records import ReviewKind, UploadId, Verdict, Waste
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


class SlowMeta(InMemoryRegistryMeta):
    """A store whose every transaction of the collector takes a while; it notes when, and by what the clock went on."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[tuple[float, float]] = []
        self.ticks: list[tuple[float, int]] = []
        self.ticked = asyncio.Event()

    async def review(self, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        async with self._slow():
            return await super().review(kind, age, limit)

    async def waste(self, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        async with self._slow():
            return await super().waste(kind, age, limit)

    async def forget_waste(self, kind: ReviewKind, locations: Sequence[str]) -> None:
        async with self._slow():
            await super().forget_waste(kind, locations)

    async def tick(self, last: int, milliseconds: int) -> int:
        self.ticks.append((monotonic(), milliseconds))
        if len(self.ticks) == 4:
            self.ticked.set()
        return await super().tick(last, milliseconds)

    @asynccontextmanager
    async def _slow(self) -> AsyncIterator[None]:
        started = monotonic()
        await asyncio.sleep(0.005)
        yield
        self.transactions.append((started, monotonic()))


async def slow_registry(grace: Grace, blobs: int) -> tuple[AppState, SlowMeta]:
    """A registry on that store, with some blobs that nothing refers to."""
    meta = SlowMeta()
    state = AppState(InMemoryBlobStore(), meta, grace=grace)
    client = AsgiClient(router(state))
    for number in range(blobs):
        await push_blob(client, str(number).encode())
    return state, meta


async def test_most_of_the_time_of_a_long_collection_is_left_to_others() -> None:
    state, meta = await slow_registry(GRACE, 100)
    assert state.collector is not None
    started = monotonic()
    assert len(await collect(state.collector)) == len(await collect(state.collector)) == 100
    busy = sum(end - start for start, end in meta.transactions)
    # What finds nothing at the ends of it is not followed by a rest.
    assert monotonic() - started > 2 * busy
    await state.close()


async def test_the_collector_changes_little_at_a_time() -> None:
    state, meta = await slow_registry(GRACE, 100)
    assert state.collector is not None
    await collect(state.collector)
    # All of a transaction is waited for by everyone who shares it.
    assert len(meta.transactions) > 12
    await state.close()


async def test_the_clock_goes_on_while_a_collection_takes_its_time() -> None:
    state, meta = await slow_registry(Grace(link=0, trash=0, tick=0.02), 50)
    started = monotonic()
    async with state:
        await meta.ticked.wait()
    # The milliseconds of each tick are cut off.
    counted = sum(milliseconds for _, milliseconds in meta.ticks) / 1000
    assert counted == pytest.approx(meta.ticks[-1][0] - started, abs=0.02)
