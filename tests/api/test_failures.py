"""What clients are told when something is wrong here: that, and nothing else."""

import json
import logging

import pytest

from ferro_oci_server.api.app import Router, router
from ferro_oci_server.api.exchange import Exchange
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.ports import StoreCorrupted, StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient, Reply
from ferro_oci_server.testing.images import image

from .faults import faulty
from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

SECRET = "postgresql://user:password@db.internal/registry"
FAILURES = [(StoreUnavailable(SECRET), 503), (StoreCorrupted(SECRET), 500), (ZeroDivisionError(SECRET), 500)]
failures = pytest.mark.parametrize(("error", "status"), FAILURES, ids=lambda value: type(value).__name__)

IMAGE = image(b"layer")
BLOB = Digest.of(b"layer")
SESSION = "00000000-0000-4000-8000-000000000000"

# A request, and the call of the metadata store that it needs.
NEEDS = [
    ("GET", "/v2/_catalog", "list_repositories"),
    ("GET", f"/v2/{NAME}/tags/list", "list_tags"),
    ("GET", f"/v2/{NAME}/manifests/v1", "get_manifest"),
    ("HEAD", f"/v2/{NAME}/manifests/v1", "stat_manifest"),
    ("DELETE", f"/v2/{NAME}/manifests/v1", "delete_tag"),
    ("DELETE", f"/v2/{NAME}/manifests/{BLOB}", "delete_manifest"),
    ("GET", f"/v2/{NAME}/referrers/{BLOB}", "list_referrers"),
    ("GET", f"/v2/{NAME}/blobs/{BLOB}", "get_blob"),
    ("HEAD", f"/v2/{NAME}/blobs/{BLOB}", "get_blob"),
    ("DELETE", f"/v2/{NAME}/blobs/{BLOB}", "unlink_blob"),
    ("POST", f"/v2/{NAME}/blobs/uploads/", "create_upload"),
    ("POST", f"/v2/{NAME}/blobs/uploads/?mount={BLOB}", "mount_blob"),
    ("GET", f"/v2/{NAME}/blobs/uploads/{SESSION}", "get_upload"),
    ("DELETE", f"/v2/{NAME}/blobs/uploads/{SESSION}", "get_upload"),
]


def client_of(blobs: InMemoryBlobStore | None = None, meta: InMemoryRegistryMeta | None = None) -> AsgiClient:
    state = AppState(blobs or InMemoryBlobStore(), meta or InMemoryRegistryMeta())
    return AsgiClient(router(state).merge(probe_routes()))


def assert_failed(reply: Reply, status: int) -> None:
    """The reply has the specification's shape, and shows nothing of the error."""
    assert (reply.status, codes(reply)) == (status, ["UNKNOWN"])
    assert (reply.header("retry-after") is not None) == (status == 503)
    assert SECRET.encode() not in reply.body
    assert b"Zero" not in reply.body
    assert json.loads(reply.body)["errors"][0]["detail"]["reference"]


@failures
@pytest.mark.parametrize(("method", "path", "needed"), NEEDS)
async def test_metadata_that_fails(method: str, path: str, needed: str, error: Exception, status: int) -> None:
    client = client_of(meta=faulty(InMemoryRegistryMeta(), error, needed))
    reply = await client.request(method, path)
    assert reply.status == status
    if method != "HEAD":
        assert_failed(reply, status)


@failures
async def test_a_manifest_that_cannot_be_stored(error: Exception, status: int) -> None:
    push = Pushing(client_of(meta=faulty(InMemoryRegistryMeta(), error, "put_manifest")))
    assert_failed(await push.manifest(image()), status)


@failures
async def test_a_session_that_cannot_be_ended(error: Exception, status: int) -> None:
    push = Pushing(client_of(meta=faulty(InMemoryRegistryMeta(), error, "delete_upload")))
    assert_failed(await push.client.request("DELETE", await push.session()), status)


@failures
@pytest.mark.parametrize("needed", ["append", "commit"])
async def test_a_blob_that_cannot_be_written(needed: str, error: Exception, status: int) -> None:
    push = Pushing(client_of(blobs=faulty(InMemoryBlobStore(), error, needed)))
    location = await push.session()
    reply = await push.client.request("PUT", f"{location}?digest={BLOB}", body=b"layer")
    assert_failed(reply, status)
    assert (await push.get(f"blobs/{BLOB}")).status == 404


@pytest.mark.parametrize("needed", ["append", "commit"])
async def test_a_session_survives_a_store_that_fails(needed: str) -> None:
    blobs, meta = InMemoryBlobStore(), InMemoryRegistryMeta()
    push = Pushing(client_of(faulty(blobs, StoreUnavailable(""), needed), meta))
    location = await push.session()
    assert (await push.client.request("PUT", f"{location}?digest={BLOB}", body=b"layer")).status == 503
    repaired = client_of(blobs, meta)
    assert (await repaired.request("PUT", f"{location}?digest={BLOB}", body=b"layer")).status == 201


@pytest.mark.parametrize("needed", ["append", "commit"])
async def test_of_one_post_that_failed_no_session_is_left(needed: str) -> None:
    meta = InMemoryRegistryMeta()
    client = client_of(faulty(InMemoryBlobStore(), StoreUnavailable(""), needed), meta)
    reply = await client.request("POST", f"/v2/{NAME}/blobs/uploads/?digest={BLOB}", body=b"layer")
    assert reply.status == 503
    assert await meta.count_uploads() == 0


@failures
async def test_a_blob_that_cannot_be_opened(error: Exception, status: int) -> None:
    blobs, meta = InMemoryBlobStore(), InMemoryRegistryMeta()
    await Pushing(client_of(blobs, meta)).blob(b"layer")
    reply = await Pushing(client_of(faulty(blobs, error, "open"), meta)).get(f"blobs/{BLOB}")
    assert_failed(reply, status)


async def test_a_blob_whose_bytes_are_gone_is_unknown_and_can_be_pushed_again() -> None:
    blobs = InMemoryBlobStore()
    push = Pushing(client_of(blobs))
    await push.blob(b"layer")
    async for location in blobs.list():
        await blobs.delete(location)
    reply = await push.get(f"blobs/{BLOB}")
    assert (reply.status, codes(reply)) == (404, ["BLOB_UNKNOWN"])
    await push.blob(b"layer")
    assert (await push.get(f"blobs/{BLOB}")).body == b"layer"


async def test_an_upload_whose_staged_bytes_are_gone_cannot_go_on() -> None:
    blobs = InMemoryBlobStore()
    push = Pushing(client_of(blobs))
    location = await push.session()
    await push.client.request("PATCH", location, body=b"lay")
    await blobs.discard(location.rpartition("/")[2])  # type: ignore[arg-type]
    reply = await push.client.request("PATCH", location, body=b"er")
    assert (reply.status, codes(reply)) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert (await push.client.request("GET", location)).status == 404


@failures
async def test_what_failed_is_logged_once_under_the_reference(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(meta=faulty(InMemoryRegistryMeta(), error, "list_repositories"))
    reply = await client.request("GET", "/v2/_catalog")
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.reference == json.loads(reply.body)["errors"][0]["detail"]["reference"]  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_observers_are_told_what_failed() -> None:
    error, seen = StoreUnavailable(""), list[Exchange]()
    state = AppState(InMemoryBlobStore(), faulty(InMemoryRegistryMeta(), error, "list_repositories"))
    client = AsgiClient(router(state, observers=[seen.append]))
    await client.request("GET", "/v2/_catalog")
    assert [(exchange.status, exchange.error, exchange.pattern) for exchange in seen] == [(503, error, "/v2/_catalog")]


async def test_what_a_client_did_wrong_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    await client_of().request("GET", f"/v2/{NAME}/manifests/v1")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_routes_without_a_state_fail_as_such() -> None:
    reply = await AsgiClient(probe_routes()).request("GET", "/live")
    assert reply.status == 500


# Closing.


class Closing:
    """Counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


async def live(app: Router) -> list[str]:
    """Serve a whole lifespan; return what the application said."""
    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    said = list[str]()

    async def receive() -> dict[str, str]:
        return {"type": next(messages)}

    async def send(message: object) -> None:
        said.append(message["type"])  # type: ignore[index]

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    return said


async def test_the_end_of_the_lifespan_closes_both_stores() -> None:
    blobs, meta = Closing(), Closing()
    app = router(AppState(blobs, meta)).merge(probe_routes())  # type: ignore[arg-type]
    assert await live(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (blobs.closed, meta.closed) == (1, 1)


async def test_routes_without_a_state_live_too() -> None:
    assert await live(probe_routes()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_store_that_cannot_be_closed_does_not_keep_the_other_open() -> None:
    blobs, meta = Closing(), faulty(Closing(), StoreUnavailable(""), "close")
    with pytest.raises(StoreUnavailable):
        await AppState(blobs, meta).close()  # type: ignore[arg-type]
    assert blobs.closed == 1
