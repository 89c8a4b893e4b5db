"""This registry, from the sources beside this folder."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import content
from benchmarks.subjects import Holdings
from ferro_oci_server import SqliteRegistryMeta
from ferro_oci_server.core.records import ManifestRecord
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.manifest import parse_manifest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["Ours"]

_DATABASE = "registry.db"
# As many writes as share a transaction, twice: one group is made while the other is written.
_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Ours:
    """In memory, or with SQLite and files; one worker or more. Only the access log is off."""

    name: str
    title: str
    store: str
    workers: int = 1
    ready: str = "/ready"

    def command(self, address: str, storage: Path) -> Sequence[str]:
        """How to start it."""
        command = [sys.executable, "-m", "ferro_oci_server", "serve", "--listen", address]
        if self.store:
            command += ["--storage-dir", str(storage)]
        return [*command, "--workers", str(self.workers)]

    def environment(self) -> Mapping[str, str]:
        """Its settings."""
        return {"FERRO_OCI_ACCESS_LOG": "false"}

    def fill(self, storage: Path, holdings: Holdings) -> None:
        """Write the same rows that pushes write, through the same writer."""
        asyncio.run(_fill(storage / _DATABASE, holdings))


async def _fill(database: Path, holdings: Holdings) -> None:
    meta = SqliteRegistryMeta(database)
    source, blob = RepositoryName(content.REPOSITORY), Digest(content.references()[0])
    referrers = RepositoryName(content.REFERRERS)

    async def put_tagged(number: int) -> None:
        await meta.put_manifest(source, _record(content.manifest(number)), [Tag(content.tag(number))])

    async def put_referrer(number: int) -> None:
        await meta.put_manifest(referrers, _record(content.referrer(number)))

    async def make_repository(number: int) -> None:
        await meta.mount_blob(RepositoryName(content.repository(number)), blob, source)

    try:
        await _many(put_tagged, holdings.tags)
        if holdings.listed:
            for digest in content.references():
                await meta.mount_blob(referrers, Digest(digest), source)
            await _many(put_referrer, holdings.tags)
            await _many(make_repository, holdings.tags)
    finally:
        await meta.close()


async def _many(work: Callable[[int], Coroutine[None, None, None]], count: int) -> None:
    for first in range(0, count, _AT_ONCE):
        await asyncio.gather(*map(work, range(first, min(first + _AT_ONCE, count))))


def _record(body: bytes) -> ManifestRecord:
    manifest = parse_manifest(body, content.MANIFEST_TYPE)
    return ManifestRecord(
        digest=Digest.of(body),
        media_type=manifest.media_type,
        content=body,
        blobs=manifest.blobs,
        children=manifest.children,
        optional=manifest.optional,
        subject=manifest.subject,
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
    )
