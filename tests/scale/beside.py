"""Pushes and pulls while the command collects, and while it does not.

    tick ........ the collector at work ........ done | tags are deleted | quiet ........ tick ...
         <------------- with ------------------>                           <- without ->

1. The server is the command, its graces a second and less. At each tick it finds the manifests that lost their tags
   before the last, the links of those before them, and the bytes of those before these: a full load of each.
2. What is compared was measured on one server, in turn. The clients do the same all the time.
"""

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ferro_oci_server.backends.meta.sqlite_connection import DATABASE
from support.registry import Setup, serve

from .seeding import BLOBS, Image
from .traffic import Connection, Sample, Traffic

__all__ = ["Beside", "Load", "measure"]

# How often it is looked whether the collector has something to do.
_POLL_SECONDS = 0.02
# Links wait for longer than since the last tick, by the settings below; the rest does not. It must cost nothing itself:
# the clock has half a million rows, and who looks through them measures how long that takes.
_DUE = """
WITH last AS (SELECT review_id, at FROM ticks ORDER BY id DESC LIMIT 1),
    before AS (SELECT review_id FROM ticks WHERE at <= (SELECT at FROM last) - 1000 ORDER BY at DESC LIMIT 1)
SELECT EXISTS (SELECT 1 FROM reviews WHERE kind = 'manifest' AND id <= (SELECT review_id FROM last))
    OR EXISTS (SELECT 1 FROM reviews WHERE kind = 'trash' AND id <= (SELECT review_id FROM last))
    OR EXISTS (SELECT 1 FROM reviews WHERE kind = 'link' AND id <= (SELECT review_id FROM before))
"""
_WARM_SECONDS = 5.0
_MARGIN_SECONDS = 0.25
# The manifests; two ticks later, since links wait for a while, these; at the next their bytes.
_ROUNDS_BEHIND = 4


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the clients do."""

    workers: int
    rate: float
    """Requests a second that pull, and as many that push."""
    connections: int
    quiet: int
    """Seconds between two collections."""


@dataclass
class Beside:
    """What was measured: the samples of each round in which links were removed, with and without collection."""

    with_collection: list[list[Sample]] = field(default_factory=list)
    without: list[list[Sample]] = field(default_factory=list)
    collecting: list[float] = field(default_factory=list)
    """For how many seconds the collector was at work, in each of these rounds."""
    removed: Mapping[str, int] = field(default_factory=dict)


class _Watch:
    """What the collector has done, by the database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def ticks(self) -> int:
        return int(self._database.execute("SELECT coalesce(max(id), 0) FROM ticks").fetchone()[0])

    def is_due(self) -> bool:
        return bool(self._database.execute(_DUE).fetchone()[0])

    def removed(self) -> dict[str, int]:
        return dict(self._database.execute("SELECT kind, count FROM collected"))


async def measure(
    storage: Path, log: Path, lots: Sequence[Sequence[Image]], pulled: Sequence[Image], living: int, load: Load
) -> Beside:
    """Serve, and let the images of each lot die in a round of its own.

    Raises:
        AssertionError: a request was not answered as it should be, or it was not all collected.
    """
    settings = {
        "FERRO_OCI_COLLECTION_INTERVAL": f"{load.quiet}s",
        "FERRO_OCI_BLOB_GRACE": "1s",
        "FERRO_OCI_MANIFEST_GRACE": "0s",
        "FERRO_OCI_TRASH_GRACE": "0s",
        # Most blobs have no files here, and nobody is to say that they are damaged.
        "FERRO_OCI_SCRUB_RATE": "0",
        "FERRO_OCI_ACCESS_LOG": "false",
    }
    found = Beside()
    with (
        serve(Setup(storage, load.workers, settings), log) as registry,
        closing(sqlite3.connect(f"file:{storage / DATABASE}?mode=ro", uri=True)) as database,
    ):
        watch = _Watch(database)
        before = watch.removed()
        traffic = Traffic(registry.address, pulled, living, load.rate, load.connections)
        traffic.start()
        await asyncio.sleep(_WARM_SECONDS)
        for lot in (*lots, *([()] * _ROUNDS_BEHIND)):
            await _delete_tags(registry.address, lot)
            quiet = time.perf_counter() + _MARGIN_SECONDS
            started, ended, kinds = await _collected(watch)
            if "link" in kinds:
                found.without.append(_within(traffic.samples, quiet, started - _MARGIN_SECONDS))
                found.with_collection.append(_within(traffic.samples, started, ended, touching=True))
                found.collecting.append(ended - started)
            traffic.samples.clear()
            traffic.check()
        await traffic.stop()
        found.removed = {kind: count - before.get(kind, 0) for kind, count in watch.removed().items()}
    images = sum(map(len, lots))
    assert found.removed == {"manifest": images, "link": BLOBS * images, "trash": BLOBS * images}, found.removed
    return found


async def _delete_tags(address: str, lot: Sequence[Image]) -> None:
    connection = Connection(address)
    for image in lot:
        await connection.request("DELETE", f"/v2/{image.repository}/manifests/{image.tag}", 202)
    connection.close()


async def _collected(watch: _Watch) -> tuple[float, float, set[str]]:
    """Wait until the collector has begun at a tick, and has ended; return both times, and what kinds it removed."""
    tick, before = watch.ticks(), watch.removed()
    while watch.ticks() == tick:  # noqa: ASYNC110 (another process writes it)
        await asyncio.sleep(_POLL_SECONDS)
    started = time.perf_counter()
    while watch.is_due():  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)
    return started, time.perf_counter(), {kind for kind, count in watch.removed().items() if count != before.get(kind)}


def _within(samples: Sequence[Sample], start: float, end: float, *, touching: bool = False) -> list[Sample]:
    """The requests that were due and answered in a time, or, touching, due or answered."""
    if touching:
        return [sample for sample in samples if sample.due < end and sample.ended > start]
    return [sample for sample in samples if sample.due > start and sample.ended < end]
