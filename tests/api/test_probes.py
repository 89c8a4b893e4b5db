"""Health probes."""

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient

from .faults import faulty

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/live", "/healthz", "/ready"])
async def test_a_registry_that_works_says_so(registry: AsgiClient, method: str, path: str) -> None:
    reply = await registry.request(method, path)
    assert reply.status == 200
    assert bool(reply.body) == (method == "GET")


@pytest.fixture(params=["blobs", "metadata"])
def broken(request: pytest.FixtureRequest) -> AsgiClient:
    """A registry one of whose stores does not answer."""
    blobs, meta = InMemoryBlobStore(), InMemoryRegistryMeta()
    if request.param == "blobs":
        blobs = faulty(blobs, StoreUnavailable("down"), "check")
    else:
        meta = faulty(meta, StoreUnavailable("down"), "check")
    return AsgiClient(router(AppState(blobs, meta)).merge(probe_routes()))


async def test_a_registry_whose_store_is_down_is_not_ready(broken: AsgiClient) -> None:
    reply = await broken.request("GET", "/ready")
    assert (reply.status, reply.header("retry-after") is not None) == (503, True)
    assert b"down" not in reply.body


@pytest.mark.parametrize("path", ["/live", "/healthz"])
async def test_a_registry_whose_store_is_down_is_alive(broken: AsgiClient, path: str) -> None:
    assert (await broken.request("GET", path)).status == 200


async def test_without_them_there_are_no_probes(state: AppState) -> None:
    assert (await AsgiClient(router(state)).request("GET", "/ready")).status == 404


async def test_either_router_may_be_merged_into_the_other(state: AppState) -> None:
    client = AsgiClient(probe_routes().merge(router(state)))
    assert (await client.request("GET", "/ready")).status == 200
    assert (await client.request("GET", "/v2/")).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_probe_is_only_read(registry: AsgiClient, method: str) -> None:
    reply = await registry.request(method, "/ready")
    assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")
