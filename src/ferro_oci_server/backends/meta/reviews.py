"""Garbage collection in a registry's tables: what begins to wait, what is due, what keeps it, and what goes.

Each function runs within a transaction: between the question whether anything keeps something and its removal, nothing
can begin to. Where transactions run side by side, these are the locks that see to it, and the order they are taken in:

1. A repository: who adds to it shares it, who removes from it holds it alone.
2. The session of an upload; trash; a blob, whose links are of several repositories.
3. Reviews, and counts.

Two that take them in another order, which happens where several tags or blobs are concerned, are told so by the
database, and one of them is done anew.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from ferro_oci_server.backends.meta.database import Transaction
from ferro_oci_server.backends.meta.review_statements import ReviewStatements
from ferro_oci_server.core.records import Collected, ReviewKind, UploadId, UploadSession, Verdict, Waste
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import INDEX_TYPES
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["ReviewMutations", "upload_of"]

# Older ticks than this tell nothing about any review that is still waiting.
_MEMORY = 400 * 24 * 3600 * 1000


class ReviewMutations:
    """The questions and the changes."""

    def __init__(self, statements: ReviewStatements) -> None:
        self._statements = statements

    # Repositories

    async def share(self, transaction: Transaction, name: str) -> int | None:
        """The number of a repository, if there is one, to which others may add too, and from which nobody removes."""
        return _number(await transaction.one(self._statements.share_repository, repository=name))

    async def hold(self, transaction: Transaction, name: str) -> int | None:
        """The number of a repository, if there is one, that no other transaction changes."""
        return _number(await transaction.one(self._statements.hold_repository, repository=name))

    # What begins to wait

    async def wait(self, transaction: Transaction, kind: ReviewKind, repository: str, keys: Iterable[str]) -> None:
        """Let reviews begin to wait, anew if they have been waiting."""
        rows = [{"kind": kind, "repository": repository, "key": key} for key in sorted(set(keys))]
        if rows:
            await transaction.change_many(self._statements.renew_review, rows)

    async def drop(self, transaction: Transaction, kind: ReviewKind, repository: str, key: str) -> None:
        """Let a review wait no longer."""
        await transaction.change(self._statements.drop_review, kind=kind, repository=repository, key=key)

    async def lease(self, transaction: Transaction, kind: ReviewKind, name: RepositoryName, digest: Digest) -> bool:
        """Let the review of something that is there wait anew; tell whether it is."""
        repository_id = await self.share(transaction, name)
        question = self._statements.is_linked_in if kind is ReviewKind.LINK else self._statements.manifest
        if await transaction.one(question, repository_id=repository_id, digest=digest) is None:
            return False
        await self.wait(transaction, kind, name, [digest])
        return True

    async def waste(self, transaction: Transaction, kind: ReviewKind, waste: Waste) -> None:
        """Let bytes wait for their removal."""
        await transaction.change(
            self._statements.add_trash, location=waste.location, digest=waste.digest, size=waste.size
        )
        await self.wait(transaction, kind, "", [waste.location])

    async def is_doomed(self, transaction: Transaction, location: str) -> bool:
        """Whether somebody has begun to remove bytes; if not, nobody does while this transaction goes on."""
        row = await transaction.one(self._statements.held_trash, location=location)
        return row is not None and bool(row[2])

    async def take_waste(self, transaction: Transaction, location: str) -> bool:
        """Let bytes wait no longer; tell whether they did, and nobody has begun to remove them."""
        if not await transaction.change(self._statements.take_trash, location=location):
            return False
        for kind in (ReviewKind.TRASH, ReviewKind.SUPERSEDED):
            await self.drop(transaction, kind, "", location)
        return True

    async def remove_manifest(self, transaction: Transaction, name: RepositoryName, digest: Digest) -> int | None:
        """Remove a manifest, its tags and references; return its size. What it kept begins to wait."""
        repository_id = await self.hold(transaction, name)
        row = await transaction.one(self._statements.manifest, repository_id=repository_id, digest=digest)
        if row is None:
            return None
        manifest_id, _, size, media_type = row
        references = [key for (key,) in await transaction.every(self._statements.references, manifest_id=manifest_id)]
        await transaction.change(self._statements.drop_manifest, manifest_id=manifest_id)
        await self.wait(transaction, ReviewKind.LINK, name, references)
        if media_type in INDEX_TYPES:
            await self.wait(transaction, ReviewKind.MANIFEST, name, references)
        referrers = await transaction.every(self._statements.referrers, repository_id=repository_id, digest=digest)
        await self.wait(transaction, ReviewKind.MANIFEST, name, [key for (key,) in referrers])
        return int(size)

    async def unlink(self, transaction: Transaction, name: RepositoryName, digest: Digest) -> bool:
        """Remove a link; the bytes begin to wait if it was the last."""
        repository_id = await self.hold(transaction, name)
        row = await transaction.one(self._statements.unlinking_blob, digest=digest)
        if not await transaction.change(self._statements.unlink, repository_id=repository_id, digest=digest):
            return False
        if row is not None and await self._is_loose(transaction, digest):
            size, location = row
            await transaction.change(self._statements.drop_blob, digest=digest)
            await self.waste(transaction, ReviewKind.TRASH, Waste(location, digest, size))
        return True

    async def _is_loose(self, transaction: Transaction, digest: Digest) -> bool:
        """Whether no repository links a blob, and none can begin to."""
        linked = self._statements.is_linked
        if await transaction.one(linked, digest=digest) is not None:
            return False
        # Only now are those waited for that may be about to link it: most blobs that many link keep other links.
        await transaction.one(self._statements.held_blob, digest=digest)
        return await transaction.one(linked, digest=digest) is None

    # The registry's own clock

    async def tick(self, transaction: Transaction, last: int, milliseconds: int) -> int:
        """Let the clock go on, if nobody has since ``last``; return the last tick."""
        row = await transaction.one(self._statements.last_tick)
        tick, at = (row[0], row[2]) if row is not None else (0, 0)
        if tick != last:
            return int(tick)
        (review_id,) = await transaction.one(self._statements.last_review)
        values = {"id": tick + 1, "review_id": review_id or 0, "at": at + milliseconds}
        await transaction.change(self._statements.add_tick, **values)
        await transaction.change(self._statements.drop_ticks, at=at - _MEMORY)
        return int((await transaction.one(self._statements.last_tick))[0])

    async def oldest(
        self, transaction: Transaction, kind: ReviewKind, age: int, limit: int
    ) -> Sequence[tuple[int, str, str]]:
        """The number, the repository and the key of reviews that have waited for ``age`` milliseconds."""
        due = await self._due(transaction, age)
        return await transaction.every(self._statements.oldest, kind=kind, due=due, limit=limit)

    async def _due(self, transaction: Transaction, age: int) -> int:
        """The number of the last review that has waited for ``age`` milliseconds."""
        row = await transaction.one(self._statements.last_tick)
        if row is None:
            return 0
        due = await transaction.one(self._statements.due, at=row[2] - age)
        return 0 if due is None else due[0]

    # Reviews

    async def review(self, transaction: Transaction, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        """Look at what is due, and remove what nothing keeps."""
        due = await self.oldest(transaction, kind, age, limit)
        verdicts = [await self.settle(transaction, kind, *waiting) for waiting in due]
        return [verdict for verdict in verdicts if verdict is not None]

    async def settle(
        self, transaction: Transaction, kind: ReviewKind, number: int, repository: str, key: str
    ) -> Verdict | None:
        """Look at one thing, and remove it if nothing keeps it; ``None`` where it waits no longer, or waits anew."""
        await self.hold(transaction, repository)
        if not await transaction.change(self._statements.drop_numbered, number=number):
            return None
        verdict = await self.judge(transaction, kind, repository, key)
        if verdict.removed:
            await self._remove(transaction, kind, RepositoryName(repository), Digest(key))
            await transaction.change(self._statements.count, kind=kind, count=1, bytes=verdict.size)
        return verdict

    async def judge(self, transaction: Transaction, kind: ReviewKind, repository: str, key: str) -> Verdict:
        """What a review would come to, which changes nothing."""
        if kind is ReviewKind.LINK:
            return await self._judge_link(transaction, repository, key)
        if kind is ReviewKind.MANIFEST:
            return await self._judge_manifest(transaction, repository, key)
        return Verdict(
            kind, repository, key, removed=True, reason="nothing needs it", size=await self._size(transaction, key)
        )

    async def preview(
        self, transaction: Transaction, kind: ReviewKind, after: int, limit: int
    ) -> list[tuple[int, Verdict]]:
        """What reviews would come to, due or not, in the order of their numbers behind ``after``."""
        rows = await transaction.every(self._statements.following, kind=kind, after=after, limit=limit)
        return [(number, await self.judge(transaction, kind, repository, key)) for number, repository, key in rows]

    async def collected(self, transaction: Transaction) -> Collected:
        """What waits for a review, and what has been removed."""
        waiting = await transaction.every(self._statements.waiting)
        removed = await transaction.every(self._statements.removed)
        return Collected(
            waiting={ReviewKind(kind): count for kind, count in waiting},
            removed={ReviewKind(kind): count for kind, count, _ in removed},
            bytes={ReviewKind(kind): size for kind, _, size in removed},
        )

    async def doom(self, transaction: Transaction, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        """Bytes that are due, which from now on cannot be brought back."""
        due = await self.oldest(transaction, kind, age, limit)
        found = [await self.doom_one(transaction, number, location) for number, _, location in due]
        return [waste for waste in found if waste is not None]

    async def claim(
        self, transaction: Transaction, kind: ReviewKind, age: int, limit: int
    ) -> Sequence[tuple[int, str, str]]:
        """Reviews that are due, oldest first, and that no other process is claiming: they wait anew.

        So no other process finds them due, unless this one has not settled them when they are due again. Each has the
        number that it has from now on.
        """
        due = await self._due(transaction, age)
        rows = await transaction.every(self._statements.claim, kind=kind, due=due, limit=limit)
        return [(number, repository, key) for number, repository, key in sorted(map(tuple, rows))]

    async def doom_one(self, transaction: Transaction, number: int, location: str) -> Waste | None:
        """Bytes that cannot be brought back from now on; ``None`` where they have been, and wait no longer."""
        row = await transaction.one(self._statements.held_trash, location=location)
        if row is None or await transaction.one(self._statements.is_numbered, number=number) is None:
            return None
        await transaction.change(self._statements.doom, location=location)
        return Waste(location, Digest(row[0]), row[1])

    async def forget_waste(self, transaction: Transaction, kind: ReviewKind, locations: Sequence[str]) -> None:
        """Forget bytes that are no more."""
        for location in locations:
            size = await self._size(transaction, location)
            if await transaction.change(self._statements.drop_trash, location=location):
                await transaction.change(self._statements.count, kind=kind, count=1, bytes=size)
            await self.drop(transaction, kind, "", location)

    async def idle_uploads(self, transaction: Transaction, age: int, limit: int) -> list[UploadSession]:
        """Sessions that are due."""
        due = await self.oldest(transaction, ReviewKind.UPLOAD, age, limit)
        return await self.sessions(transaction, [upload for _, _, upload in due])

    async def sessions(self, transaction: Transaction, uploads: Iterable[str]) -> list[UploadSession]:
        """Those sessions that are open, by their ids."""
        sessions = []
        for upload in uploads:
            row = await transaction.one(self._statements.upload, id=upload)
            if row is not None:
                sessions.append(upload_of(RepositoryName(row[0]), UploadId(upload), row[1:]))
        return sessions

    async def _judge_link(self, transaction: Transaction, repository: str, key: str) -> Verdict:
        repository_id = await self._repository_id(transaction, repository)
        row = await transaction.one(self._statements.is_linked_in, repository_id=repository_id, digest=key)
        if row is None:
            return Verdict(ReviewKind.LINK, repository, key, removed=False, reason="it is gone")
        if await transaction.one(self._statements.is_referred_to, repository_id=repository_id, digest=key) is not None:
            return Verdict(ReviewKind.LINK, repository, key, removed=False, reason="a manifest refers to it")
        reason = "no manifest refers to it"
        return Verdict(ReviewKind.LINK, repository, key, removed=True, reason=reason, size=row[0])

    async def _judge_manifest(self, transaction: Transaction, repository: str, key: str) -> Verdict:
        repository_id = await self._repository_id(transaction, repository)
        row = await transaction.one(self._statements.manifest, repository_id=repository_id, digest=key)
        if row is None:
            return Verdict(ReviewKind.MANIFEST, repository, key, removed=False, reason="it is gone")
        manifest_id, subject, size, _ = row
        here = {"repository_id": repository_id}
        if await transaction.one(self._statements.is_tagged, manifest_id=manifest_id) is not None:
            reason = "a tag points at it"
        elif await transaction.one(self._statements.is_referred_to, **here, digest=key) is not None:
            reason = "an index refers to it"
        elif subject and await transaction.one(self._statements.manifest, **here, digest=subject) is not None:
            reason = "its subject is there"
        else:
            reason = "no tag, no index and no subject keeps it"
            return Verdict(ReviewKind.MANIFEST, repository, key, removed=True, reason=reason, size=size)
        return Verdict(ReviewKind.MANIFEST, repository, key, removed=False, reason=reason)

    async def _remove(self, transaction: Transaction, kind: ReviewKind, name: RepositoryName, digest: Digest) -> None:
        if kind is ReviewKind.LINK:
            await self.unlink(transaction, name, digest)
        else:
            await self.remove_manifest(transaction, name, digest)

    async def _size(self, transaction: Transaction, location: str) -> int:
        row = await transaction.one(self._statements.trash, location=location)
        return 0 if row is None else int(row[1])

    async def _repository_id(self, transaction: Transaction, name: str) -> int | None:
        return _number(await transaction.one(self._statements.repository_id, repository=name))


def _number(row: Any) -> int | None:
    """What a row says, if it is there; a lock gives a row without a number where there is no repository."""
    return None if row is None or row[0] is None else int(row[0])


def upload_of(name: RepositoryName, upload: UploadId, row: Any) -> UploadSession:
    """The session of a row."""
    algorithm, offset, digest, checksum, note, location, owner = row
    return UploadSession(
        upload, name, Algorithm(algorithm), offset, digest and Digest(digest), checksum, note, location, owner
    )
