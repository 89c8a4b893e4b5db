"""What was measured, in lines of Markdown."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from .beside import Beside
from .counting import Work
from .traffic import KINDS, Sample

__all__ = ["beside_lines", "work_lines"]

_MEGABYTE = 1_000_000
# Rounds are put into so many parts in turn: each has some of what else the machine did at any time.
_PARTS = 5
_GROUPS = (*((kind, (kind,)) for kind in KINDS), ("all pulls", KINDS[:2]), ("all pushes", KINDS[2:]))


def work_lines(dead: int, counted: Mapping[int, Work], timed: Mapping[int, Sequence[Work]]) -> Iterator[str]:
    """The work that was done in registries of several sizes: counts, and the median seconds of several times."""
    yield "| references | dead | statements | steps of SQLite | rows changed | read | written | processor | in all |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for references, work in counted.items():
        times = timed[references]
        read, written, processor, seconds = (
            statistics.median(getattr(it, name) for it in times) for name in ("read", "written", "processor", "seconds")
        )
        yield (
            f"| {references:,} | {dead:,} | {work.statements:,} | {work.steps:,} | {work.changes:,} "
            f"| {read / _MEGABYTE:.0f} MB | {written / _MEGABYTE:.0f} MB | {processor:.1f} s | {seconds:.1f} s |"
        )


def beside_lines(workers: int, found: Beside) -> Iterator[str]:
    """How long pulls and pushes took, without and with collection, in milliseconds."""
    yield (
        f"{workers} worker{'s' if workers > 1 else ''}: {sum(found.removed.values()):,} removed in "
        f"{len(found.collecting)} collections of {statistics.median(found.collecting):.1f} s each (median)"
    )
    yield ""
    yield "| | requests | p50 | p99 | max | requests, collecting | p50 | p99 | max | p99, times | in parts |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for name, kinds in _GROUPS:
        without, collecting = (_latencies(rounds, kinds) for rounds in (found.without, found.with_collection))
        ratios = [
            _percentile(_latencies(found.with_collection[part::_PARTS], kinds), 99)
            / _percentile(_latencies(found.without[part::_PARTS], kinds), 99)
            for part in range(_PARTS)
        ]
        yield (
            f"| {name} | {_described(without)} | {_described(collecting)} "
            f"| {_percentile(collecting, 99) / _percentile(without, 99):.2f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


def _latencies(rounds: Sequence[Sequence[Sample]], kinds: Sequence[str]) -> Sequence[float]:
    return sorted(sample.latency for samples in rounds for sample in samples if sample.kind in kinds)


def _described(latencies: Sequence[float]) -> str:
    numbers = (_percentile(latencies, 50), _percentile(latencies, 99), latencies[-1])
    return " | ".join((f"{len(latencies):,}", *(f"{1000 * number:.1f}" for number in numbers)))


def _percentile(latencies: Sequence[float], percent: int) -> float:
    return latencies[len(latencies) * percent // 100]
