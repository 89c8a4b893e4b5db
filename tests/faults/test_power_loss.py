"""What a loss of power could leave of a registry, at any moment of its work, is a registry that kept its word.

Some of the states are checked here, the same ones each time; ``python -m faults.powerloss`` checks all of them.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from faults.powerloss.checking import check_tree, contents_of
from faults.powerloss.disk import Disk, Model
from faults.powerloss.recording import RecorderMissing, record
from faults.powerloss.states import State, plan
from faults.powerloss.steps import ROOT, Change, Entry, Mark, Resize, Step, Sync, Write
from faults.powerloss.workloads import WORKLOADS

# A state takes some 20 ms.
_STATES = 60
# Where a fault is sure to be found, and the rest need not be looked at.
_MORE = 120
_BATCH = 24

_FILE = 1
_NAME = Entry(ROOT, "name", _FILE)
_BYTES = Write(_FILE, 0, b"bytes")

Recordings = Mapping[str, Sequence[Step]]


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    """All workloads, recorded by strace; without it skipped at home, and failed where ``CI`` is set."""
    try:
        return record(list(WORKLOADS))
    except RecorderMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def checkers() -> Iterator[Executor]:
    """Processes that check states: it takes a processor more time than a disk."""
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        yield executor


def _distinct(states: Iterator[State]) -> list[State]:
    return list({(contents_of(state.tree), id(state.promises)): state for state in states}.values())


def _wrong(steps: Sequence[Step], checkers: Executor, limit: int = _STATES) -> Iterator[str]:
    """What is wrong, as it is found."""
    planned = plan(steps, limit=limit)
    states = _distinct(planned.states)
    print(f"{len(states)} states checked, of {planned.possible} choices")
    for first in range(0, len(states), _BATCH):
        batch = states[first : first + _BATCH]
        found = checkers.map(
            check_tree, [state.tree for state in batch], [state.promises for state in batch], chunksize=_BATCH // 8
        )
        for state, texts in zip(batch, found, strict=True):
            yield from (f"{text}\n  {state}" for text in texts)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_state_keeps_what_was_promised(workload: str, recordings: Recordings, checkers: Executor) -> None:
    wrong = list(_wrong(recordings[workload], checkers))
    assert not wrong, "\n".join(wrong[:10])


def _names(steps: Sequence[Step]) -> dict[int, str]:
    """What each file and folder was called first."""
    names = {ROOT: "root"}
    for step in steps:
        if isinstance(step.what, Entry) and step.what.target is not None:
            names.setdefault(step.what.target, step.what.name)
    return names


def _is_upload(name: str) -> bool:
    return len(name) == 36


def _is_prefix(name: str) -> bool:
    return len(name) == 2


def _is_log(name: str) -> bool:
    return name == "registry.db-wal"


@pytest.mark.parametrize(
    ("workload", "forgotten"),
    [
        pytest.param("blob", _is_upload, id="the staged file"),
        pytest.param("blob", _is_prefix, id="the folder of the blob"),
        pytest.param("blob", "sha256".__eq__, id="the folder above"),
        pytest.param("chunks", _is_upload, id="the staged file of a session"),
        pytest.param("chunks", "uploads".__eq__, id="the folder of staged files"),
        pytest.param("manifests", _is_log, id="the log"),
        pytest.param("checkpoint", _is_log, id="the log, before it is copied"),
        pytest.param("checkpoint", "registry.db".__eq__, id="the database, before the log starts over"),
        pytest.param("new", "root".__eq__, id="the folder of all"),
    ],
)
def test_a_sync_that_is_forgotten_is_found(
    workload: str, forgotten: Callable[[str], bool], recordings: Recordings, checkers: Executor
) -> None:
    names = _names(recordings[workload])
    steps = [
        step for step in recordings[workload] if not (isinstance(step.what, Sync) and forgotten(names[step.what.inode]))
    ]
    assert len(steps) < len(recordings[workload])
    assert any(text.startswith("I") for text in _wrong(steps, checkers, _MORE))


def _steps(*whats: Change | Sync | Mark) -> list[Step]:
    return [Step(what, number, number) for number, what in enumerate(whats)]


_BEGIN = Mark({"operation": "begin", "answered": True})


def _trees(*whats: Change | Sync, model: Model | None = None) -> list[dict[str, bytes | None]]:
    found = []
    for state in plan(_steps(_BEGIN, *whats), model=model).states:
        tree = dict(state.tree)
        if tree not in found:
            found.append(tree)
    return found


def _after(*whats: Change | Sync, model: Model | None = None) -> list[dict[str, bytes | None]]:
    """What may be there when all this has happened."""
    disk = Disk(model or Model())
    for number, what in enumerate(whats):
        if isinstance(what, Sync):
            disk.sync(what, number)
        else:
            disk.change(what, number)
    found = [disk.after([])]
    for kept in range(1, 1 << len(disk.waiting)):
        chosen = [item for number, item in enumerate(disk.waiting) if kept >> number & 1]
        if disk.allows(chosen):
            found.append(disk.after([item.change for item in chosen]))
    return [dict(tree) for tree in found]


def test_the_disk_loses_bytes_that_were_not_synced() -> None:
    assert {"name": b""} in _trees(_NAME, Sync(ROOT, is_good=True), _BYTES)
    assert {"name": b"bytes"} in _trees(_NAME, Sync(ROOT, is_good=True), _BYTES)


def test_the_disk_loses_the_name_of_a_synced_file() -> None:
    assert {} in _after(_NAME, _BYTES, Sync(_FILE, is_good=True))


def test_the_disk_keeps_what_was_synced() -> None:
    assert _after(_NAME, _BYTES, Sync(_FILE, is_good=True), Sync(ROOT, is_good=True)) == [{"name": b"bytes"}]


def test_the_disk_has_zeros_where_a_length_came_alone() -> None:
    assert {"name": bytes(5)} in _trees(_NAME, Sync(ROOT, is_good=True), _BYTES)


def test_the_disk_has_a_later_write_without_an_earlier_one() -> None:
    later = Write(_FILE, 5, b"later")
    assert {"name": bytes(5) + b"later"} in _trees(_NAME, Sync(ROOT, is_good=True), _BYTES, later)


def test_the_disk_cuts_a_write_at_a_sector() -> None:
    long = Write(_FILE, 0, b"x" * 1000)
    assert {"name": b"x" * 512} in _trees(_NAME, Sync(ROOT, is_good=True), long)


def test_the_disk_may_do_without_a_resize() -> None:
    kept = (_NAME, _BYTES, Sync(_FILE, is_good=True), Sync(ROOT, is_good=True))
    assert _after(*kept, Resize(_FILE, 2)) == [{"name": b"bytes"}, {"name": b"by"}]


def test_the_disk_never_loses_both_names_of_a_moved_file() -> None:
    arrived = Entry(ROOT, "new", _FILE)
    move = (_NAME, _BYTES, Sync(_FILE, is_good=True), Sync(ROOT, is_good=True), arrived)
    left = Entry(ROOT, "name", None, moved=arrived)
    moved, both = {"new": b"bytes"}, {"name": b"bytes", "new": b"bytes"}
    assert _after(*move, left) == [{"name": b"bytes"}, both, moved]
    assert {} in _after(*move, left, model=Model(torn=True))


def test_the_disk_forgets_what_a_failed_sync_was_for() -> None:
    steps = (_NAME, Sync(ROOT, is_good=True), _BYTES, Sync(_FILE, is_good=False))
    assert {"name": b"bytes"} in _after(*steps)
    assert _after(*steps, Sync(_FILE, is_good=True)) == [{"name": b""}]


def test_an_ordered_disk_keeps_the_order_of_names() -> None:
    other = Entry(ROOT, "other", 2)
    assert {"other": b""} in _after(_NAME, other)
    assert _after(_NAME, other, model=Model(ordered=True)) == [{}, {"name": b""}, {"name": b"", "other": b""}]


def test_a_sync_does_not_cover_what_ends_after_it_has_begun() -> None:
    disk = Disk(Model())
    disk.change(_NAME, 1)
    disk.sync(Sync(ROOT, is_good=True), entered=1)
    assert len(disk.waiting) == 1
