"""A registry whose object store is out of order says so, and goes on when that is over."""

from collections.abc import AsyncIterator

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.blob_store.steps import content_of
from ferro_oci_server.testing.client import AsgiClient, Reply
from support.fault_proxy import Fault, FaultProxy, fault_proxy, refused
from support.object_store import S3Server

pytestmark = pytest.mark.anyio

BLOB = content_of(12 * 1024 * 1024)
DIGEST = Digest.of(BLOB)


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(s3.address) as running:
        yield running


@pytest.fixture
async def state(s3: S3Server, proxy: FaultProxy) -> AsyncIterator[AppState]:
    store = ObjectBlobStore.from_url(s3.url(address=proxy.address, timeout="1"))
    async with AppState(store, InMemoryRegistryMeta()) as state:
        yield state


@pytest.fixture
def client(state: AppState) -> AsgiClient:
    return AsgiClient(router(state))


def says_to_come_back(reply: Reply) -> bool:
    return reply.status == 503 and int(reply.header("retry-after") or 0) > 0


async def test_a_chunk_that_is_refused_can_be_sent_again(client: AsgiClient, proxy: FaultProxy) -> None:
    session = (await client.request("POST", "/v2/a/b/blobs/uploads/")).location
    assert (await client.request("PATCH", session, body=BLOB[:1000])).status == 202
    proxy.always(refused())
    assert says_to_come_back(await client.request("PATCH", session, body=BLOB[1000:]))
    assert (await client.request("GET", session)).header("range") == "0-999"
    proxy.heal()
    assert (await client.request("PATCH", session, body=BLOB[1000:])).status == 202
    proxy.always(refused())
    assert says_to_come_back(await client.request("PUT", f"{session}?digest={DIGEST}"))
    proxy.heal()
    assert (await client.request("PUT", f"{session}?digest={DIGEST}")).status == 201
    assert (await client.request("GET", f"/v2/a/b/blobs/{DIGEST}")).body == BLOB


async def test_a_blob_that_cannot_be_read_now_is_not_lost(client: AsgiClient, proxy: FaultProxy) -> None:
    await client.request("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", body=BLOB)
    for fault in (refused(), Fault(takes=0)):
        proxy.always(fault)
        for headers in ({}, {"Range": "bytes=5-10"}):
            assert says_to_come_back(await client.request("GET", f"/v2/a/b/blobs/{DIGEST}", headers=headers))
        assert (await client.request("HEAD", f"/v2/a/b/blobs/{DIGEST}")).status == 200
    proxy.heal()
    assert (await client.request("GET", f"/v2/a/b/blobs/{DIGEST}")).body == BLOB


async def test_a_blob_that_the_store_has_lost_is_unknown_until_it_is_pushed_again(
    client: AsgiClient, proxy: FaultProxy
) -> None:
    push = ("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}")
    await client.request(*push, body=BLOB)
    proxy.always(Fault(is_effective=False, answer=(404, "<Error><Code>NoSuchKey</Code></Error>")))
    assert (await client.request("GET", f"/v2/a/b/blobs/{DIGEST}")).status == 404
    proxy.heal()
    assert (await client.request("HEAD", f"/v2/a/b/blobs/{DIGEST}")).status == 404
    await client.request(*push, body=BLOB)
    assert (await client.request("GET", f"/v2/a/b/blobs/{DIGEST}")).body == BLOB
