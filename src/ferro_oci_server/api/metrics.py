"""Metrics in Prometheus' text format.

Where several workers serve, each sees a part of the requests: with ``PROMETHEUS_MULTIPROC_DIR`` set, as the command
sets it, any of them reports the sum.
"""

import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ferro_oci_server.api import responses
from ferro_oci_server.api.app import Router
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.api.routes import Route
from ferro_oci_server.api.tallies import BOUNDS, SharedTallies, Tallies, Tally
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.state import PACKAGE_NAME, AppState

__all__ = ["metrics_routes"]

_UPPER_BOUNDS = (*map(floatToGoString, BOUNDS), "+Inf")


class _Metrics(Collector):
    """Tallies, for Prometheus."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        """All that is counted, a family at a time."""
        tallies = self._tallies
        yield self._requests()
        yield self._seconds()
        sizes = CounterMetricFamily(
            "ferro_oci_body_bytes", "Bytes of bodies, by direction.", labels=_labels("direction")
        )
        sizes.add_metric([PACKAGE_NAME, "received"], tallies.received)
        sizes.add_metric([PACKAGE_NAME, "sent"], tallies.sent)
        yield sizes
        errors = CounterMetricFamily(
            "ferro_oci_store_errors", "Requests that failed because a store did.", labels=_labels("kind")
        )
        for kind, count in tallies.store_errors.items():
            errors.add_metric([PACKAGE_NAME, kind], count)
        yield errors

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "ferro_oci_requests", "Requests answered.", labels=_labels("method", "route", "status")
        )
        for (method, pattern, status), tally in self._tallies.requests.items():
            family.add_metric([PACKAGE_NAME, method, pattern, str(status)], sum(tally.counts))
        return family

    def _seconds(self) -> Metric:
        family = HistogramMetricFamily(
            "ferro_oci_request_seconds",
            "Time from the head of a request to the end of its response.",
            labels=_labels("method", "route"),
        )
        routes: dict[tuple[str, str], Tally] = {}
        for (method, pattern, _), tally in self._tallies.requests.items():
            routes.setdefault((method, pattern), Tally()).add(tally)
        for labels, tally in routes.items():
            buckets = list(zip(_UPPER_BOUNDS, accumulate(tally.counts), strict=True))
            family.add_metric([PACKAGE_NAME, *labels], buckets, tally.seconds)
        return family


def _labels(*names: str) -> tuple[str, ...]:
    return ("package", *names)


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
    tallies = Tallies()
    observers = [tallies.observe]
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    shared = SharedTallies(tallies, Path(folder)) if folder else None
    if shared is not None:
        observers.append(shared.observe)

    async def report(state: AppState, request: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(_Metrics(tallies if shared is None else await shared.total()))
        return responses.text(200, generate_latest(registry) + await _asked(state), CONTENT_TYPE_LATEST)

    return Router([Route("/metrics", method, report) for method in ("GET", "HEAD")], observers=observers)
