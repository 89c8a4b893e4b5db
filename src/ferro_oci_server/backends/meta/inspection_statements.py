"""The statements of verification and of the scrub, built and compiled like all others."""

from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, literal_column, null, select, union_all, update
from sqlalchemy.engine import Dialect

from ferro_oci_server.backends.meta.schema import (
    blobs,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    scrubs,
    tags,
    trash,
    uploads,
)
from ferro_oci_server.backends.meta.statements import Compiler, number, text

__all__ = ["InspectionStatements"]

_blob = (blobs.c.digest, blobs.c.size, blobs.c.location, blobs.c.checksum, blobs.c.suspect)
_looked_at = (blobs.c.digest == text("digest"), blobs.c.location == text("location"))
_linked = exists().where(repository_blobs.c.digest == blobs.c.digest)


def _manifest_page() -> Select[Any]:
    return (
        select(
            manifests.c.id,
            manifests.c.repository_id,
            manifests.c.digest,
            manifests.c.media_type,
            manifests.c.size,
            manifests.c.subject,
            manifests.c.artifact_type,
            manifests.c.content,
        )
        .select_from(repositories)
        .join(manifests, manifests.c.repository_id == repositories.c.id)
        .where(repositories.c.name == text("repository"), manifests.c.digest > text("after"))
        .order_by(manifests.c.digest)
        .limit(number("limit"))
    )


def _link_page() -> Select[Any]:
    return (
        select(*_blob)
        .select_from(repositories)
        .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
        .join(blobs, blobs.c.digest == repository_blobs.c.digest)
        .where(repositories.c.name == text("repository"), repository_blobs.c.digest > text("after"))
        .order_by(repository_blobs.c.digest)
        .limit(number("limit"))
    )


def _outline_page() -> Select[Any]:
    return (
        select(manifests.c.digest, manifests.c.media_type, manifests.c.size)
        .select_from(repositories)
        .join(manifests, manifests.c.repository_id == repositories.c.id)
        .where(repositories.c.name == text("repository"), manifests.c.digest > text("after"))
        .order_by(manifests.c.digest)
        .limit(number("limit"))
    )


def _target_page() -> Select[Any]:
    return (
        select(tags.c.name, manifests.c.digest)
        .select_from(repositories)
        .join(tags, tags.c.repository_id == repositories.c.id)
        .join(manifests, manifests.c.id == tags.c.manifest_id)
        .where(repositories.c.name == text("repository"), tags.c.name > text("after"))
        .order_by(tags.c.name)
        .limit(number("limit"))
    )


def _presence() -> Select[Any]:
    """What a manifest refers to, and whether its repository has that as a blob and as a manifest."""
    digest = manifest_references.c.digest
    linked = exists().where(
        repository_blobs.c.repository_id == number("repository_id"), repository_blobs.c.digest == digest
    )
    held = exists().where(manifests.c.repository_id == number("repository_id"), manifests.c.digest == digest)
    return select(digest, linked, held).where(manifest_references.c.manifest_id == number("manifest_id"))


def _loose(table: Any, key: ColumnElement[Any], *conditions: ColumnElement[bool]) -> Select[Any]:
    """The repository, where it has a name, and the key of records to which all of some conditions apply."""
    name = select(repositories.c.name).where(repositories.c.id == table.c.repository_id).scalar_subquery()
    return select(func.coalesce(name, ""), key).where(*conditions).limit(number("limit"))


class InspectionStatements(Compiler):
    """The statements, each named for what it does."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._prepare_pages()
        self._prepare_rows()
        self._prepare_changes()
        self._prepare_scrub()

    def _prepare_pages(self) -> None:
        page = select(*_blob).where(blobs.c.digest > text("after")).order_by(blobs.c.digest).limit(number("limit"))
        self.inspected_blob = self.compile(select(*_blob).where(blobs.c.digest == text("digest")))
        self.held_blob = self.compile(
            select(*_blob).where(blobs.c.digest == text("digest")).with_for_update(key_share=True)
        )
        self.blob_page = self.compile(page)
        self.manifest_page = self.compile(_manifest_page())
        self.presence = self.compile(_presence())
        # All as of one time: a location goes from a session to a blob, and between blobs and trash.
        located = (
            select(table.c.location).where(self.is_one_of(table.c.location)) for table in (blobs, trash, uploads)
        )
        self.known = self.compile(union_all(*located))
        self.link_page = self.compile(_link_page())
        self.outline_page = self.compile(_outline_page())
        self.target_page = self.compile(_target_page())
        self.spares = self.compile(
            select(trash.c.location, trash.c.digest, trash.c.size).where(
                trash.c.digest == text("digest"), trash.c.doomed == 0
            )
        )

    def _prepare_rows(self) -> None:
        has_blob = exists().where(blobs.c.digest == repository_blobs.c.digest)
        has_repository = exists().where(repositories.c.id == manifests.c.repository_id)
        its_manifest = exists().where(
            manifests.c.id == tags.c.manifest_id, manifests.c.repository_id == tags.c.repository_id
        )
        owner = exists().where(
            manifests.c.id == manifest_references.c.manifest_id,
            manifests.c.repository_id == manifest_references.c.repository_id,
        )
        self.loose_rows = {
            "the link of a blob that is not recorded": self.compile(
                _loose(repository_blobs, repository_blobs.c.digest, ~has_blob)
            ),
            "a tag whose manifest is not in its repository": self.compile(_loose(tags, tags.c.name, ~its_manifest)),
            "a reference of a manifest that is not there": self.compile(
                _loose(manifest_references, manifest_references.c.digest, ~owner)
            ),
            "a manifest of a repository that is not there": self.compile(
                _loose(manifests, manifests.c.digest, ~has_repository)
            ),
            "a blob that no repository links": self.compile(
                select(literal_column("''"), blobs.c.digest).where(~_linked).limit(number("limit"))
            ),
        }

    def _prepare_changes(self) -> None:
        # A column's own name as a parameter is taken for its new value, so the new ones have other names here.
        self.mark_blob = self.compile(update(blobs).where(*_looked_at).values(suspect=number("is_suspect")))
        self.move_blob = self.compile(
            update(blobs).where(*_looked_at).values(location=text("spare"), size=number("spare_size"), suspect=0)
        )

    def _prepare_scrub(self) -> None:
        scrub = select(scrubs.c.cursor, scrubs.c.rested_at).where(scrubs.c.id == 1)
        self.scrub = self.compile(scrub)
        self.held_scrub = self.compile(scrub.with_for_update())
        self.scrub_total = self.compile(select(scrubs.c.cycles, scrubs.c.blobs, scrubs.c.bytes).where(scrubs.c.id == 1))
        self.suspects = self.compile(
            select(func.count()).select_from(blobs).where(blobs.c.suspect != literal_column("0"))
        )
        first = self.insert(scrubs).values(id=1, cursor="", cycles=0, blobs=0, bytes=0)
        self.begin_scrub = self.compile(first.on_conflict_do_nothing())
        self.advance_scrub = self.compile(
            update(scrubs)
            .where(scrubs.c.id == 1)
            .values(
                cursor=text("new_cursor"),
                rested_at=null(),
                blobs=scrubs.c.blobs + number("more_blobs"),
                bytes=scrubs.c.bytes + number("more_bytes"),
            )
        )
        self.rest_scrub = self.compile(
            update(scrubs)
            .where(scrubs.c.id == 1)
            .values(cursor="", rested_at=number("now"), cycles=scrubs.c.cycles + 1)
        )
