"""The states that a loss of power could leave at each moment of a recording.

Of the changes that wait at a moment there may be on the disk: nothing, everything, everything but one, one alone, any
choice (all choices of a few, some of many). The last write may end at any sector, or begin at one, or have brought its
length and zeros. Choices that are the same at several moments are built once for all that was promised then.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from faults.powerloss.disk import Disk, Model, Tree
from faults.powerloss.promises import Promises
from faults.powerloss.steps import Change, Mark, Step, Sync, Write

__all__ = ["Plan", "State", "plan"]

SECTOR = 512
# All choices of so many changes: 32.
_FEW = 5
# Choices of more changes, at each moment.
_SOME = 6
# Beyond so many changes, which only syncs that fail leave, a quarter of this number is left out one by one.
_MANY = 64
# Ends of one write: a page of SQLite has eight sectors.
_ENDS = 8

Choice = tuple[tuple[int, Change], ...]


@dataclass(frozen=True, slots=True)
class State:
    """What is found after a loss of power behind the step ``moment``."""

    moment: int
    kind: str
    tree: Tree
    promises: Promises
    lost: tuple[str, ...]
    """What had not reached the disk."""

    def __str__(self) -> str:
        return f"after step {self.moment}, {self.kind}; lost: {', '.join(self.lost) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All states of a recording, or so many of them as were asked for."""

    possible: int
    states: Iterator[State]


def plan(steps: Sequence[Step], *, limit: int | None = None, seed: int = 0, model: Model | None = None) -> Plan:
    """Find the states of a recording; beyond ``limit``, a choice that is the same for the same seed."""
    model = model or Model()
    kinds = [kind for *_, kind, _ in _candidates(steps, model, seed)]
    wanted: set[int] | None = None
    if limit is not None and len(kinds) > limit:
        plain = [index for index, kind in enumerate(kinds) if kind in ("nothing", "everything")]
        rest = sorted({*range(len(kinds))}.difference(plain))
        chooser = random.Random(seed)
        plain = chooser.sample(plain, min(len(plain), limit // 2))
        wanted = {*plain, *chooser.sample(rest, limit - len(plain))}
    return Plan(len(kinds), _build(steps, model, seed, wanted))


def _build(steps: Sequence[Step], model: Model, seed: int, wanted: set[int] | None) -> Iterator[State]:
    for index, (moment, disk, promises, kind, choice) in enumerate(_candidates(steps, model, seed)):
        if wanted is None or index in wanted:
            changes = [change for _, change in choice]
            kept = {number for number, _ in choice}
            lost = tuple(_name(item.change) for number, item in enumerate(disk.waiting) if number not in kept)
            yield State(moment, kind, disk.after(changes), promises, lost)


def _candidates(steps: Sequence[Step], model: Model, seed: int) -> Iterator[tuple[int, Disk, Promises, str, Choice]]:
    disk, promises, phase = Disk(model), Promises(), 0
    chooser = random.Random(seed)
    seen: set[tuple[int, int, Choice]] = set()
    begun = False
    for moment, step in enumerate(steps):
        what = step.what
        if isinstance(what, Sync):
            disk.sync(what, step.entered)
        elif isinstance(what, Mark):
            begun = begun or what.content["operation"] == "begin"
            if not begun or what.content["operation"] == "begin":
                disk.settle()
            promises, phase = promises.heard(what.content, moment), phase + 1
        else:
            disk.change(what, step.ended)
        if not begun:
            continue
        for kind, choice in _choices(disk, chooser):
            key = disk.version, phase, choice
            if key not in seen:
                seen.add(key)
                yield moment, disk, promises, kind, choice
    # What is kept apart by version need not be remembered for long, but a recording is small.


def _choices(disk: Disk, chooser: random.Random) -> Iterator[tuple[str, Choice]]:
    numbers = range(len(disk.waiting))
    for kind, kept in _subsets(len(numbers), chooser):
        if disk.allows([disk.waiting[number] for number in kept]):
            yield kind, tuple((number, disk.waiting[number].change) for number in kept)
    if not numbers:
        return
    last = numbers[-1]
    change = disk.waiting[last].change
    if isinstance(change, Write):
        before = tuple((number, disk.waiting[number].change) for number in numbers[:-1])
        for kind, part in _parts(change, disk.size(change.inode), chooser):
            yield f"the last write {kind}", (*before, (last, part))
            yield f"the last write alone, {kind}", ((last, part),)


def _subsets(count: int, chooser: random.Random) -> Iterator[tuple[str, Sequence[int]]]:
    numbers = range(count)
    yield "nothing", ()
    if count == 0:
        return
    yield "everything", numbers
    for number in numbers if count <= _MANY else sorted(chooser.sample(numbers, _MANY // 4)):
        yield "one alone", (number,)
        yield "all but one", [other for other in numbers if other != number]
    if count <= _FEW:
        for size in range(2, count - 1):
            for kept in combinations(numbers, size):
                yield "some", kept
        return
    for _ in range(_SOME):
        share = chooser.random()
        yield "some", [number for number in numbers if chooser.random() < share]


def _parts(write: Write, size: int, chooser: random.Random) -> Iterator[tuple[str, Write]]:
    """What may be there of a write: whole sectors, or, where it makes the file longer, zeros."""
    end = write.offset + len(write.content)
    bounds = list(range(SECTOR - write.offset % SECTOR, len(write.content), SECTOR))
    if len(bounds) > _ENDS:
        bounds = sorted({bounds[0], bounds[-1], *chooser.sample(bounds, _ENDS - 2)})
    for bound in bounds:
        yield "cut off", Write(write.inode, write.offset, write.content[:bound])
    for bound in bounds[:: max(1, len(bounds) // 2)]:
        yield "without its beginning", Write(write.inode, write.offset + bound, write.content[bound:])
    if end > size:
        yield "as zeros", Write(write.inode, write.offset, bytes(len(write.content)))


def _name(change: Change) -> str:
    if isinstance(change, Write):
        return f"{len(change.content)} bytes at {change.offset} of file {change.inode}"
    return str(change)
