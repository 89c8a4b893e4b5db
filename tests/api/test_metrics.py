"""Metrics: what they count, and by which names."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ferro_oci_server.api.app import router
from ferro_oci_server.api.metrics import metrics_routes
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.ports import StoreCorrupted, StoreUnavailable
from ferro_oci_server.core.state import PACKAGE_NAME, AppState
from ferro_oci_server.testing.client import AsgiClient

from .faults import faulty
from .pushing import NAME, Pushing

pytestmark = pytest.mark.anyio


class Measured:
    """A registry with metrics, and what they say."""

    def __init__(self, blobs: InMemoryBlobStore, meta: InMemoryRegistryMeta) -> None:
        self.client = AsgiClient(router(AppState(blobs, meta)).merge(metrics_routes()))
        self.push = Pushing(self.client)

    async def value(self, sample: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels."""
        reply = await self.client.request("GET", "/metrics")
        assert reply.status == 200
        assert (reply.header("content-type") or "").startswith("text/plain")
        return sum(
            found.value
            for family in text_string_to_metric_families(reply.body.decode())
            for found in family.samples
            if found.name == sample and labels.items() <= found.labels.items()
        )


@pytest.fixture
def measured() -> Measured:
    return Measured(InMemoryBlobStore(), InMemoryRegistryMeta())


async def test_requests_are_counted_by_method_route_and_status(measured: Measured) -> None:
    for name in ("a", "b/c"):
        await measured.client.request("GET", f"/v2/{name}/manifests/v1")
    labels = {"method": "GET", "route": "/v2/<name>/manifests/<reference>", "status": "404"}
    assert await measured.value("ferro_oci_requests_total", **labels) == 2


async def test_every_sample_names_the_package(measured: Measured) -> None:
    await measured.client.request("GET", "/v2/")
    total = await measured.value("ferro_oci_requests_total")
    assert total == await measured.value("ferro_oci_requests_total", package=PACKAGE_NAME) - 1 > 0
    assert await measured.value("ferro_oci_request_seconds_count", package=PACKAGE_NAME, route="/v2/") == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/no/such/path"), ("GET", "/v2/a/b"), ("GET", "/v2/" + "a" * 9000), ("BREW", "/v2/"), ("A" * 4000, "/x")],
    ids=lambda value: value[:12],
)
async def test_what_clients_make_up_makes_no_label(measured: Measured, method: str, path: str) -> None:
    await measured.client.request(method, path)
    text = (await measured.client.request("GET", "/metrics")).body.decode()
    assert "BREW" not in text
    assert "AAA" not in text
    assert "such" not in text
    assert await measured.value("ferro_oci_requests_total") >= 1


async def test_bytes_are_counted_both_ways(measured: Measured) -> None:
    digest = await measured.push.blob(b"x" * 100_000)
    await measured.push.get(f"blobs/{digest}")
    await measured.push.get(f"blobs/{digest}", Range="bytes=0-9")
    assert await measured.value("ferro_oci_body_bytes_total", direction="received") == 100_000
    assert await measured.value("ferro_oci_body_bytes_total", direction="sent") > 100_010


async def test_head_sends_no_bytes(measured: Measured) -> None:
    digest = await measured.push.blob(b"x" * 100_000)
    before = await measured.value("ferro_oci_body_bytes_total", direction="sent")
    await measured.client.request("HEAD", f"/v2/{NAME}/blobs/{digest}")
    assert await measured.value("ferro_oci_body_bytes_total", direction="sent") - before < 50_000


async def test_open_uploads_are_counted(measured: Measured) -> None:
    locations = [await measured.push.session() for _ in range(3)]
    assert await measured.value("ferro_oci_open_uploads", package=PACKAGE_NAME) == 3
    await measured.client.request("DELETE", locations[0])
    assert await measured.value("ferro_oci_open_uploads") == 2


@pytest.mark.parametrize("error", [StoreUnavailable("x"), StoreCorrupted("x")], ids=lambda error: type(error).__name__)
async def test_errors_of_stores_are_counted_by_kind(error: Exception) -> None:
    measured = Measured(InMemoryBlobStore(), faulty(InMemoryRegistryMeta(), error, "list_repositories"))
    await measured.client.request("GET", "/v2/_catalog")
    await measured.client.request("GET", "/v2/")
    assert await measured.value("ferro_oci_store_errors_total", kind=type(error).__name__) == 1


async def test_metrics_are_there_when_a_store_is_not() -> None:
    measured = Measured(InMemoryBlobStore(), faulty(InMemoryRegistryMeta(), StoreUnavailable("x"), "count_uploads"))
    await measured.client.request("GET", "/v2/")
    assert await measured.value("ferro_oci_requests_total", route="/v2/") == 1


async def test_what_is_not_known_is_not_reported() -> None:
    measured = Measured(InMemoryBlobStore(), faulty(InMemoryRegistryMeta(), StoreUnavailable("x"), "count_uploads"))
    reply = await measured.client.request("GET", "/metrics")
    assert b"ferro_oci_open_uploads{" not in reply.body


async def test_workers_that_share_a_folder_report_what_all_of_them_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    meta = faulty(InMemoryRegistryMeta(), StoreUnavailable("x"), "list_repositories")
    workers = [Measured(InMemoryBlobStore(), meta) for _ in range(3)]
    # It tells the others soon, and goes.
    gone = workers.pop()
    for worker in (*workers, gone):
        await worker.push.blob(b"x" * 100)
        for path in ("/v2/", "/v2/", "/v2/_catalog"):
            await worker.client.request("GET", path)
    for worker in workers:
        expected = {
            "ferro_oci_request_seconds_count": ("route", "/v2/", 6),
            "ferro_oci_body_bytes_total": ("direction", "received", 300),
            "ferro_oci_store_errors_total": ("kind", "StoreUnavailable", 3),
        }
        for sample, (label, value, count) in expected.items():
            await eventually(worker, count, sample, **{label: value})
        text = (await worker.client.request("GET", "/metrics")).body
        assert b"ferro_oci_open_uploads{" in text
    assert await asyncio.to_thread(lambda: len(list(tmp_path.iterdir()))) == 3


async def eventually(worker: Measured, count: float, sample: str, **labels: str) -> None:
    """Wait until a worker has been told of what all have counted, for some seconds."""
    for _ in range(200):
        found = await worker.value(sample, **labels)
        if found >= count:
            break
        await asyncio.sleep(0.05)
    assert found == count


async def test_times_are_counted_up_to_each_bound(measured: Measured) -> None:
    await measured.client.request("GET", "/v2/")
    counts = [await measured.value("ferro_oci_request_seconds_bucket", route="/v2/", le=le) for le in ("300.0", "+Inf")]
    assert counts == [1, 1]
    assert 0 < await measured.value("ferro_oci_request_seconds_sum", route="/v2/") < 300


async def test_two_registries_in_one_process_count_for_themselves(measured: Measured) -> None:
    other = Measured(InMemoryBlobStore(), InMemoryRegistryMeta())
    await other.client.request("GET", "/v2/")
    assert await measured.value("ferro_oci_requests_total", route="/v2/") == 0
