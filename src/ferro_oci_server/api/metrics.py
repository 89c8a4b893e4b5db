"""Metrics in Prometheus' text format.

Where several workers serve, each sees a part of the requests: with ``PROMETHEUS_MULTIPROC_DIR`` set, as the command
sets it, any of them reports the sum.
"""

import asyncio
import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from ferro_oci_server.api import responses
from ferro_oci_server.api.app import Router
from ferro_oci_server.api.exchange import Exchange
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.api.routes import Route
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.state import PACKAGE_NAME, AppState

__all__ = ["metrics_routes"]

# From a manifest out of memory to a layer over a slow line.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class _Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ferro_oci_requests",
            "Requests answered.",
            ["package", "method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "ferro_oci_request_seconds",
            "Time from the head of a request to the end of its response.",
            ["package", "method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.bytes = Counter(
            "ferro_oci_body_bytes",
            "Bytes of bodies, by direction.",
            ["package", "direction"],
            registry=self.registry,
        )
        self.store_errors = Counter(
            "ferro_oci_store_errors",
            "Requests that failed because a store did.",
            ["package", "kind"],
            registry=self.registry,
        )
        self._seen: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """Looking labels up takes longer than counting. There are few: methods, patterns and statuses are ours."""
        self._received = self.bytes.labels(PACKAGE_NAME, "received")
        self._sent = self.bytes.labels(PACKAGE_NAME, "sent")

    def observe(self, exchange: Exchange) -> None:
        request = exchange.request
        method = request.method if request.method in _METHODS else "other"
        count, seconds = self._seen.get((method, exchange.pattern, exchange.status)) or self._find(
            method, exchange.pattern, exchange.status
        )
        count.inc()
        seconds.observe(exchange.seconds)
        if request.received:
            self._received.inc(request.received)
        if exchange.sent:
            self._sent.inc(exchange.sent)
        if isinstance(exchange.error, StoreError):
            self.store_errors.labels(PACKAGE_NAME, type(exchange.error).__name__).inc()

    def _find(self, method: str, pattern: str, status: int) -> tuple[Counter, Histogram]:
        found = (
            self.requests.labels(PACKAGE_NAME, method, pattern, status),
            self.seconds.labels(PACKAGE_NAME, method, pattern),
        )
        self._seen[method, pattern, status] = found
        return found

    async def report(self, state: AppState, request: Request) -> Response:
        """GET /metrics."""
        body = await self._shared() if "PROMETHEUS_MULTIPROC_DIR" in os.environ else generate_latest(self.registry)
        return responses.text(200, body + await _asked(state), CONTENT_TYPE_LATEST)

    @staticmethod
    async def _shared() -> bytes:
        shared = CollectorRegistry()

        def collect() -> bytes:
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
            return generate_latest(shared)

        # It reads a file of each worker.
        return await asyncio.to_thread(collect)


async def _asked(state: AppState) -> bytes:
    """What the stores know, which is the same for all workers; nothing where they do not answer."""
    try:
        open_uploads, collected = await state.count_uploads(), await state.collected()
        scrubbed = await state.scrub_count()
    except StoreError:
        return b""
    asked = CollectorRegistry()
    for name, text, number in (
        ("ferro_oci_open_uploads", "Open upload sessions.", open_uploads),
        ("ferro_oci_suspect_blobs", "Blobs that are damaged and must be pushed again.", scrubbed.suspects),
        ("ferro_oci_scrub_cycles", "How often the scrub has looked at every blob.", scrubbed.cycles),
        ("ferro_oci_scrubbed_blobs", "Blobs that the scrub has taken up since the registry began.", scrubbed.blobs),
        ("ferro_oci_scrubbed_bytes", "How many bytes they had.", scrubbed.bytes),
    ):
        Gauge(name, text, ["package"], registry=asked).labels(PACKAGE_NAME).set(number)
    for name, text, numbers in (
        ("ferro_oci_waiting_reviews", "What waits to be looked at by the collector, by kind.", collected.waiting),
        ("ferro_oci_collected", "What the collector has removed since the registry began.", collected.removed),
        ("ferro_oci_collected_bytes", "How many bytes went with it.", collected.bytes),
    ):
        gauge = Gauge(name, text, ["package", "kind"], registry=asked)
        for kind, number in numbers.items():
            gauge.labels(PACKAGE_NAME, kind).set(number)
    return generate_latest(asked)


def metrics_routes() -> Router:
    """``/metrics``, to merge into a ``router``, whose requests it then counts."""
    metrics = _Metrics()
    table = [Route("/metrics", method, metrics.report) for method in ("GET", "HEAD")]
    return Router(table, observers=[metrics.observe])
