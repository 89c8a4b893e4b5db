"""Registries on stores that machines share: PostgreSQL and an S3 server, and distribution on the same S3 server."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import content, processes
from benchmarks.bench import Bench, Measure
from benchmarks.pushing import push_blobs
from benchmarks.questions.blobs import WAYS
from benchmarks.quota import limited
from benchmarks.results import Case, Sample
from benchmarks.subjects import Subject
from benchmarks.subjects.shared import DISTRIBUTION_S3, PROXIED, REPLICA, REPLICAS, SHARED
from support.distribution import distribution, in_bucket
from support.nginx import proxied
from support.registry import Registry, Setup, serve
from support.replicas import shared_stores

__all__ = ["NAME", "get", "get_limited", "push", "run"]

NAME = "replicas"
_COUNT = 3
_CONNECTIONS = 32
_SHARE = 0.15


def get(tags: int) -> Case:
    """Manifests at random."""
    return Case(NAME, "manifest GET by tag, shared stores", "requests/s", f"{_CONNECTIONS} connections", tags, "tags")


def get_limited(tags: int) -> Case:
    """The same, but of replicas that have little of a processor: then it is not the machine that is the limit."""
    detail = f"{_CONNECTIONS} connections, each replica with {_SHARE:g} of a processor"
    return Case(NAME, "manifest GET by tag, shared stores", "requests/s", detail, tags, "tags")


def push(size: int, way: str) -> Case:
    """A large blob."""
    return Case(NAME, f"push of {size >> 20:,} MiB, shared stores", "MB/s", WAYS[way])


def run(bench: Bench) -> None:
    """All on the same two servers, in turns."""
    if not any(map(bench.wants, SHARED)):
        return
    # PostgreSQL runs as another user, who must be able to enter: not a folder below somebody's home.
    with TemporaryDirectory(prefix="ferro-bench-") as folder, _subjects(Path(folder)) as (found, replicas):
        _fill(bench, found)
        subjects = [subject for subject in found if bench.wants(subject.kind)]
        bench.interleave(subjects, [_reading(bench, get(bench.scale.small))])
        with ExitStack() as stack:
            for replica in replicas:
                stack.enter_context(limited(processes.tree(replica.process.pid), _SHARE))
            proxied_ones = [subject for subject in subjects if subject.kind in (PROXIED, REPLICAS)]
            bench.interleave(proxied_ones, [_reading(bench, get_limited(bench.scale.small))])
        pushers = [subject for subject in subjects if subject.name in (REPLICA.name, DISTRIBUTION_S3.name)]
        bench.interleave(pushers, [_pushing(bench, way) for way in WAYS])


@contextmanager
def _subjects(folder: Path) -> Iterator[tuple[list[Subject], Sequence[Registry]]]:
    with ExitStack() as stack:
        _, s3, urls = stack.enter_context(shared_stores(folder))
        setup = Setup(None, settings={**urls, "FERRO_OCI_ACCESS_LOG": "false"})
        replicas = [stack.enter_context(serve(setup, folder / f"replica-{number}.log")) for number in range(_COUNT)]
        one = stack.enter_context(_behind_nginx(folder / "one", replicas[:1]))
        all_of_them = stack.enter_context(_behind_nginx(folder / "all", replicas))
        other = stack.enter_context(distribution(in_bucket(s3, "distribution"), folder / "distribution"))
        found = ((REPLICA, replicas[0]), (PROXIED, one), (REPLICAS, all_of_them), (DISTRIBUTION_S3, other))
        yield [Subject(kind, registry.address, registry.process.pid, folder) for kind, registry in found], replicas


@contextmanager
def _behind_nginx(folder: Path, registries: Sequence[Registry]) -> Iterator[Registry]:
    folder.mkdir()
    with proxied(folder, *registries) as front:
        yield front


def _fill(bench: Bench, subjects: Sequence[Subject]) -> None:
    """Push the same to both registries: the three replicas are one."""
    for subject in subjects:
        if subject.kind in (REPLICA, DISTRIBUTION_S3):
            push_blobs(subject.address)
            bench.stores.push_tags(subject, bench.scale.small)


def _reading(bench: Bench, case: Case) -> Measure:
    job = {
        "method": "GET",
        "path": f"/v2/{content.REPOSITORY}/manifests/t{{n}}",
        "count": bench.scale.small,
        "fields": {"Accept": content.MANIFEST_TYPE},
        "connections": _CONNECTIONS,
    }

    def once(subject: Subject) -> Sample:
        outcome, more = bench.requests(subject, job)
        return Sample(outcome.rate, more)

    return Measure(case, once)


def _pushing(bench: Bench, way: str) -> Measure:
    size = bench.scale.blob

    def once(subject: Subject) -> Sample:
        job = {"repository": content.REPOSITORY, "way": way, "size": size, "parallel": 1}
        bench.watched(subject, "push", {**job, "size": 16 << 20, "seed": bench.salt()})
        # What earlier work left to be written must not be written meanwhile.
        os.sync()
        outcome, more = bench.watched(subject, "push", {**job, "seed": bench.salt()})
        return Sample(outcome.megabytes_per_second, more)

    return Measure(push(size, way), once)
