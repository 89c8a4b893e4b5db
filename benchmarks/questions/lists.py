"""Pages of tags, of the catalog and of referrers: the first one and one far behind, of short lists and long ones."""

from functools import partial

from benchmarks import content
from benchmarks.bench import Bench, Measure
from benchmarks.results import Case, Sample
from benchmarks.subjects import Holdings, Subject

__all__ = ["NAME", "pages", "run"]

NAME = "lists"
_LENGTH = 100

_TAGS = "tags"
_CATALOG = "catalog"
_REFERRERS = "referrers"


def _case(title: str, place: str, entries: int) -> Case:
    detail = f"{place}, n={_LENGTH}"
    return Case(NAME, f"page of {title}", "ms", detail, entries, "entries", lower_is_better=True)


def pages(entries: int) -> list[Case]:
    """All kinds of pages of lists that are so long."""
    return [_case(title, place, entries) for title in (_TAGS, _CATALOG, _REFERRERS) for place in ("first", "deep")]


def run(bench: Bench) -> None:
    """Our own lists at all sizes; those of others, which have only tags, where they can be had."""
    scale = bench.scale
    sizes = (scale.small, scale.middle, scale.large)
    # All sizes are served at once, so that their rounds take turns.
    with (
        bench.serve(bench.kinds("files"), Holdings(sizes[0], listed=True), copy=False) as small,
        bench.serve(bench.kinds("files"), Holdings(sizes[1], listed=True), copy=False) as middle,
        bench.serve(bench.kinds("files"), Holdings(sizes[2], listed=True), copy=False) as large,
    ):
        for _ in range(scale.rounds):
            for size, subjects in zip(sizes, (small, middle, large), strict=True):
                bench.interleave(subjects, _measures(bench, size), rounds=1)
    for size in (scale.small, scale.middle):
        with bench.serve(bench.kinds("distribution", "seed"), Holdings(size), copy=False) as subjects:
            bench.interleave(subjects, _measures(bench, size)[:2])


def _measures(bench: Bench, entries: int) -> list[Measure]:
    subject = content.digest_of(content.manifest(0))
    far = entries * 9 // 10
    # Referrers are in the order of their digests: nine tenths of all are before this one.
    behind = f"sha256:{'e6':<064}".replace(" ", "0")
    paths = (
        f"/v2/{content.REPOSITORY}/tags/list?n={_LENGTH}",
        f"/v2/{content.REPOSITORY}/tags/list?n={_LENGTH}&last={content.tag(far)}",
        f"/v2/_catalog?n={_LENGTH}",
        f"/v2/_catalog?n={_LENGTH}&last={content.repository(far)}",
        f"/v2/{content.REFERRERS}/referrers/{subject}?n={_LENGTH}",
        f"/v2/{content.REFERRERS}/referrers/{subject}?n={_LENGTH}&last={behind}",
    )
    return [Measure(case, partial(_page, bench, path)) for case, path in zip(pages(entries), paths, strict=True)]


def _page(bench: Bench, path: str, subject: Subject) -> Sample:
    job = {"method": "GET", "path": path, "connections": 1, "seconds": bench.scale.seconds / 2, "warmup": 0.2}
    outcome, more = bench.requests(subject, job)
    return Sample(outcome.seconds / outcome.done * 1000, more)
