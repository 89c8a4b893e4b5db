"""The statements of garbage collection, built and compiled like all others."""

from sqlalchemy import Insert, and_, delete, func, literal_column, select, true, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

from ferro_oci_server.backends.meta.schema import (
    blobs,
    collected,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    reviews,
    tags,
    ticks,
    trash,
    uploads,
)
from ferro_oci_server.backends.meta.statements import UPLOAD, Compiler, number, text

__all__ = ["ReviewStatements"]

_the_review = and_(
    reviews.c.kind == text("kind"), reviews.c.repository == text("repository"), reviews.c.key == text("key")
)


class ReviewStatements(Compiler):
    """The statements, each named for what it does."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._prepare_reviews()
        if dialect.name == "postgresql":
            self._prepare_claim()
        self._prepare_clock()
        self._prepare_questions()
        self._prepare_removals()

    def _prepare_reviews(self) -> None:
        self.drop_review = self.compile(delete(reviews).where(_the_review))
        self.renew_review = self.compile(self._renewal())
        self.drop_numbered = self.compile(delete(reviews).where(reviews.c.id == number("number")))
        self.is_numbered = self.compile(select(true()).where(reviews.c.id == number("number")))
        self.oldest = self.compile(
            select(reviews.c.id, reviews.c.repository, reviews.c.key)
            .where(reviews.c.kind == text("kind"), reviews.c.id <= number("due"))
            .order_by(reviews.c.id)
            .limit(number("limit"))
        )
        self.following = self.compile(
            select(reviews.c.id, reviews.c.repository, reviews.c.key)
            .where(reviews.c.kind == text("kind"), reviews.c.id > number("after"))
            .order_by(reviews.c.id)
            .limit(number("limit"))
        )
        self.waiting = self.compile(select(reviews.c.kind, func.count()).group_by(reviews.c.kind))
        self.removed = self.compile(select(collected.c.kind, collected.c.count, collected.c.bytes))
        total = self.insert(collected)
        self.count = self.compile(
            total.on_conflict_do_update(
                index_elements=[collected.c.kind],
                set_={
                    "count": collected.c.count + total.excluded["count"],
                    "bytes": collected.c.bytes + total.excluded["bytes"],
                },
            )
        )

    def _renewal(self) -> Insert:
        """What gives a review a new number, whether it has been waiting or not."""
        review = self.insert(reviews).values(kind=text("kind"), repository=text("repository"), key=text("key")).inline()
        if isinstance(review, postgresql.Insert):
            keys = [reviews.c.kind, reviews.c.repository, reviews.c.key]
            return review.on_conflict_do_update(index_elements=keys, set_={"id": review.excluded.id})
        return review.prefix_with("OR REPLACE")

    def _prepare_claim(self) -> None:
        """Where several processes review at the same time, each takes what none of the others is taking."""
        due = (
            select(reviews.c.id)
            .where(reviews.c.kind == text("kind"), reviews.c.id <= number("due"))
            .order_by(reviews.c.id)
            .limit(number("limit"))
            .with_for_update(skip_locked=True)
            .subquery("due")
        )
        self.claim = self.compile(
            update(reviews)
            .where(reviews.c.id == due.c.id)
            .values(id=literal_column("DEFAULT"))
            .returning(due.c.id, reviews.c.id, reviews.c.repository, reviews.c.key)
        )

    def _prepare_clock(self) -> None:
        self.last_tick = self.compile(
            select(ticks.c.id, ticks.c.review_id, ticks.c.at).order_by(ticks.c.id.desc()).limit(1)
        )
        self.last_review = self.compile(select(func.max(reviews.c.id)))
        # Of two that see the same last tick, one adds the next.
        tick = self.insert(ticks).values(id=number("id"), review_id=number("review_id"), at=number("at"))
        self.add_tick = self.compile(tick.on_conflict_do_nothing())
        self.drop_ticks = self.compile(delete(ticks).where(ticks.c.at < number("at")))
        self.due = self.compile(select(func.max(ticks.c.review_id)).where(ticks.c.at <= number("at")))

    def _prepare_questions(self) -> None:
        self.repository_id = self.compile(select(repositories.c.id).where(repositories.c.name == text("repository")))
        self.share_repository = self.repository(alone=False)
        self.hold_repository = self.repository(alone=True)
        in_repository = manifests.c.repository_id == number("repository_id")
        self.is_referred_to = self.compile(
            select(true())
            .where(
                manifest_references.c.digest == text("digest"),
                manifest_references.c.repository_id == number("repository_id"),
            )
            .limit(1)
        )
        self.is_linked = self.compile(select(true()).where(repository_blobs.c.digest == text("digest")).limit(1))
        self.is_linked_in = self.compile(
            select(blobs.c.size)
            .join(repository_blobs, repository_blobs.c.digest == blobs.c.digest)
            .where(
                repository_blobs.c.repository_id == number("repository_id"),
                repository_blobs.c.digest == text("digest"),
            )
        )
        self.is_tagged = self.compile(select(true()).where(tags.c.manifest_id == number("manifest_id")).limit(1))
        self.manifest = self.compile(
            select(manifests.c.id, manifests.c.subject, manifests.c.size, manifests.c.media_type).where(
                in_repository, manifests.c.digest == text("digest")
            )
        )
        self.references = self.compile(
            select(manifest_references.c.digest).where(manifest_references.c.manifest_id == number("manifest_id"))
        )
        self.referrers = self.compile(
            select(manifests.c.digest).where(in_repository, manifests.c.subject == text("digest"))
        )
        self.upload = self.compile(select(uploads.c.repository, *UPLOAD).where(uploads.c.id == text("id")))

    def _prepare_removals(self) -> None:
        self.unlink = self.compile(
            delete(repository_blobs).where(
                repository_blobs.c.repository_id == number("repository_id"),
                repository_blobs.c.digest == text("digest"),
            )
        )
        self.drop_manifest = self.compile(delete(manifests).where(manifests.c.id == number("manifest_id")))
        self.blob = self.compile(select(blobs.c.size, blobs.c.location).where(blobs.c.digest == text("digest")))
        # Others may still add links; but nobody else takes one away, or moves the bytes.
        self.unlinking_blob = self.compile(
            select(blobs.c.size, blobs.c.location)
            .where(blobs.c.digest == text("digest"))
            .with_for_update(key_share=True)
        )
        # Now nobody adds a link either.
        self.held_blob = self.compile(select(true()).where(blobs.c.digest == text("digest")).with_for_update())
        self.drop_blob = self.compile(delete(blobs).where(blobs.c.digest == text("digest")))
        self.add_trash = self.compile(
            self.insert(trash)
            .values(location=text("location"), digest=text("digest"), size=number("size"), doomed=0)
            .on_conflict_do_nothing()
        )
        self.trash = self.compile(
            select(trash.c.digest, trash.c.size, trash.c.doomed).where(trash.c.location == text("location"))
        )
        self.held_trash = self.compile(
            select(trash.c.digest, trash.c.size, trash.c.doomed)
            .where(trash.c.location == text("location"))
            .with_for_update()
        )
        self.doom = self.compile(update(trash).where(trash.c.location == text("location")).values(doomed=1))
        self.take_trash = self.compile(delete(trash).where(trash.c.location == text("location"), trash.c.doomed == 0))
        self.drop_trash = self.compile(delete(trash).where(trash.c.location == text("location")))
