"""Limits of the application: what is refused by them, and what is not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ferro_oci_server.api import routes
from ferro_oci_server.api.app import ROUTES, Router, router
from ferro_oci_server.api.exchange import Exchange
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.api.metrics import metrics_routes
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.routes import Route
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.intake import ClientVanished
from ferro_oci_server.core.ports import StoreFull, StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image

from .faults import faulty
from .pushing import NAME, Pushing, codes
from .raw import Message, scope

pytestmark = pytest.mark.anyio

IMAGE = image(b"layer")
BLOB = Digest.of(b"layer")

# Long beside what a machine needs for a request, short for a test.
SHORT = Limits(
    body_idle_seconds=0.1, body_grace_seconds=0.2, body_min_bytes_per_second=1000, response_piece_seconds=0.1
)


@pytest.fixture
def new_state() -> AppState:
    """Memory alone: limits are the same on all stores."""
    return AppState(InMemoryBlobStore(), InMemoryRegistryMeta())


def pushing(state: AppState, **limits: Any) -> Pushing:
    """Pushes to the same registry within other limits."""
    return Pushing(AsgiClient(router(state, limits=Limits(**limits)).merge(probe_routes()).merge(metrics_routes())))


# A registry that is read-only.


async def fill(state: AppState) -> dict[str, str]:
    """Push something of everything; return a path for each pattern."""
    push = Pushing(AsgiClient(router(state)))
    await push.content(IMAGE, "v1")
    return {
        routes.BASE: "/v2/",
        routes.CATALOG: "/v2/_catalog",
        routes.TAGS: f"/v2/{NAME}/tags/list",
        routes.MANIFEST: f"/v2/{NAME}/manifests/v1",
        routes.REFERRERS: f"/v2/{NAME}/referrers/{IMAGE.digest}",
        routes.BLOB: f"/v2/{NAME}/blobs/{BLOB}",
        routes.UPLOADS: f"/v2/{NAME}/blobs/uploads/",
        routes.UPLOAD: await push.session(),
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
async def test_a_registry_that_is_read_only_reads_and_does_nothing_else(state: AppState, route: Route) -> None:
    path = (await fill(state))[route.pattern]
    client = pushing(state, read_only=True).client

    reply = await client.request(route.method, path)

    if route.method in ("GET", "HEAD"):
        assert reply.status in (200, 204)
    else:
        allowed = ", ".join(sorted(r.method for r in ROUTES if r.pattern == route.pattern and r.method[0] in "GH"))
        assert (reply.status, codes(reply), reply.header("allow")) == (405, ["UNSUPPORTED"], allowed)
        assert (await client.request("GET", f"/v2/{NAME}/manifests/v1")).body == IMAGE.body


@pytest.mark.parametrize("query", [f"?mount={BLOB}&from={NAME}", f"?digest={BLOB}"])
async def test_a_registry_that_is_read_only_mounts_nothing(state: AppState, query: str) -> None:
    await fill(state)
    push = pushing(state, read_only=True).into("other/name")
    reply = await push.client.request("POST", f"/v2/other/name/blobs/uploads/{query}", body=b"layer")
    assert reply.status == 405
    assert (await push.get(f"blobs/{BLOB}")).status == 404


# Bodies that do not come.


async def stalling(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    await asyncio.get_running_loop().create_future()


async def trickling(piece: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(0.02)
        yield piece


async def test_of_a_body_that_stalls_what_came_is_kept(state: AppState) -> None:
    push = Pushing(AsgiClient(router(state, limits=SHORT)))
    location = await push.session()
    reply = await push.client.request("PATCH", location, body=stalling(b"lay"))
    assert (reply.status, codes(reply), reply.header("connection")) == (408, ["UNSUPPORTED"], "close")
    assert (await push.client.request("GET", location)).header("range") == "0-2"
    assert (await push.client.request("PUT", f"{location}?digest={BLOB}", body=b"er")).status == 201


async def test_of_a_whole_blob_that_stalls_nothing_is_kept(state: AppState) -> None:
    push = Pushing(AsgiClient(router(state, limits=SHORT)))
    reply = await push.client.request("POST", f"/v2/{NAME}/blobs/uploads/?digest={BLOB}", body=stalling(b"lay"))
    assert reply.status == 408
    assert await state.count_uploads() == 0


async def test_a_manifest_that_stalls_is_not_stored(state: AppState) -> None:
    push = Pushing(AsgiClient(router(state, limits=SHORT)))
    assert (await push.client.request("PUT", f"/v2/{NAME}/manifests/v1", body=stalling(b"{"))).status == 408
    assert (await push.get("manifests/v1")).status == 404


async def test_a_body_that_trickles_is_cut_off(state: AppState) -> None:
    push = Pushing(AsgiClient(router(state, limits=SHORT)))
    reply = await push.client.request("PATCH", await push.session(), body=trickling(b"x", 1000))
    assert reply.status == 408


@pytest.mark.parametrize(
    ("rate", "piece"), [(1000, b"x" * 200), (0, b"x")], ids=["fast enough", "where slowness has no limit"]
)
async def test_a_slow_body_is_taken(state: AppState, rate: int, piece: bytes) -> None:
    limits = Limits(body_idle_seconds=5, body_grace_seconds=0.1, body_min_bytes_per_second=rate)
    push = Pushing(AsgiClient(router(state, limits=limits)))
    reply = await push.client.request("PATCH", await push.session(), body=trickling(piece, 15))
    assert reply.status == 202


async def test_that_a_store_is_slow_is_not_held_against_the_client() -> None:
    messages = [{"type": "http.request", "body": b"x", "more_body": more} for more in (True, True, True, False)]

    async def receive() -> Message:
        return messages.pop(0)

    request = Request(scope("PATCH"), receive, SHORT)
    async for _ in request.pieces():
        await asyncio.sleep(0.15)
    assert request.received == 4


async def test_the_connection_of_a_body_that_stalls_is_shared_in_http_2() -> None:
    request = Request(scope("PATCH", http_version="2"), asyncio.get_running_loop().create_future, SHORT)
    with pytest.raises(ClientVanished):
        await anext(aiter(request.pieces()))
    assert (request.stalled, request.has_own_connection) == (True, False)


# Readers that do not read.


class Stalled:
    """A client that asks, takes so many bytes, and then nothing."""

    def __init__(self, takes: int) -> None:
        self.taken = 0
        self._takes = takes

    async def get(self, app: Router, path: str) -> None:
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            for message in messages:
                return message
            await asyncio.get_running_loop().create_future()
            raise AssertionError("nothing more comes")

        await app(scope("GET", path), receive, self._send)

    async def _send(self, message: Message) -> None:
        self.taken += len(message.get("body", b""))
        if self.taken > self._takes:
            await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("takes", [0, 1_500_000])
async def test_a_blob_whose_reader_stalls_is_closed(state: AppState, takes: int) -> None:
    digest = await Pushing(AsgiClient(router(state))).blob(b"x" * 3_000_000)
    seen = list[Exchange]()
    app = router(state, observers=[seen.append], limits=SHORT)
    async with asyncio.timeout(5):
        await Stalled(takes).get(app, f"/v2/{NAME}/blobs/{digest}")
    assert [(exchange.status, exchange.vanished) for exchange in seen] == [(200, True)]


async def test_a_large_list_whose_reader_stalls_is_given_up(state: AppState) -> None:
    push = Pushing(AsgiClient(router(state)))
    await push.content(IMAGE)
    for number in range(800):
        await push.manifest(IMAGE, f"{number:0128}")
    seen = list[Exchange]()
    async with asyncio.timeout(5):
        app = router(state, observers=[seen.append], limits=SHORT)
        await Stalled(0).get(app, f"/v2/{NAME}/tags/list")
    assert [exchange.vanished for exchange in seen] == [True]


# Too many, and too much.


async def test_a_request_too_many_comes_again_and_probes_and_metrics_are_answered(state: AppState) -> None:
    push = pushing(state, max_concurrent_requests=1)
    location = await push.session()
    running = asyncio.ensure_future(push.client.request("PATCH", location, body=stalling(b"x")))
    await asyncio.sleep(0.01)

    reply = await push.client.request("GET", "/v2/")
    assert (reply.status, codes(reply), reply.header("retry-after")) == (503, ["TOOMANYREQUESTS"], "2")
    for path in ("/live", "/ready", "/metrics"):
        assert (await push.client.request("GET", path)).status == 200

    running.cancel()
    await asyncio.wait([running])
    assert (await push.client.request("GET", "/v2/")).status == 200


async def test_a_session_too_many_comes_again(state: AppState) -> None:
    push = pushing(state, max_open_uploads=2)
    location, _ = await push.session(), await push.session()
    reply = await push.client.request("POST", f"/v2/{NAME}/blobs/uploads/")
    assert (reply.status, codes(reply), reply.header("retry-after")) == (429, ["TOOMANYREQUESTS"], "60")
    assert (await push.client.request("DELETE", location)).status == 204
    await push.session()


async def test_sessions_that_ended_are_not_counted(state: AppState) -> None:
    push = pushing(state, max_open_uploads=2)
    for number in range(10):
        await push.blob(bytes([number]))


async def test_sessions_that_others_have_opened_are_counted(state: AppState) -> None:
    push, other = pushing(state, max_open_uploads=2), pushing(state)
    _, location = await other.session(), await other.session()
    assert (await push.client.request("POST", f"/v2/{NAME}/blobs/uploads/")).status == 429
    assert (await push.client.request("GET", location)).status == 204


async def test_without_a_limit_there_may_be_any_number(state: AppState) -> None:
    push = pushing(state, max_open_uploads=0, max_concurrent_requests=0)
    for _ in range(10):
        await push.session()


async def test_an_authorization_of_16_kib_is_read_and_a_longer_one_is_not(state: AppState) -> None:
    client = pushing(state).client
    assert (await client.request("GET", "/v2/", headers={"Authorization": "x" * 16 * 1024})).status == 200
    reply = await client.request("GET", "/v2/", headers={"Authorization": "x" * (16 * 1024 + 1)})
    assert (reply.status, codes(reply)) == (431, ["UNSUPPORTED"])


# No room.


async def test_without_room_new_content_is_refused_and_the_rest_goes_on(state: AppState, tmp_path: Path) -> None:
    paths = await fill(state)
    push = pushing(state, storage_dir=tmp_path, min_free_bytes=2**62)
    for method, pattern in [("POST", routes.UPLOADS), ("PATCH", routes.UPLOAD), ("PUT", routes.MANIFEST)]:
        reply = await push.client.request(method, paths[pattern], body=b"x")
        assert (reply.status, codes(reply), reply.header("retry-after")) == (507, ["DENIED"], "60")
    assert (await push.get("manifests/v1")).body == IMAGE.body
    assert (await push.client.request("DELETE", paths[routes.UPLOAD])).status == 204
    assert (await push.client.request("DELETE", paths[routes.BLOB])).status == 202


async def test_with_room_everything_is_taken(state: AppState, tmp_path: Path) -> None:
    await pushing(state, storage_dir=tmp_path, min_free_bytes=1).content(IMAGE, "v1")


async def test_a_disk_that_cannot_be_asked_takes_nothing_for_now(state: AppState, tmp_path: Path) -> None:
    push = pushing(state, storage_dir=tmp_path / "gone")
    assert (await push.client.request("POST", f"/v2/{NAME}/blobs/uploads/")).status == 503


@pytest.mark.parametrize(
    ("error", "status", "retry"), [(StoreFull(""), 507, "60"), (StoreUnavailable(""), 503, "2")], ids=["full", "other"]
)
async def test_a_store_that_is_full_says_so(error: StoreUnavailable, status: int, retry: str) -> None:
    state = AppState(InMemoryBlobStore(), faulty(InMemoryRegistryMeta(), error, "create_upload"))
    reply = await AsgiClient(router(state)).request("POST", f"/v2/{NAME}/blobs/uploads/")
    assert (reply.status, codes(reply), reply.header("retry-after")) == (status, ["UNKNOWN"], retry)


def test_limits_are_those_of_the_router_that_has_them() -> None:
    limits = Limits(read_only=True)
    assert probe_routes().merge(Router((), limits=limits))._bounds is limits
    assert Router((), limits=limits).merge(probe_routes())._bounds is limits
