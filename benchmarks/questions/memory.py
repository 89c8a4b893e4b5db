"""Memory: at rest, with many uploads at once, with many slow downloads."""

import shutil
import time
from collections.abc import Callable

from benchmarks import processes
from benchmarks.bench import Bench, say
from benchmarks.large import LargeBlob
from benchmarks.results import Case, Sample
from benchmarks.subjects import Kind, Subject

__all__ = ["FEW", "NAME", "rest", "run", "slow", "uploads"]

NAME = "memory"
FEW = 10
"""What many uploads are compared with."""

_REPOSITORY = "bench/memory"
_SLOW = 64 * 1024
_SLOW_SECONDS = 8.0
# What stays free on the disk, whoever else needs it.
_SPARE = 8 << 30


def rest() -> Case:
    """A second after the start."""
    return Case(NAME, "memory at rest", "MB", lower_is_better=True)


def uploads(count: int, size: int) -> Case:
    """The peak while so many blobs are pushed at once."""
    title = f"peak of memory, uploads of {size >> 20} MiB"
    return Case(NAME, title, "MB", size=count, of="at once", lower_is_better=True)


def slow(count: int) -> Case:
    """The peak while so many readers take little."""
    return Case(NAME, f"peak of memory, {count} slow downloads", "MB", "64 KiB/s each", lower_is_better=True)


def run(bench: Bench) -> None:
    """A new server for each sample: a process keeps what it once had."""
    scale = bench.scale
    size = _fitting(bench)
    for number in range(min(scale.rounds, 2)):
        for kind in bench.kinds("files", "files x2", "memory", "distribution", "seed", "nginx"):
            _sample(bench, kind, rest(), _rest)
        for kind in bench.kinds("files", "files x2", "distribution", "seed"):
            _sample(bench, kind, uploads(FEW, size), lambda subject: _push(bench, subject, FEW, size))
        # The seed keeps all of it in memory, which would be more than there is.
        for kind in bench.kinds("files", "files x2", "distribution") if number == 0 else ():
            _sample(bench, kind, uploads(scale.many, size), lambda subject: _push(bench, subject, scale.many, size))
            _sample(bench, kind, slow(scale.many), lambda subject: _read(bench, subject))


def _fitting(bench: Bench) -> int:
    """The size of many uploads, or less where the disk is too small for them."""
    size, many = bench.scale.held, bench.scale.many
    free = shutil.disk_usage(bench.stores.folder).free
    if many * size > free - _SPARE:
        size = max((free - _SPARE) // many >> 20, 1) << 20
        say(f"  the disk has room for {many} uploads of {size >> 20} MiB only")
    bench.results.facts["size of uploads held"] = size
    return size


def _sample(bench: Bench, kind: Kind, case: Case, work: Callable[[Subject], float]) -> None:
    with bench.stores.serve(kind) as subject:
        bench.take(case, kind.name, lambda: Sample(work(subject) / 1e6))


def _rest(subject: Subject) -> float:
    time.sleep(1)
    return processes.proportional_bytes(subject.pid)


def _push(bench: Bench, subject: Subject, count: int, size: int) -> float:
    job = {"repository": _REPOSITORY, "way": "patch", "size": size, "parallel": count, "seed": bench.salt()}
    bench.watched(subject, "push", job)
    return processes.peak_bytes(subject.pid)


def _read(bench: Bench, subject: Subject) -> float:
    blob = LargeBlob.make(bench.stores.folder, bench.scale.blob)
    path = blob.put_into(subject, _REPOSITORY)
    processes.reset_peak(subject.pid)
    job = {"path": path, "parallel": bench.scale.many, "rate": _SLOW, "seconds": _SLOW_SECONDS}
    bench.watched(subject, "pull", job)
    return processes.peak_bytes(subject.pid)
