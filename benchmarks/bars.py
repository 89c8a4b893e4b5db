"""What must be reached, and whether it is: each bar compares medians of rounds that were taken in turns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.bench import Scale
from benchmarks.figures import Summary, quotients, summarize
from benchmarks.questions import blobs, clients, contention, lists, memory, reads, replicas, startup, writes
from benchmarks.questions.blobs import WAYS
from benchmarks.results import Case, Results
from benchmarks.subjects.shared import DISTRIBUTION_S3, PROXIED, REPLICA, REPLICAS

__all__ = ["OURS", "SHARED", "Bar", "Verdict", "bars", "shared_bars", "verdicts"]

OURS = ("files", "files x2")
"""Those that are measured against the bars: durable, with one worker and with two."""

SHARED = (REPLICA.name, REPLICAS.name)
"""Likewise, of those that share their stores."""

Measured = Callable[[Results, str], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One comparison."""

    what: str
    bound: float
    at_most: bool
    measured: Measured
    unit: str = "x"
    aim: float | None = None

    def is_met(self, median: float) -> bool:
        """Whether a median keeps the bound."""
        return median <= self.bound if self.at_most else median >= self.bound

    @property
    def demand(self) -> str:
        """The bound, in words."""
        text = f"at {'most' if self.at_most else 'least'} {self.bound:g} {self.unit}"
        return text if self.aim is None else f"{text}, aim {self.aim:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a bar for one subject; ``None`` where it was not measured."""

    measured: Summary | None
    met: bool


def verdicts(bar: Bar, results: Results, ours: Sequence[str] = OURS) -> dict[str, Verdict]:
    """A verdict for each of ours."""
    found = {}
    for subject in ours:
        summary = summarize(bar.measured(results, subject))
        found[subject] = Verdict(summary, summary is not None and bar.is_met(summary.median))
    return found


def bars(scale: Scale, held: int) -> Iterator[Bar]:
    """All of them; ``held`` is the size that the many uploads had."""
    yield from _requests(scale)
    yield from _pages(scale)
    yield from _bytes(scale)
    yield from _machine(scale, held)
    yield from _clients(scale)
    yield from _contention()


def shared_bars(scale: Scale) -> Iterator[Bar]:
    """Those of registries that share PostgreSQL and an S3 server."""
    get = replicas.get(scale.small)
    yield _least(get, DISTRIBUTION_S3.name, 2)
    yield _least(replicas.get_limited(scale.small), PROXIED.name, 1.8)
    for way in WAYS:
        yield _least(replicas.push(scale.blob, way), DISTRIBUTION_S3.name, 1.3)


def _than(ours: Case, theirs: Case, by: str | None = None) -> Measured:
    """How many times the one the other is; of the same subject, where no other is named."""
    return lambda results, subject: quotients(results.values(ours, subject), results.values(theirs, by or subject))


def _itself(case: Case) -> Measured:
    return lambda results, subject: results.values(case, subject)


def _requests(scale: Scale) -> Iterator[Bar]:
    get, put = reads.get_by_tag(scale.middle), writes.put
    yield _least(get, "distribution", 6)
    yield _least(get, "seed", 0.35, aim=0.5)
    yield _least(put(scale.pushed_at, 4), "distribution", 4)
    yield _least(put(scale.pushed_at, 4), "seed", 40)
    yield _least(put(scale.pushed_at, 32), "distribution", 8)
    grown, fresh = put(scale.middle, 4), put(scale.small, 4)
    yield Bar(f"{grown.name}: of that at {scale.small:,}", 0.9, at_most=False, measured=_than(grown, fresh))


def _least(case: Case, other: str, bound: float, aim: float | None = None) -> Bar:
    return Bar(f"{case.name}: of {other}", bound, at_most=False, measured=_than(case, case, other), aim=aim)


def _most(case: Case, other: str, bound: float) -> Bar:
    return Bar(f"{case.name}: of {other}", bound, at_most=True, measured=_than(case, case, other))


def _pages(scale: Scale) -> Iterator[Bar]:
    for long, short in zip(lists.pages(scale.large), lists.pages(scale.small), strict=True):
        yield Bar(f"{long.name}: of that at {scale.small:,}", 1.5, at_most=True, measured=_than(long, short))


def _bytes(scale: Scale) -> Iterator[Bar]:
    for way in ("patch", "put"):
        case = blobs.push(scale.blob, way)
        yield _least(case, "distribution", 1.5)
        yield Bar(
            f"{case.name}: of {blobs.LIMIT} (an aim)", 0.5, at_most=False, measured=_than(case, case, blobs.LIMIT)
        )
    for parallel in (1, blobs.MANY_PULLS):
        case, used = blobs.pull(scale.blob, parallel), blobs.cpu_of_pull(scale.blob, parallel)
        yield _least(case, "distribution", 1.0)
        yield _least(case, "nginx", 0.75)
        yield _most(used, "distribution", 1.5)


def _machine(scale: Scale, held: int) -> Iterator[Bar]:
    many, few = memory.uploads(scale.many, held), memory.uploads(memory.FEW, held)
    yield Bar(many.name, 250, at_most=True, measured=_itself(many), unit="MB")

    def grown(results: Results, subject: str) -> Sequence[float]:
        pairs = zip(results.values(many, subject), results.values(few, subject), strict=False)
        return [more - less for more, less in pairs]

    what = f"{many.name}: more than with {memory.FEW}"
    yield Bar(what, scale.many - memory.FEW, at_most=True, measured=grown, unit="MB")
    full, empty = startup.ready(scale.large), startup.ready(0)
    yield Bar(f"{full.name}: of an empty start", 1.5, at_most=True, measured=_than(full, empty))
    yield Bar(full.name, 1, at_most=True, measured=_itself(full), unit="s")


def _clients(scale: Scale) -> Iterator[Bar]:
    for case in (clients.skopeo("push"), clients.skopeo("pull"), clients.docker_pull(scale.pullers)):
        yield _most(case, "distribution", 1.0)


def _contention() -> Iterator[Bar]:
    for way in ("steady", "full"):
        busy, calm = contention.get(way, pushing=True), contention.get(way, pushing=False)
        yield Bar(f"{busy.name}: of that without pushes", 3, at_most=True, measured=_than(busy, calm))
