"""Large blobs: pushed, pulled, read in parts; alone and many at once."""

import hashlib
import os
import time
from functools import partial

from benchmarks import content
from benchmarks.bench import Bench, Measure, turned
from benchmarks.large import LargeBlob
from benchmarks.results import Case, Sample
from benchmarks.subjects import Subject

__all__ = ["LIMIT", "MANY_PULLS", "NAME", "WAYS", "cpu_of_pull", "cpu_of_push", "pull", "push", "run"]

NAME = "blobs"
LIMIT = "SHA-256 on one core"
"""What stands beside pushes: nothing that is hashed by one core moves faster."""
MANY_PULLS = 32
_MANY_PUSHES = 8

WAYS = {"patch": "one streaming PATCH", "put": "one PUT"}
_PIECE = 1024 * 1024
# It refuses larger bodies.
_SEED_TAKES = 512 * _PIECE
# Not 64 KiB: with the head it is a little more than a segment of the loopback, whose end some servers hold back until a
# timer of the system goes off. No other network is like that.
_SPAN = 32 * 1024


def push(size: int, way: str, parallel: int = 1) -> Case:
    """A large blob, or some at once."""
    return Case(NAME, f"push of {_name(size)}", "MB/s", WAYS[way], parallel, "at once")


def pull(size: int, parallel: int = 1) -> Case:
    """The same blob by one reader, or by many at once."""
    return Case(NAME, f"pull of {_name(size)}", "MB/s", "", parallel, "at once")


def cpu_of_push(size: int, way: str, parallel: int = 1) -> Case:
    """What the server uses for it."""
    title = f"processor time, push of {_name(size)}"
    return Case(NAME, title, "s/GiB", WAYS[way], parallel, "at once", lower_is_better=True)


def cpu_of_pull(size: int, parallel: int = 1) -> Case:
    """What the server uses for it."""
    title = f"processor time, pull of {_name(size)}"
    return Case(NAME, title, "s/GiB", "", parallel, "at once", lower_is_better=True)


def _name(size: int) -> str:
    return f"{size / 2**30:g} GiB" if size >= 2**30 else f"{size / 2**20:g} MiB"


def run(bench: Bench) -> None:
    """Pushes, which leave nothing behind, and then pulls."""
    for way in WAYS:
        _push_alone(bench, way)
        _push_many(bench, way)
    _pulls(bench)


def _push_alone(bench: Bench, way: str) -> None:
    kinds = bench.kinds("files", "files x2", "memory", "distribution", *_seed(bench))
    for number in range(bench.scale.rounds):
        if kinds:
            bench.take(push(bench.scale.blob, way), LIMIT, _sha256)
        for kind in turned(kinds, number):
            # A new server each time: what was pushed before takes room, in memory or on the disk.
            with bench.stores.serve(kind) as subject:
                _push(bench, subject, way, 1)


def _seed(bench: Bench) -> tuple[str, ...]:
    return ("seed",) if bench.scale.blob <= _SEED_TAKES else ()


def _push_many(bench: Bench, way: str) -> None:
    for number in range(min(bench.scale.rounds, 2)):
        for kind in turned(bench.kinds("files", "files x2", "distribution"), number):
            with bench.stores.serve(kind) as subject:
                _push(bench, subject, way, _MANY_PUSHES)


def _push(bench: Bench, subject: Subject, way: str, parallel: int) -> None:
    size = bench.scale.blob

    def job(size: int, at_once: int) -> dict[str, object]:
        return {"repository": content.REPOSITORY, "way": way, "size": size, "parallel": at_once, "seed": bench.salt()}

    def once() -> Sample:
        bench.watched(subject, "push", job(16 * _PIECE, 1))
        # What earlier work left to be written must not be written meanwhile.
        os.sync()
        outcome, more = bench.watched(subject, "push", job(size, parallel))
        bench.results.add(cpu_of_push(size, way, parallel), subject.name, Sample(more["cpu_seconds_per_gib"]))
        return Sample(outcome.megabytes_per_second, more)

    bench.results.declare(push(size, way, parallel), cpu_of_push(size, way, parallel))
    bench.take(push(size, way, parallel), subject.name, once)


def _sha256() -> Sample:
    piece, hasher, begin = bytes(_PIECE), hashlib.sha256(), time.perf_counter()
    for _ in range(256):
        hasher.update(piece)
    return Sample(256 * _PIECE / (time.perf_counter() - begin) / 1e6)


def _pulls(bench: Bench) -> None:
    size = bench.scale.blob
    blob = LargeBlob.make(bench.stores.folder, size)
    names = ("files", "files x2", "memory", "distribution", *_seed(bench), "nginx")
    with bench.serve(bench.kinds(*names)) as subjects:
        for subject in subjects:
            blob.put_into(subject, content.REPOSITORY)
        path = f"/v2/{content.REPOSITORY}/blobs/{blob.digest}"
        bench.results.declare(*(case(size, count) for count in (1, MANY_PULLS) for case in (pull, cpu_of_pull)))
        bench.interleave(subjects, [Measure(pull(size), partial(_pull, bench, path, 1))])
        # The seed has the whole blob in memory for each of its readers.
        others = [subject for subject in subjects if subject.name != "seed"]
        case = Case(NAME, f"32 KiB of {_name(size)} by Range, at random", "requests/s", "8 connections")
        many = Measure(pull(size, MANY_PULLS), partial(_pull, bench, path, MANY_PULLS))
        bench.interleave(others, [many, Measure(case, partial(_range, bench, path))])


def _pull(bench: Bench, path: str, parallel: int, subject: Subject) -> Sample:
    job: dict[str, object] = {"path": path, "parallel": parallel}
    if parallel > 1:
        job["seconds"] = 2 * bench.scale.seconds + 1
    outcome, more = bench.watched(subject, "pull", job)
    case = cpu_of_pull(bench.scale.blob, parallel)
    bench.results.add(case, subject.name, Sample(more["cpu_seconds_per_gib"]))
    return Sample(outcome.megabytes_per_second, more)


def _range(bench: Bench, path: str, subject: Subject) -> Sample:
    job = {
        "method": "GET",
        "path": path,
        "fields": {"Range": "{range}"},
        "span": _SPAN,
        "size": bench.scale.blob,
        "connections": 8,
        "expect": [206],
    }
    outcome, more = bench.requests(subject, job)
    return Sample(outcome.rate, more)
