"""One pass: everything that the source has and the destination lacks is copied, and what is left over is told.

    each repository     blobs, several at a time --> manifests --> tags --> with ``exact``, what is too much is removed
    at the end          both sides are listed again, and compared

1. A blob's bytes come once. The other repositories that have it are given a link.
2. A manifest goes with what it needs already there. What needs another manifest waits for it; what needs something that
   the source does not have either goes as it is, as it was served there, and that is told.
3. What a client could see of the destination meanwhile is whole: no tag before its manifest and its blobs.
4. Limits of repositories are not asked: they are for those who push.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import ParamSpec

from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.core.manifests import read_record
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import BlobReader, BlobStore, RegistryMeta, StoreCorrupted
from ferro_oci_server.core.records import ManifestRecord
from ferro_oci_server.core.uploads import Uploads
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import DigestInvalid, ManifestBlobUnknown, OciError
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.transfer.registry import RegistrySource
from ferro_oci_server.transfer.report import Report
from ferro_oci_server.transfer.source import Source
from ferro_oci_server.transfer.walking import each, join, patiently

__all__ = ["SourceEmpty", "Transfer"]

P = ParamSpec("P")

# Repositories at a time: most are small, and a pass over them mostly waits for lists.
_REPOSITORIES = 4
# So many tags are gathered, so that those that point at the same manifest are set together.
_TAGS = 500


class SourceEmpty(Exception):
    """Raised where the source has nothing at all: it is hardly the one that was meant."""


class _Unreadable(Exception):
    """Raised when the source does not give the bytes of a blob."""


class Transfer:
    """A pass from a source to the stores of a registry, which may be served meanwhile, but should not be pushed to."""

    def __init__(
        self,
        source: Source,
        blob_store: BlobStore,
        registry_meta: RegistryMeta,
        *,
        missing_references: MissingReferences | None = None,
        parallel: int = 8,
        report: Report | None = None,
    ) -> None:
        """Copy up to ``parallel`` blobs or manifests at a time.

        Where ``missing_references`` are allowed, nothing is told of them.
        """
        self.report = report or Report()
        self._source = source
        self._listed = RegistrySource(blob_store, registry_meta)
        self._meta = registry_meta
        self._hashing = Hashing()
        self._uploads = Uploads(blob_store, registry_meta, hashing=self._hashing)
        self._missing_references = missing_references or MissingReferences()
        self._parallel = parallel
        self._gate = asyncio.Semaphore(parallel)
        self._under_way: dict[Digest, asyncio.Event] = {}
        self._lost: dict[Digest, str] = {}
        """Blobs that cannot be copied, and why: other repositories may have them, too."""

    async def run(self, *, exact: bool = False) -> Report:
        """Copy what is missing, and compare both sides; with ``exact`` remove what the source does not have.

        Raises:
            SourceEmpty: the source has no repositories; nothing was done.
            StoreError: a store stayed unavailable. What was done stays, and the next pass goes on.
        """
        await self._see_source()
        try:
            self.report.begin("copying")
            await each(self._names(self._source), self._copy, _REPOSITORIES)
            if exact:
                self.report.begin("removing")
                await each(self._names(self._listed), self._remove, _REPOSITORIES)
        finally:
            await self._hashing.close()
        return await self.compare()

    async def compare(self) -> Report:
        """Compare both sides, and change nothing.

        Raises:
            SourceEmpty, StoreError: as ``run``.
        """
        await self._see_source()
        self.report.begin("comparing")
        await each(self._all_names(), self._compare, _REPOSITORIES)
        return self.report

    async def _see_source(self) -> None:
        if await anext(self._source.repositories(), None) is None:
            raise SourceEmpty("the source has no repositories")

    async def _names(self, side: Source) -> AsyncIterator[RepositoryName]:
        async for name, _ in side.repositories():
            yield name

    async def _all_names(self) -> AsyncIterator[RepositoryName]:
        async for name, _, _ in join(self._source.repositories(), self._listed.repositories()):
            yield name

    async def _copy(self, name: RepositoryName) -> None:
        self.report.repositories += 1
        await self._copy_blobs(name)
        await self._copy_manifests(name)
        await self._copy_tags(name)

    async def _in_turn(self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do one of the things of which only so many are done at a time."""
        async with self._gate:
            await patiently(work, *args, **kwargs)

    # Blobs

    async def _copy_blobs(self, name: RepositoryName) -> None:
        async def copy(digest: Digest) -> None:
            await self._in_turn(self._copy_blob, name, digest)

        await each(self._missing_blobs(name), copy, self._parallel)

    async def _missing_blobs(self, name: RepositoryName) -> AsyncIterator[Digest]:
        async for digest, ours, theirs in join(self._source.blobs(name), self._listed.blobs(name)):
            self.report.seen["blobs"] += ours is not None
            # One that is known to be damaged in the source is tried.
            if _is_other_blob(ours, theirs):
                yield digest

    async def _copy_blob(self, name: RepositoryName, digest: Digest) -> None:
        """Link a blob, or copy its bytes, unless they are just being copied for another repository."""
        while (other := self._under_way.get(digest)) is not None:
            await other.wait()
        self._under_way[digest] = done = asyncio.Event()
        try:
            if await self._meta.mount_blob(name, digest, None) is not None:
                self.report.linked += 1
                return
            if digest not in self._lost and not await self._copy_bytes(name, digest):
                return
            if digest in self._lost:
                self.report.problem(f"blob {digest} in {name}: {self._lost[digest]}")
            else:
                self.report.copied["blobs"] += 1
        finally:
            del self._under_way[digest]
            done.set()

    async def _copy_bytes(self, name: RepositoryName, digest: Digest) -> bool:
        """Copy the bytes of a blob, or find out that they are lost; ``False`` where there is no such blob any more."""
        reader = await self._source.open_blob(name, digest)
        if reader is None:
            if not await self._source.owes_blob(name, digest):
                return False
            self._lost[digest] = "its bytes are gone"
            return True
        try:
            async with aclosing(self._pieces(reader)) as pieces:
                await self._uploads.push(name, digest, pieces, announced=reader.size)
        except DigestInvalid:
            self._lost[digest] = "its bytes have another digest"
        except _Unreadable as exc:
            self._lost[digest] = f"its bytes cannot be read: {exc}"
        finally:
            await reader.close()
        return True

    async def _pieces(self, reader: BlobReader) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(reader.pieces(0, reader.size)) as pieces:
                async for piece in pieces:
                    yield piece
                    self.report.copied_bytes += len(piece)
        except StoreCorrupted as exc:
            raise _Unreadable(str(exc)) from exc

    # Manifests

    async def _copy_manifests(self, name: RepositoryName) -> None:
        late: list[Digest] = []

        async def copy(digest: Digest) -> None:
            await self._in_turn(self._copy_manifest, name, digest, late)

        await each(self._missing_manifests(name), copy, self._parallel)
        # An index needs its manifests, and an index of indexes needs those, too: as long as some can go, all are tried.
        waiting = 0
        while late and len(late) != waiting:
            again, late = late, []
            waiting = len(again)
            await each(_iterate(again), copy, self._parallel)
        for digest in late:
            await self._in_turn(self._copy_manifest, name, digest, None)

    async def _missing_manifests(self, name: RepositoryName) -> AsyncIterator[Digest]:
        async for digest, ours, theirs in join(self._source.manifests(name), self._listed.manifests(name)):
            self.report.seen["manifests"] += ours is not None
            if _is_other_manifest(ours, theirs):
                yield digest

    async def _copy_manifest(self, name: RepositoryName, digest: Digest, late: list[Digest] | None) -> None:
        """Copy a manifest; if it needs what is not there, it is ``late``, or, at last, goes as it is."""
        record = await self._read(name, digest)
        if record is None:
            return
        is_allowed = self._missing_references.allowed_in(name)
        try:
            await self._meta.put_manifest(name, record, allow_missing=is_allowed)
        except ManifestBlobUnknown as exc:
            if late is not None:
                late.append(digest)
                return
            await self._meta.put_manifest(name, record, allow_missing=True)
            missing = ", ".join(exc.missing)
            self.report.problem(f"manifest {digest} in {name}: it is copied, but needs {missing}")
        self.report.copied["manifests"] += 1

    async def _read(self, name: RepositoryName, digest: Digest) -> ManifestRecord | None:
        """Read a manifest as if it was pushed; ``None`` where it is gone, or cannot be had, which is told."""
        try:
            stored = await self._source.read_manifest(name, digest)
            if stored is None:
                return None
            return await self._hashing.run(read_record, digest, stored.content, stored.media_type)
        except (StoreCorrupted, OciError) as exc:
            self.report.problem(f"manifest {digest} in {name}: {exc}")
            return None

    # Tags

    async def _copy_tags(self, name: RepositoryName) -> None:
        async def point(targets: dict[str, list[Tag]]) -> None:
            for digest, tags in targets.items():
                await self._in_turn(self._point, name, tags, digest)

        await each(self._other_tags(name), point, self._parallel)

    async def _other_tags(self, name: RepositoryName) -> AsyncIterator[dict[str, list[Tag]]]:
        """Tags that the destination lacks or has elsewhere, some at a time, by what they point at."""
        gathered: dict[str, list[Tag]] = {}
        count = 0
        async for tag, ours, theirs in join(self._source.tags(name), self._listed.tags(name)):
            self.report.seen["tags"] += ours is not None
            if ours is None or not _is_other_tag(ours, theirs):
                continue
            gathered.setdefault(ours, []).append(tag)
            count += 1
            if count == _TAGS:
                yield gathered
                gathered, count = {}, 0
        yield gathered

    async def _point(self, name: RepositoryName, tags: list[Tag], target: str) -> None:
        """Point tags at a manifest: putting it again is how that is done."""
        record = await self._read(name, Digest(target)) if target else None
        if record is None:
            for tag in tags:
                problem = f"its manifest {target} cannot be copied" if target else "what it points at cannot be read"
                self.report.problem(f"tag {tag} in {name}: {problem}")
            return
        await self._meta.put_manifest(name, record, tags, allow_missing=True)
        self.report.copied["tags"] += len(tags)

    # The end

    async def _remove(self, name: RepositoryName) -> None:
        """Remove what the source does not have, first what others hang on."""
        async for tag, ours, _ in join(self._source.tags(name), self._listed.tags(name)):
            if ours is None and await patiently(self._meta.delete_tag, name, tag):
                self.report.removed["tags"] += 1
        async for digest, ours, _ in join(self._source.manifests(name), self._listed.manifests(name)):
            if ours is None and await patiently(self._meta.delete_manifest, name, digest):
                self.report.removed["manifests"] += 1
        async for digest, ours, _ in join(self._source.blobs(name), self._listed.blobs(name)):
            if ours is None and await patiently(self._meta.unlink_blob, name, digest):
                self.report.removed["blobs"] += 1

    async def _compare(self, name: RepositoryName) -> None:
        report, source, listed = self.report, self._source, self._listed
        in_source = False
        async for digest, ours, theirs in join(source.blobs(name), listed.blobs(name)):
            is_missing = _is_other_blob(ours, theirs) and await source.owes_blob(name, digest)
            in_source |= report.count("blobs", ours, is_missing=is_missing)
        async for _, ours, theirs in join(source.manifests(name), listed.manifests(name)):
            in_source |= report.count("manifests", ours, is_missing=_is_other_manifest(ours, theirs))
        async for _, ours, theirs in join(source.tags(name), listed.tags(name)):
            in_source |= report.count("tags", ours, is_missing=_is_other_tag(ours, theirs))
        report.repositories += in_source


def _is_other_blob(ours: str | None, theirs: str | None) -> bool:
    """Whether the source has a blob that the destination lacks, or knows to be damaged there."""
    return ours is not None and theirs != ""


def _is_other_manifest(ours: str | None, theirs: str | None) -> bool:
    """The same of a manifest, whose type the source may not know."""
    return ours is not None and (theirs is None or ours not in ("", theirs))


def _is_other_tag(ours: str | None, theirs: str | None) -> bool:
    """The same of a tag, by what it points at."""
    return ours is not None and ours != theirs


async def _iterate(digests: list[Digest]) -> AsyncIterator[Digest]:
    for digest in digests:
        yield digest
