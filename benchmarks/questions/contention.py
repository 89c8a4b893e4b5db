"""How long reading takes while others push."""

from functools import partial

from benchmarks import content
from benchmarks.bench import Bench, Measure
from benchmarks.results import Case, Sample
from benchmarks.subjects import Holdings, Subject

__all__ = ["NAME", "get", "run"]

NAME = "contention"

_RATE = 1000
_PUSHING = 4


def get(way: str, *, pushing: bool) -> Case:
    """The 99th percentile of manifest GETs: ``steady``, at a fixed rate, or ``full``, as fast as they are answered."""
    how = f"{_RATE} requests/s" if way == "steady" else "32 connections, as fast as it goes"
    detail = f"{how}, {f'{_PUSHING} connections push manifests' if pushing else 'no pushes'}"
    return Case(NAME, "99th percentile of manifest GET by tag", "ms", detail, lower_is_better=True)


def run(bench: Bench) -> None:
    """With and without, in turns."""
    kinds = bench.kinds("files", "files x2", "distribution")
    with bench.serve(kinds, Holdings(bench.scale.pushed_at)) as subjects:
        measures = [
            Measure(get(way, pushing=pushing), partial(_get, bench, way, pushing))
            for way in ("steady", "full")
            for pushing in (False, True)
        ]
        bench.interleave(subjects, measures)


def _get(bench: Bench, way: str, pushing: bool, subject: Subject) -> Sample:
    seconds = bench.scale.seconds + 1
    common = {"address": subject.address, "warmup": 0.5, "processors": 1}
    reading = {
        **common,
        "method": "GET",
        "path": f"/v2/{content.REPOSITORY}/manifests/t{{n}}",
        "fields": {"Accept": content.MANIFEST_TYPE},
        "count": bench.scale.pushed_at,
        "expect": [200],
        "seconds": seconds,
        **({"rate": _RATE, "connections": 16} if way == "steady" else {"connections": 32}),
    }
    series = f"s{bench.salt()}"
    writing = {
        **common,
        "method": "PUT",
        "path": f"/v2/{content.REPOSITORY}/manifests/{series}-{{n}}",
        "fields": {"Content-Type": content.MANIFEST_TYPE},
        "body": content.template(series),
        "sequence": True,
        "connections": _PUSHING,
        "expect": [201],
        # It begins before the reading is measured, and ends behind it.
        "seconds": seconds + 0.4,
        "warmup": 0.1,
    }
    pushes = bench.load.start("requests", writing) if pushing else None
    outcome = bench.load.run("requests", reading)
    more = {"p50_ms": outcome.latency["p50"], "rate": outcome.rate}
    if pushes is not None:
        more["pushes_per_second"] = pushes.wait().rate
    return Sample(outcome.latency["p99"], more)
