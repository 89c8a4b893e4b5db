"""Garbage collection: always on, and as much work as there is garbage.

    loses what kept it, or never had it --> waits as a review --grace--> looked at again --> kept, waits no longer
                                                                             +--> removed; its bytes wait as trash
                                                                                     --quarantine--> the file is deleted

1. What begins to wait does so in the transaction that makes it garbage, or makes it possible: a blob that was just
   pushed waits, too, and so has a lease until a manifest refers to it.
2. Whether anything keeps it is asked in the transaction that removes it. No request is ever held up, and none has to
   know that this runs.
3. Time is the registry's own: it counts ticks while some process serves. A machine's clock that jumps ages nothing,
   and neither does a registry that was switched off.
4. Any number of processes may collect: each tick is counted once, and each review is done once.
5. Bytes are deleted before the row that knows them is: what dies in between is done again.
6. Others come first: it works in small transactions, and rests for longer than it works, however much there is to do.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import monotonic

from ferro_oci_server.core.ports import BlobStore, Reviews, StagedBytesMissing, StoreError, UploadBusy
from ferro_oci_server.core.records import ReviewKind, Verdict
from ferro_oci_server.core.uploads import Uploads
from ferro_oci_server.oci.errors import UploadUnknown

__all__ = ["Collector", "Grace"]

_MILLISECONDS = 1000

# What shares a transaction, or waits for its end, waits for all of it: so much takes one or two milliseconds, as a push
# does. What a manifest refers to begins to wait with its removal, so that a single one is as much.
_REVIEWS = 8
_MANIFESTS = 1
_FILES = 16
# Whatever holds up nobody.
_PAGE = 100
# Behind each transaction it rests for so many times as long as that took: pushes and pulls have that time.
_REST = 4

_log = logging.getLogger("ferro_oci_server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """For how many seconds of the registry's running time things wait; ``None`` for ever."""

    link: float = 24 * 3600
    """Blobs that no manifest of their repository refers to: longer than any push takes."""
    manifest: float | None = 14 * 24 * 3600
    """Manifests that no tag, no index and no subject keeps. Somebody may have written their digest down."""
    upload: float = 24 * 3600
    """Upload sessions that do not move."""
    trash: float = 24 * 3600
    """Bytes that no repository links: from here they can be brought back."""
    superseded: float = 600
    """Bytes that were pushed again: whoever began to read them may end."""
    tick: float = 60
    """How often the clock goes on, and somebody looks."""

    def of(self, kind: ReviewKind) -> float | None:
        """The grace of one kind."""
        graces = {
            ReviewKind.LINK: self.link,
            ReviewKind.MANIFEST: self.manifest,
            ReviewKind.UPLOAD: self.upload,
            ReviewKind.TRASH: self.trash,
            ReviewKind.SUPERSEDED: self.superseded,
        }
        return graces[kind]


class Collector:
    """Removes what nothing needs from two stores."""

    def __init__(self, store: BlobStore, reviews: Reviews, uploads: Uploads, grace: Grace) -> None:
        self._store = store
        self._reviews = reviews
        self._uploads = uploads
        self._grace = grace

    async def run(self) -> None:
        """Collect for ever, tick after tick. A store that fails is asked again at the next."""
        last, counted = 0, monotonic()
        while True:
            await asyncio.sleep(self._grace.tick)
            # What the last collection took is time, too.
            passed, counted = monotonic() - counted, monotonic()
            try:
                last = await self._reviews.tick(last, int(passed * _MILLISECONDS))
                async for verdict in self.collect():
                    if verdict.removed:
                        _log.info("collected", extra=asdict(verdict))
            except StoreError as exc:
                _log.warning("collection goes on at the next tick", exc_info=exc)

    async def tick(self, seconds: float) -> None:
        """Let the registry's clock go on by itself: for a command that collects once, and for tests."""
        milliseconds = int(seconds * _MILLISECONDS)
        last = await self._reviews.tick(-1, milliseconds)
        await self._reviews.tick(last, milliseconds)

    async def collect(self) -> AsyncIterator[Verdict]:
        """Do all reviews that are due, and delete all bytes that are; tell of each what came of it."""
        async for verdict in self._expire_uploads():
            yield verdict
        # Manifests first: what they let go of begins to wait, and what they still keep is found kept.
        for kind in (ReviewKind.MANIFEST, ReviewKind.LINK):
            async for verdict in self._review(kind):
                yield verdict
        for kind in (ReviewKind.TRASH, ReviewKind.SUPERSEDED):
            async for verdict in self._delete(kind):
                yield verdict

    async def explain(self) -> AsyncIterator[Verdict]:
        """Say of everything that waits, due or not, what would come of it if it were looked at now."""
        for kind in ReviewKind:
            after = 0
            while found := await self._reviews.preview(kind, after, _PAGE):
                for number, verdict in found:
                    after = number
                    yield verdict

    async def _review(self, kind: ReviewKind) -> AsyncIterator[Verdict]:
        age = self._age(kind)
        limit = _MANIFESTS if kind is ReviewKind.MANIFEST else _REVIEWS
        started = monotonic()
        while age is not None and (verdicts := await self._reviews.review(kind, age, limit)):
            for verdict in verdicts:
                yield verdict
            await _rest(monotonic() - started)
            started = monotonic()

    async def _delete(self, kind: ReviewKind) -> AsyncIterator[Verdict]:
        age = self._age(kind)
        started = monotonic()
        while age is not None and (due := await self._reviews.waste(kind, age, _FILES)):
            busy = monotonic() - started
            for waste in due:
                await self._store.delete(waste.location)
            started = monotonic()
            await self._reviews.forget_waste(kind, [waste.location for waste in due])
            for waste in due:
                yield Verdict(kind, "", waste.location, removed=True, reason="its time is over", size=waste.size)
            await _rest(busy + monotonic() - started)
            started = monotonic()

    async def _expire_uploads(self) -> AsyncIterator[Verdict]:
        age = self._age(ReviewKind.UPLOAD)
        if age is None:
            return
        seen: set[str] = set()
        while due := [it for it in await self._reviews.idle_uploads(age, _PAGE) if it.id not in seen]:
            for session in due:
                started = monotonic()
                seen.add(session.id)
                with suppress(UploadBusy, UploadUnknown, StagedBytesMissing):
                    # Whoever is writing to it just now keeps it.
                    async with self._store.claim(session.id):
                        await self._uploads.cancel(session.repository, session.id)
                    yield Verdict(
                        ReviewKind.UPLOAD,
                        session.repository,
                        session.id,
                        removed=True,
                        reason="it does not move",
                        size=session.offset,
                    )
                await _rest(monotonic() - started)

    def _age(self, kind: ReviewKind) -> int | None:
        seconds = self._grace.of(kind)
        return None if seconds is None else int(seconds * _MILLISECONDS)


async def _rest(busy: float) -> None:
    await asyncio.sleep(_REST * busy)
