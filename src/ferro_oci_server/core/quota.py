"""What a repository may hold at most. It is counted where something is added, and only where there is a limit.

1. A limit is soft. A tally is what the metadata store had when it was asked, and what this process has let in since.
   The store is asked anew after a minute, and before anything is refused. So a limit can be passed by what other
   processes let in within a minute, and by what is under way. A counter in a row would be exact, and would let each
   push to a repository wait for the commit of the one before.
2. What is there already can always be pushed again: a tag is moved, a manifest or a blob replaced.
3. Where there is no limit, nothing is asked and nothing remembered.
"""

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from time import monotonic
from typing import Protocol, runtime_checkable

from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import BlobTooLarge, QuotaExceeded
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Reference, Tag

__all__ = ["Quota", "Quotas", "Resource", "Usage"]

# For how long a tally is good enough to let something in, and to refuse something. Counting a million rows takes some
# 200 ms, in a thread: once a minute that is nothing, and for each request too much.
_ADMIT_SECONDS = 60.0
_REFUSE_SECONDS = 1.0

# A tally is some 300 bytes. For one that was dropped the store is asked again.
_MAX_TALLIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What there may be at most; 0 is no limit. What a repository has is limited where its store is a ``Usage``."""

    max_blob_bytes: int = 0
    """A blob. None by default: only the operator knows the disk."""
    max_repository_bytes: int = 0
    """All blobs of a repository, each once."""
    max_repository_tags: int = 1_000_000
    """As many as were measured to be as fast as few, so that no one client makes the index larger than that."""
    max_repository_manifests: int = 1_000_000
    """Likewise."""


class Resource(StrEnum):
    """What a repository has a number of."""

    TAGS = "tags"
    MANIFESTS = "manifests"
    BYTES = "bytes"
    """Those of the blobs that it links. One that is known to be damaged does not count: it is to be pushed again."""


@runtime_checkable
class Usage(Protocol):
    """A ``RegistryMeta`` that can count what a repository has."""

    async def usage(self, name: RepositoryName, resource: Resource) -> int:
        """How much of something a repository has; 0 where it does not exist. This may take as long as reading it."""
        ...


@dataclass(slots=True)
class _Tally:
    """What a repository has of something, as far as this process knows."""

    count: int = 0
    asked_at: float = -inf
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Quotas:
    """Lets in what a repository has room for. Used by one event loop; time is read from ``clock``."""

    def __init__(self, quota: Quota, meta: RegistryMeta, clock: Callable[[], float] = monotonic) -> None:
        self._meta = meta
        self._usage = meta if isinstance(meta, Usage) else None
        self._clock = clock
        self._max_blob_bytes = quota.max_blob_bytes or sys.maxsize
        limits = {
            Resource.TAGS: quota.max_repository_tags,
            Resource.MANIFESTS: quota.max_repository_manifests,
            Resource.BYTES: quota.max_repository_bytes,
        }
        self._limits = {resource: limit for resource, limit in limits.items() if limit and self._usage is not None}
        self._tallies: OrderedDict[tuple[RepositoryName, Resource], _Tally] = OrderedDict()

    async def admit_manifest(self, name: RepositoryName, digest: Digest, tags: Sequence[Tag]) -> None:
        """Let a manifest and tags in, which are about to be stored.

        Raises:
            QuotaExceeded: some are new, and there are too many of them.
        """
        await self._admit_references(name, Resource.MANIFESTS, [digest])
        await self._admit_references(name, Resource.TAGS, tags)

    async def admit_blob(self, name: RepositoryName, digest: Digest, size: int) -> None:
        """Let a blob in, which is about to be linked.

        Raises:
            QuotaExceeded: it is new, and there is no room for it.
        """
        if Resource.BYTES in self._limits and await self._meta.get_blob(name, digest) is None:
            await self._bytes_left(name, size)
            self._tally(name, Resource.BYTES).count += size

    async def admit_mount(self, name: RepositoryName, digest: Digest, source: RepositoryName | None) -> bool:
        """Let a blob of another repository in; tell whether a mount may be tried.

        Where bytes are limited, one that names no source may not: how large the blob is, is not known before it is
        linked. Its client will push it.

        Raises:
            QuotaExceeded: it is new, and there is no room for it.
        """
        if Resource.BYTES not in self._limits:
            return True
        blob = None if source is None else await self._meta.get_blob(source, digest)
        if blob is None:
            return source is not None
        await self.admit_blob(name, digest, blob.size)
        return True

    async def room(self, name: RepositoryName, kept: int, size: int, digest: Digest | None = None) -> int:
        """How many bytes may come of a blob of which ``kept`` are there, if at least ``size`` may.

        Raises:
            BlobTooLarge: the blob would be larger than a blob may be.
            QuotaExceeded: it would be more than there is room for, and is not there already, as far as its digest is
                known yet.
        """
        total = kept + size
        if total > self._max_blob_bytes:
            raise BlobTooLarge(f"a blob is at most {self._max_blob_bytes} bytes")
        left = self._max_blob_bytes
        if Resource.BYTES in self._limits and not (digest and await self._meta.get_blob(name, digest)):
            left = min(left, await self._bytes_left(name, total))
        return left - kept

    def doubt(self, name: RepositoryName) -> None:
        """Refuse nothing more in a repository on what was known of it until now: something was removed there."""
        for resource in self._limits:
            tally = self._tallies.get((name, resource))
            if tally is not None:
                tally.asked_at = min(tally.asked_at, self._clock() - _REFUSE_SECONDS)

    async def _admit_references(
        self, name: RepositoryName, resource: Resource, references: Sequence[Reference]
    ) -> None:
        if resource not in self._limits or not references:
            return
        added = len(references)
        if not await self._fits(name, resource, added, _ADMIT_SECONDS):
            # Whoever only moves tags in a full repository needs no count of all of them.
            added = len({it for it in references if await self._meta.stat_manifest(name, it) is None})
            if added and not await self._fits(name, resource, added, _REFUSE_SECONDS):
                raise self._exceeded(resource)
        self._tally(name, resource).count += added

    async def _bytes_left(self, name: RepositoryName, added: int) -> int:
        """How many bytes more there may be, if at least ``added`` may."""
        for age in (_ADMIT_SECONDS, _REFUSE_SECONDS):
            if await self._fits(name, Resource.BYTES, added, age):
                return self._limits[Resource.BYTES] - self._tally(name, Resource.BYTES).count
        raise self._exceeded(Resource.BYTES)

    async def _fits(self, name: RepositoryName, resource: Resource, added: int, age: float) -> bool:
        """Whether there may be so much more, as a tally says that is younger than ``age``."""
        tally = self._tally(name, resource)
        if self._clock() - tally.asked_at >= age:
            # Those who would ask meanwhile wait for the answer.
            async with tally.lock:
                if (now := self._clock()) - tally.asked_at >= age:
                    before = tally.count
                    used = await self._usage.usage(name, resource) if self._usage else 0
                    # What was let in since the question may be counted twice, until the next.
                    tally.count += used - before
                    tally.asked_at = now
        return tally.count + added <= self._limits[resource]

    def _exceeded(self, resource: Resource) -> QuotaExceeded:
        return QuotaExceeded(f"this repository may have at most {self._limits[resource]} {resource}")

    def _tally(self, name: RepositoryName, resource: Resource) -> _Tally:
        key = (name, resource)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally()
            if len(self._tallies) > _MAX_TALLIES:
                self._tallies.popitem(last=False)
        else:
            self._tallies.move_to_end(key)
        return tally
