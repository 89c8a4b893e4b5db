"""Manifests pushed into a repository that has few tags or many, by one connection or many."""

from functools import partial

from benchmarks import content
from benchmarks.bench import Bench, turned
from benchmarks.results import Case, Sample
from benchmarks.subjects import Holdings, Kind, Subject

__all__ = ["NAME", "put", "run"]

NAME = "writes"

_OURS = ("files", "files x2")


def put(tags: int, connections: int) -> Case:
    """Pushing into a repository that has so many tags at the beginning."""
    detail = f"{connections} connection{'s' if connections > 1 else ''}"
    return Case(NAME, "manifest PUT", "requests/s", detail, tags, "tags")


def run(bench: Bench) -> None:
    """From an empty repository to the size between."""
    scale = bench.scale
    for number in range(scale.rounds):
        for tags in (0, scale.small, scale.pushed_at, scale.middle):
            names = _OURS if tags == scale.middle else (*_OURS, "memory", "distribution", "seed")
            for kind in turned(bench.kinds(*names), number):
                _measure(bench, kind, tags)


def _measure(bench: Bench, kind: Kind, tags: int) -> None:
    """One round. Each time a new copy is pushed into, which has not grown by what was pushed before.

    But for distribution: its many files take long to copy, and its rate does not depend on some more of them.
    """
    counts = (1, 4, 32) if tags == bench.scale.pushed_at else (4, 32)
    groups = [counts] if kind.name == "distribution" else [(count,) for count in counts]
    for group in groups:
        with bench.stores.serve(kind, Holdings(tags)) as subject:
            for connections in group:
                bench.take(put(tags, connections), kind.name, partial(_push, bench, subject, connections))


def _push(bench: Bench, subject: Subject, connections: int) -> Sample:
    series = f"s{bench.salt()}"
    job = {
        "method": "PUT",
        "path": f"/v2/{content.REPOSITORY}/manifests/{series}-{{n}}",
        "fields": {"Content-Type": content.MANIFEST_TYPE},
        "body": content.template(series),
        "sequence": True,
        "connections": connections,
        "expect": [201],
    }
    outcome, more = bench.requests(subject, job)
    return Sample(outcome.rate, more)
