"""Manifests and small blobs: GET and HEAD, by tag and by digest, at random, among few and many."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import content
from benchmarks.bench import Bench, Measure
from benchmarks.results import Case, Sample
from benchmarks.subjects import Holdings, Subject

__all__ = ["NAME", "get_by_tag", "run"]

NAME = "reads"
CONNECTIONS = 32
_KEPT = f"{CONNECTIONS} connections"
_NEW = "a new connection each"

_BY_TAG = {"path": f"/v2/{content.REPOSITORY}/manifests/t{{n}}"}
_BY_DIGEST = {"path": f"/v2/{content.REPOSITORY}/manifests/{{digest}}"}
_BLOB = {"path": f"/v2/{content.REPOSITORY}/blobs/{{digest}}"}
_FIELDS = {"fields": {"Accept": content.MANIFEST_TYPE}}


def get_by_tag(tags: int) -> Case:
    """The case that bars are about."""
    return _case("manifest GET by tag", tags)


def _case(title: str, tags: int | None, detail: str = _KEPT) -> Case:
    return Case(NAME, title, "requests/s", detail, tags, "" if tags is None else "tags")


def run(bench: Bench) -> None:
    """Few and very many for the registries that can hold them; all ways to ask at the size between."""
    scale = bench.scale
    durable = ("files", "files x2")
    for tags, names in (
        (scale.small, (*durable, "memory", "distribution", "seed", "nginx")),
        (scale.large, durable),
    ):
        kinds = bench.kinds(*names)
        # The largest store is that of the long lists, which has its tags.
        with bench.serve(kinds, Holdings(tags, listed=tags == scale.large), copy=False) as subjects:
            bench.interleave(subjects, _few(bench, tags))
    kinds = bench.kinds(*durable, "memory", "memory x2", "distribution", "seed", "nginx")
    with bench.serve(kinds, Holdings(scale.middle), copy=False) as subjects:
        bench.interleave(subjects, [*_few(bench, scale.middle), *_more(bench, scale.middle)])


def _few(bench: Bench, tags: int) -> list[Measure]:
    numbers = {"count": tags, "digests": str(bench.stores.digests(tags)), **_FIELDS}
    return [
        _measure(bench, get_by_tag(tags), {"method": "GET", **_BY_TAG, **numbers}),
        _measure(bench, _case("manifest GET by digest", tags), {"method": "GET", **_BY_DIGEST, **numbers}),
    ]


def _more(bench: Bench, tags: int) -> list[Measure]:
    numbers = {"count": tags, "digests": str(bench.stores.digests(tags)), **_FIELDS}
    blobs = _blobs(bench.stores.blob_digests())
    new = {"method": "GET", "new_each": True}
    return [
        _measure(bench, _case("manifest HEAD by tag", tags), {"method": "HEAD", **_BY_TAG, **numbers}),
        _measure(bench, _case("manifest HEAD by digest", tags), {"method": "HEAD", **_BY_DIGEST, **numbers}),
        _measure(bench, _case("manifest GET by tag", tags, _NEW), {**new, **_BY_TAG, **numbers}),
        _measure(bench, _case("blob of 4 KiB, GET", None), {"method": "GET", **blobs}),
        _measure(bench, _case("blob of 4 KiB, HEAD", None), {"method": "HEAD", **blobs}),
        _measure(bench, _case("blob of 4 KiB, GET", None, _NEW), {**new, **blobs}),
    ]


def _blobs(digests: Path) -> Mapping[str, Any]:
    return {**_BLOB, "count": len(content.blobs()), "digests": str(digests)}


def _measure(bench: Bench, case: Case, job: Mapping[str, Any]) -> Measure:
    def once(subject: Subject) -> Sample:
        outcome, more = bench.requests(subject, {"connections": CONNECTIONS, **job})
        return Sample(outcome.rate, more)

    return Measure(case, once)
