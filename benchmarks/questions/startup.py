"""From the start of the command until it says that it is ready."""

import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.results import Case, Sample
from benchmarks.subjects import Holdings, Kind, answers, environment_of
from support.process import free_port

__all__ = ["NAME", "ready", "run"]

NAME = "startup"
_PATIENCE = 60.0
_POLL = 0.002


def ready(holds: int | None) -> Case:
    """A folder with so many manifests, or a new one, in which tables are made first."""
    detail = "a new folder" if holds is None else f"{holds:,} manifests"
    return Case(NAME, "start until ready", "s", detail, lower_is_better=True)


def run(bench: Bench) -> None:
    """Each start is one sample."""
    kinds = bench.kinds("files", "files x2", "memory", "distribution", "seed")
    for _ in range(2 * bench.scale.rounds):
        for kind in kinds:
            with bench.stores.scratch() as folder:
                bench.take(ready(None), kind.name, partial(_start, kind, folder))
        for kind in bench.kinds("files", "files x2"):
            for holdings in (Holdings(0), Holdings(bench.scale.large, listed=True)):
                folder = bench.stores.prepared(kind, holdings)
                bench.take(ready(holdings.tags), kind.name, partial(_start, kind, folder))


def _start(kind: Kind, storage: Path) -> Sample:
    address = f"127.0.0.1:{free_port()}"
    command = kind.command(address, storage)
    begin = time.monotonic()
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment_of(kind), stdin=silent, stdout=silent, stderr=silent)
    try:
        while not answers(address, kind.ready):
            if time.monotonic() - begin > _PATIENCE or process.poll() is not None:
                raise RuntimeError(f"it was not ready after {time.monotonic() - begin:.0f} s")
            time.sleep(_POLL)
        return Sample(time.monotonic() - begin)
    finally:
        process.terminate()
        process.wait(_PATIENCE)
