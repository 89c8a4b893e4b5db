"""What collection costs in a large registry: ``scripts/collection-scale --help``."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .beside import Load, measure
from .counting import Counted, Work, counted_connections
from .report import beside_lines, work_lines
from .seeding import BLOBS, Image, Registry, hurry
from .work import collect_dead

_BUILD = Path(__file__).parents[2] / "build"
_REPORT = _BUILD / "collection-scale.md"
_PULLED = 200
_IMAGES_AT_A_TIME = 5000


class Run:
    """One run, and what it leaves on the disk until it ends."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.lines: list[str] = []
        self._sizes = sorted({options.dead, 10 * options.dead, options.references})
        self._dying: dict[int, list[Sequence[Image]]] = {}
        self._pulled: Sequence[Image] = []
        self._lots: list[list[Sequence[Image]]] = []

    async def run(self) -> None:
        """Do all of it."""
        with counted_connections() as connections:
            for size in self._sizes:
                await self._seed(size, connections)
            _say("what was seeded goes to the disk")
            os.sync()
            await self._count_work(connections)
        for workers, lots in zip(self.options.workers, self._lots, strict=True):
            await self._serve(workers, lots)

    async def _seed(self, references: int, connections: Sequence[Counted]) -> None:
        started, images = time.monotonic(), references // BLOBS
        async with Registry(self._storage(references)) as registry:
            hurry(connection for connection in connections if connection.is_open)
            for first in range(0, images, _IMAGES_AT_A_TIME):
                await registry.add_living(min(_IMAGES_AT_A_TIME, images - first))
                _say(f"{references:,} references: {BLOBS * registry.images:,} are there")
            dead = self.options.dead // BLOBS
            self._dying[references] = [await registry.add_dying(dead) for _ in range(1 + self.options.repeats)]
            if references == self.options.references:
                self._pulled = await registry.add_pulled(_PULLED)
                for _ in self.options.workers:
                    dying = await registry.add_dying(self.options.rounds * self.options.lot // BLOBS)
                    self._lots.append(list(_cut(dying, self.options.lot // BLOBS)))
            await registry.settle()
        _say(f"{references:,} references and what is to die: {time.monotonic() - started:.0f} s")

    async def _count_work(self, connections: Sequence[Counted]) -> None:
        counted: dict[int, Work] = {}
        timed: dict[int, list[Work]] = {size: [] for size in self._sizes}
        # In turn, so that whatever else the machine does hits all.
        for time_of in range(1 + self.options.repeats):
            for size in self._sizes:
                _say(f"{self.options.dead:,} die among {size:,}, {'timed' if time_of else 'counted'}")
                async with Registry(self._storage(size)) as registry:
                    watched = [] if time_of else [it for it in connections if it.is_open]
                    work = (await collect_dead(registry, self._dying[size][time_of], watched)).work
                if time_of:
                    timed[size].append(work)
                else:
                    counted[size] = work
        self._tell(work_lines(self.options.dead, counted, timed))

    async def _serve(self, workers: int, lots: Sequence[Sequence[Image]]) -> None:
        _say(f"pushes and pulls, {workers} workers")
        size, options = self.options.references, self.options
        load = Load(workers=workers, rate=options.rate, connections=options.connections, quiet=options.quiet)
        log = self.folder / f"log-{workers}"
        found = await measure(self._storage(size), log, lots, self._pulled, size // BLOBS, load)
        self._tell(beside_lines(workers, found))

    def _storage(self, references: int) -> Path:
        return self.folder / str(references)

    def _tell(self, lines: Iterator[str]) -> None:
        told = [*lines, ""]
        self.lines += told
        print("\n".join(told), flush=True)


def _cut(images: Sequence[Image], size: int) -> Iterator[Sequence[Image]]:
    for first in range(0, len(images), size):
        yield images[first : first + size]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write down what was found."""
    parser = argparse.ArgumentParser(prog="scripts/collection-scale", description=__doc__)
    parser.add_argument("--references", type=int, default=1_000_000, help="how many stay (default: 1,000,000)")
    parser.add_argument("--dead", type=int, default=10_000, help="blobs whose collection is counted (default: 10,000)")
    parser.add_argument("--repeats", type=int, default=3, help="how often their collection is timed (default: 3)")
    parser.add_argument("--lot", type=int, default=1000, help="blobs that die in a round of traffic (default: 1,000)")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of traffic (default: 30)")
    parser.add_argument("--quiet", type=int, default=3, help="seconds between two collections (default: 3)")
    parser.add_argument("--rate", type=float, default=50, help="pulls a second, and pushes as many (default: 50)")
    parser.add_argument("--connections", type=int, default=8, help="of all clients (default: 8)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="of the servers (default: 1 2)")
    options = parser.parse_args()
    _BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="collection-scale-", dir=_BUILD))
    run = Run(options, folder)
    try:
        asyncio.run(run.run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _REPORT.write_text("\n".join(run.lines), encoding="utf-8")


if __name__ == "__main__":
    main()
