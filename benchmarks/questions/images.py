"""Whole small images: four blobs, each asked for, uploaded and closed, and a manifest."""

from functools import partial

from benchmarks.bench import Bench, Measure
from benchmarks.results import Case, Sample
from benchmarks.subjects import Subject

__all__ = ["NAME", "push", "run"]

NAME = "images"

_LAYERS = 3
_LAYER = 64 * 1024


def push(connections: int) -> Case:
    """Images in a second."""
    title = f"push of an image (config, {_LAYERS} layers of 64 KiB, manifest)"
    return Case(NAME, title, "images/s", "", connections, "connections")


def run(bench: Bench) -> None:
    """All begin empty."""
    kinds = bench.kinds("files", "files x2", "memory", "distribution", "seed")
    with bench.serve(kinds) as subjects:
        bench.interleave(subjects, [Measure(push(count), partial(_push, bench, count)) for count in (1, 4, 32)])


def _push(bench: Bench, connections: int, subject: Subject) -> Sample:
    job = {
        "repository": "bench/images",
        "layers": _LAYERS,
        "layer_size": _LAYER,
        "connections": connections,
        # An image is 17 requests, and the slowest take a second for it.
        "warmup": 2 * bench.scale.warmup,
        "seconds": 2 * bench.scale.seconds,
        "seed": bench.salt(),
    }
    outcome, more = bench.watched(subject, "images", job)
    return Sample(outcome.rate, more)
