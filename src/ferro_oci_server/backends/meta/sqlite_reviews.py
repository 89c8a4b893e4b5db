"""Garbage collection in a registry's tables: what begins to wait, what is due, what keeps it, and what goes.

Each function runs within a transaction: between the question whether anything keeps something and its removal, nothing
can begin to.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from ferro_oci_server.backends.meta.review_statements import ReviewStatements
from ferro_oci_server.backends.meta.sqlite_connection import change, change_many, every, one
from ferro_oci_server.core.records import ReviewKind, UploadId, UploadSession, Verdict, Waste
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import INDEX_TYPES
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["ReviewMutations", "upload_of"]

# Older ticks than this tell nothing about any review that is still waiting.
_MEMORY = 400 * 24 * 3600 * 1000


class ReviewMutations:
    """The changes, on a connection that is in a transaction."""

    def __init__(self, statements: ReviewStatements) -> None:
        self._statements = statements

    # What begins to wait

    def wait(self, connection: sqlite3.Connection, kind: ReviewKind, repository: str, keys: Iterable[str]) -> None:
        """Let reviews begin to wait, anew if they have been waiting."""
        rows = [{"kind": kind, "repository": repository, "key": key} for key in dict.fromkeys(keys)]
        if rows:
            change_many(connection, self._statements.drop_review, rows)
            change_many(connection, self._statements.add_review, rows)

    def drop(self, connection: sqlite3.Connection, kind: ReviewKind, repository: str, key: str) -> None:
        """Let a review wait no longer."""
        change(connection, self._statements.drop_review, kind=kind, repository=repository, key=key)

    def lease(self, connection: sqlite3.Connection, kind: ReviewKind, name: RepositoryName, digest: Digest) -> bool:
        """Let the review of something that is there wait anew; tell whether it is."""
        repository_id = self._repository_id(connection, name)
        question = self._statements.is_linked_in if kind is ReviewKind.LINK else self._statements.manifest
        if one(connection, question, repository_id=repository_id, digest=digest) is None:
            return False
        self.wait(connection, kind, name, [digest])
        return True

    def supersede(self, connection: sqlite3.Connection, digest: Digest, location: str) -> None:
        """Let the bytes of a blob at another location than this one wait for their removal."""
        known = one(connection, self._statements.blob, digest=digest)
        if known is not None and known[1] != location:
            self.waste(connection, ReviewKind.SUPERSEDED, Waste(known[1], digest, known[0]))

    def waste(self, connection: sqlite3.Connection, kind: ReviewKind, waste: Waste) -> None:
        """Let bytes wait for their removal."""
        change(connection, self._statements.add_trash, location=waste.location, digest=waste.digest, size=waste.size)
        self.wait(connection, kind, "", [waste.location])

    def is_doomed(self, connection: sqlite3.Connection, location: str) -> bool:
        """Whether somebody has begun to remove bytes."""
        row = one(connection, self._statements.trash, location=location)
        return row is not None and bool(row[2])

    def take_waste(self, connection: sqlite3.Connection, location: str) -> bool:
        """Let bytes wait no longer; tell whether they did, and nobody has begun to remove them."""
        if not change(connection, self._statements.take_trash, location=location):
            return False
        for kind in (ReviewKind.TRASH, ReviewKind.SUPERSEDED):
            self.drop(connection, kind, "", location)
        return True

    def remove_manifest(self, connection: sqlite3.Connection, name: RepositoryName, digest: Digest) -> int | None:
        """Remove a manifest, its tags and references; return its size. What it kept begins to wait."""
        repository_id = self._repository_id(connection, name)
        row = one(connection, self._statements.manifest, repository_id=repository_id, digest=digest)
        if row is None:
            return None
        manifest_id, _, size, media_type = row
        references = [key for (key,) in every(connection, self._statements.references, manifest_id=manifest_id)]
        change(connection, self._statements.drop_manifest, manifest_id=manifest_id)
        self.wait(connection, ReviewKind.LINK, name, references)
        if media_type in INDEX_TYPES:
            self.wait(connection, ReviewKind.MANIFEST, name, references)
        referrers = every(connection, self._statements.referrers, repository_id=repository_id, digest=digest)
        self.wait(connection, ReviewKind.MANIFEST, name, [key for (key,) in referrers])
        return int(size)

    def unlink(self, connection: sqlite3.Connection, name: RepositoryName, digest: Digest) -> bool:
        """Remove a link; the bytes begin to wait if it was the last."""
        repository_id = self._repository_id(connection, name)
        if not change(connection, self._statements.unlink, repository_id=repository_id, digest=digest):
            return False
        if one(connection, self._statements.is_linked, digest=digest) is None:
            size, location = one(connection, self._statements.blob, digest=digest)
            change(connection, self._statements.drop_blob, digest=digest)
            self.waste(connection, ReviewKind.TRASH, Waste(location, digest, size))
        return True

    def untag(self, connection: sqlite3.Connection, name: RepositoryName, tags: Iterable[str]) -> None:
        """Let the manifests that tags point at wait: the tags are about to be moved or removed."""
        repository_id = self._repository_id(connection, name)
        rows = [one(connection, self._statements.tagged_digest, repository_id=repository_id, tag=tag) for tag in tags]
        self.wait(connection, ReviewKind.MANIFEST, name, [row[0] for row in rows if row is not None])

    # The registry's own clock

    def tick(self, connection: sqlite3.Connection, last: int, milliseconds: int) -> int:
        """Let the clock go on, if nobody has since ``last``; return the last tick."""
        row = one(connection, self._statements.last_tick)
        tick, at = (row[0], row[2]) if row is not None else (0, 0)
        if tick != last:
            return int(tick)
        (review_id,) = one(connection, self._statements.last_review)
        change(connection, self._statements.add_tick, review_id=review_id or 0, at=at + milliseconds)
        change(connection, self._statements.drop_ticks, at=at - _MEMORY)
        return int(one(connection, self._statements.last_tick)[0])

    def oldest(
        self, connection: sqlite3.Connection, kind: ReviewKind, age: int, limit: int
    ) -> Sequence[tuple[str, str]]:
        """The repository and the key of reviews that have waited for ``age`` milliseconds."""
        row = one(connection, self._statements.last_tick)
        if row is None:
            return []
        (due,) = one(connection, self._statements.due, at=row[2] - age)
        rows = every(connection, self._statements.oldest, kind=kind, due=due or 0, limit=limit)
        return [(repository, key) for _, repository, key in rows]

    # Reviews

    def review(self, connection: sqlite3.Connection, kind: ReviewKind, age: int, limit: int) -> list[Verdict]:
        """Look at what is due, and remove what nothing keeps."""
        verdicts = []
        for repository, key in self.oldest(connection, kind, age, limit):
            verdict = self.judge(connection, kind, repository, key)
            self.drop(connection, kind, repository, key)
            if verdict.removed:
                self._remove(connection, kind, RepositoryName(repository), Digest(key))
                change(connection, self._statements.count, kind=kind, count=1, bytes=verdict.size)
            verdicts.append(verdict)
        return verdicts

    def judge(self, connection: sqlite3.Connection, kind: ReviewKind, repository: str, key: str) -> Verdict:
        """What a review would come to, which changes nothing."""
        if kind is ReviewKind.LINK:
            return self._judge_link(connection, repository, key)
        if kind is ReviewKind.MANIFEST:
            return self._judge_manifest(connection, repository, key)
        return Verdict(kind, repository, key, removed=True, reason="nothing needs it", size=self._size(connection, key))

    def doom(self, connection: sqlite3.Connection, kind: ReviewKind, age: int, limit: int) -> list[Waste]:
        """Bytes that are due, which from now on cannot be brought back."""
        found = []
        for _, location in self.oldest(connection, kind, age, limit):
            row = one(connection, self._statements.trash, location=location)
            if row is not None:
                change(connection, self._statements.doom, location=location)
                found.append(Waste(location, Digest(row[0]), row[1]))
        return found

    def forget_waste(self, connection: sqlite3.Connection, kind: ReviewKind, locations: Sequence[str]) -> None:
        """Forget bytes that are no more."""
        for location in locations:
            size = self._size(connection, location)
            if change(connection, self._statements.drop_trash, location=location):
                change(connection, self._statements.count, kind=kind, count=1, bytes=size)
            self.drop(connection, kind, "", location)

    def idle_uploads(self, connection: sqlite3.Connection, age: int, limit: int) -> list[UploadSession]:
        """Sessions that are due."""
        sessions = []
        for _, upload in self.oldest(connection, ReviewKind.UPLOAD, age, limit):
            row = one(connection, self._statements.upload, id=upload)
            if row is not None:
                sessions.append(upload_of(RepositoryName(row[0]), UploadId(upload), row[1:]))
        return sessions

    def _judge_link(self, connection: sqlite3.Connection, repository: str, key: str) -> Verdict:
        repository_id = self._repository_id(connection, repository)
        row = one(connection, self._statements.is_linked_in, repository_id=repository_id, digest=key)
        if row is None:
            return Verdict(ReviewKind.LINK, repository, key, removed=False, reason="it is gone")
        if one(connection, self._statements.is_referred_to, repository_id=repository_id, digest=key) is not None:
            return Verdict(ReviewKind.LINK, repository, key, removed=False, reason="a manifest refers to it")
        reason = "no manifest refers to it"
        return Verdict(ReviewKind.LINK, repository, key, removed=True, reason=reason, size=row[0])

    def _judge_manifest(self, connection: sqlite3.Connection, repository: str, key: str) -> Verdict:
        repository_id = self._repository_id(connection, repository)
        row = one(connection, self._statements.manifest, repository_id=repository_id, digest=key)
        if row is None:
            return Verdict(ReviewKind.MANIFEST, repository, key, removed=False, reason="it is gone")
        manifest_id, subject, size, _ = row
        here = {"repository_id": repository_id}
        if one(connection, self._statements.is_tagged, manifest_id=manifest_id) is not None:
            reason = "a tag points at it"
        elif one(connection, self._statements.is_referred_to, **here, digest=key) is not None:
            reason = "an index refers to it"
        elif subject and one(connection, self._statements.manifest, **here, digest=subject) is not None:
            reason = "its subject is there"
        else:
            reason = "no tag, no index and no subject keeps it"
            return Verdict(ReviewKind.MANIFEST, repository, key, removed=True, reason=reason, size=size)
        return Verdict(ReviewKind.MANIFEST, repository, key, removed=False, reason=reason)

    def _remove(self, connection: sqlite3.Connection, kind: ReviewKind, name: RepositoryName, digest: Digest) -> None:
        if kind is ReviewKind.LINK:
            self.unlink(connection, name, digest)
        else:
            self.remove_manifest(connection, name, digest)

    def _size(self, connection: sqlite3.Connection, location: str) -> int:
        row = one(connection, self._statements.trash, location=location)
        return 0 if row is None else int(row[1])

    def _repository_id(self, connection: sqlite3.Connection, name: str) -> int | None:
        row = one(connection, self._statements.repository_id, repository=name)
        return None if row is None else int(row[0])


def upload_of(name: RepositoryName, upload: UploadId, row: Any) -> UploadSession:
    """The session of a row."""
    algorithm, offset, digest, checksum, note, location = row
    return UploadSession(
        upload, name, Algorithm(algorithm), offset, digest and Digest(digest), checksum, note, location
    )
