"""Every statement that the databases run, built from the schema and compiled once.

What comes out is plain SQL and the order of its parameters, for the driver itself: nothing of SQLAlchemy runs while a
request is served.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter, CompilerElement, Label

from ferro_oci_server.backends.meta.schema import (
    blobs,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    reviews,
    tags,
    ticks,
    uploads,
)
from ferro_oci_server.core.records import ReviewKind

__all__ = ["UPLOAD", "Compiler", "Statement", "Statements", "number", "text"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement in the words of one database."""

    sql: str
    names: tuple[str, ...]
    """Its parameters in their order."""
    constants: Mapping[str, object]
    """Parameters that are not the caller's to give."""

    def bind(self, values: Mapping[str, object]) -> Sequence[object]:
        """Put the values of the parameters in their order."""
        if self.constants:
            values = {**self.constants, **values}
        return tuple(map(values.__getitem__, self.names))


def text(name: str) -> BindParameter[str]:
    """A parameter that is text."""
    return bindparam(name, type_=Text())


def number(name: str) -> BindParameter[int]:
    """A parameter that is a number."""
    return bindparam(name, type_=BigInteger())


UPLOAD = (
    uploads.c.algorithm,
    uploads.c.offset,
    uploads.c.digest,
    uploads.c.checksum,
    uploads.c.note,
    uploads.c.location,
    uploads.c.owner,
)
"""What makes up an upload session, besides its repository and its id."""

_in_repository = repositories.c.name == text("repository")
_the_session = and_(uploads.c.id == text("id"), uploads.c.repository == text("repository"))
_array = bindparam("texts", type_=postgresql.ARRAY(Text()))
_blob = (blobs.c.size, blobs.c.location, blobs.c.checksum)
_unmoved_session = and_(_the_session, uploads.c.offset == number("offset"))


def _by_tag(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .select_from(repositories)
        .join(tags, tags.c.repository_id == repositories.c.id)
        .join(manifests, manifests.c.id == tags.c.manifest_id)
        .where(_in_repository, tags.c.name == text("tag"))
    )


def _by_digest(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .select_from(repositories)
        .join(manifests, manifests.c.repository_id == repositories.c.id)
        .where(_in_repository, manifests.c.digest == text("digest"))
    )


def _tag_page() -> Select[Any]:
    """A row without a tag where the repository exists and no tag follows."""
    follows = and_(tags.c.repository_id == repositories.c.id, tags.c.name > text("after"))
    return (
        select(tags.c.name)
        .select_from(repositories)
        .outerjoin(tags, follows)
        .where(_in_repository)
        .order_by(tags.c.name)
        .limit(number("limit"))
    )


def _repository_page() -> Select[Any]:
    return (
        select(repositories.c.name)
        .where(repositories.c.name > text("after"))
        .order_by(repositories.c.name)
        .limit(number("limit"))
    )


def _referrer_page(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            manifests.c.digest,
            manifests.c.media_type,
            manifests.c.size,
            manifests.c.artifact_type,
            manifests.c.annotations,
        )
        .select_from(repositories)
        .join(manifests, manifests.c.repository_id == repositories.c.id)
        .where(_in_repository, manifests.c.subject == text("subject"), *conditions)
        .where(manifests.c.digest > text("after"))
        .order_by(manifests.c.digest)
        .limit(number("limit"))
    )


def _waited(kind: ReviewKind, key: ColumnElement[str]) -> Label[bool]:
    """Whether a review has waited for a while: behind the last tick there is nothing to put off."""
    last_tick = select(ticks.c.review_id).order_by(ticks.c.id.desc()).limit(1).scalar_subquery()
    review = exists().where(
        reviews.c.kind == literal_column(f"'{kind}'"),
        reviews.c.repository == text("repository"),
        reviews.c.key == key,
        reviews.c.id <= last_tick,
    )
    return review.label("has_waited")


def _linked_blob(*conditions: ColumnElement[bool], more: tuple[ColumnElement[Any], ...] = ()) -> Select[Any]:
    return (
        select(*_blob, *more)
        .select_from(repositories)
        .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
        .join(blobs, blobs.c.digest == repository_blobs.c.digest)
        .where(repository_blobs.c.digest == text("digest"), blobs.c.suspect == 0, *conditions)
    )


def _blob_linked_anywhere() -> Select[Any]:
    linked = exists().where(repository_blobs.c.digest == blobs.c.digest)
    return select(*_blob).where(blobs.c.digest == text("digest"), blobs.c.suspect == 0, linked)


class Compiler:
    """Compiles statements for one database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert

    def is_one_of(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether a column is one of the texts of one parameter, ``texts``: a single statement asks for all of them."""
        if self._dialect.name == "sqlite":
            return column.in_(select(self.each_text()))
        return column == any_(_array)

    def each_text(self) -> ColumnElement[str]:
        """A column of the texts of that parameter."""
        if self._dialect.name == "sqlite":
            return func.json_each(text("texts")).table_valued("value").c.value
        return func.unnest(_array).table_valued("value").render_derived().c.value

    def texts(self, values: Iterable[str]) -> object:
        """The one parameter of both."""
        return json.dumps(list(values)) if self._dialect.name == "sqlite" else list(values)

    def repository(self, *, alone: bool) -> Statement:
        """The number of a repository, for a transaction that changes it; see ``ReviewMutations.share`` and ``hold``.

        Where transactions run side by side, they have locks that hold for the name, whether there is such a repository
        or not. Who waits for one is let in before those who come later, so neither pushes nor removals starve.
        """
        if self._dialect.name == "sqlite":
            return self.compile(select(repositories.c.id).where(_in_repository))
        lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        gate = lock(func.hashtextextended(text("repository"), literal_column("0"))).alias("gate")
        return self.compile(select(repositories.c.id).select_from(gate).outerjoin(repositories, _in_repository))

    def compile(self, element: CompilerElement) -> Statement:
        """Put a statement into the words of the database."""
        compiled = element.compile(dialect=self._dialect)
        names = tuple(getattr(compiled, "positiontup", None) or ())
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return Statement(str(compiled), names, constants)


class Statements(Compiler):
    """The statements of one database, each named for what it does."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._prepare_reads()
        self._prepare_manifests()
        self._prepare_blobs()
        self._prepare_uploads()

    def _prepare_reads(self) -> None:
        everything = (manifests.c.digest, manifests.c.media_type, manifests.c.content)
        outline = (manifests.c.digest, manifests.c.media_type, manifests.c.size)
        of_type = manifests.c.artifact_type == text("artifact_type")
        self.manifest_by_tag = self.compile(_by_tag(*everything))
        self.manifest_by_digest = self.compile(_by_digest(*everything))
        self.outline_by_tag = self.compile(_by_tag(*outline))
        self.outline_by_digest = self.compile(_by_digest(*outline))
        has_waited = _waited(ReviewKind.MANIFEST, manifests.c.digest)
        self.leased_by_tag = self.compile(_by_tag(*outline, has_waited))
        self.leased_by_digest = self.compile(_by_digest(*outline, has_waited))
        self.tag_page = self.compile(_tag_page())
        self.repository_page = self.compile(_repository_page())
        self.referrer_page = self.compile(_referrer_page())
        self.referrer_page_of_type = self.compile(_referrer_page(of_type))
        self.repository_id = self.compile(select(repositories.c.id).where(_in_repository))
        self.linked_blob = self.compile(_linked_blob(_in_repository))
        self.leased_blob = self.compile(
            _linked_blob(_in_repository, more=(_waited(ReviewKind.LINK, repository_blobs.c.digest),))
        )
        self.upload = self.compile(select(*UPLOAD).where(_the_session))
        self.upload_count = self.compile(select(func.count()).select_from(uploads))
        # Without the first condition an index that has none without an owner is not looked at.
        of_owner = and_(uploads.c.owner != literal_column("''"), uploads.c.owner == text("owner"))
        self.upload_count_of_owner = self.compile(select(func.count()).select_from(uploads).where(of_owner))

    def _prepare_manifests(self) -> None:
        self.unlinked_among = self.compile(self._not_among(repository_blobs))
        self.unheld_among = self.compile(self._not_among(manifests))
        given = [column.name for column in manifests.c if column is not manifests.c.id]
        manifest = self.insert(manifests).values({name: bindparam(name) for name in given}).inline()
        self.put_manifest = self.compile(
            manifest.on_conflict_do_update(
                index_elements=[manifests.c.repository_id, manifests.c.digest],
                # All of it, though it should be what is there: if that is damaged, this repairs it.
                set_={name: manifest.excluded[name] for name in given if name not in ("repository_id", "digest")},
            ).returning(manifests.c.id)
        )
        digest = self.each_text()
        # Without a condition, SQLite would take the ON that follows for one of a join.
        references = select(number("manifest_id"), digest, number("repository_id")).where(digest.is_not(None))
        self.put_references = self.compile(
            self.insert(manifest_references)
            .from_select(["manifest_id", "digest", "repository_id"], references)
            .on_conflict_do_nothing()
        )
        tag = self.insert(tags)
        # It leaves a tag that is there where it points, and tells where that is: whoever moves it must know, and from
        # now on nobody else does.
        self.claim_tag = self.compile(
            tag.on_conflict_do_update(
                index_elements=[tags.c.repository_id, tags.c.name], set_={"updated_at": tag.excluded.updated_at}
            ).returning(tags.c.manifest_id)
        )
        the_tag = and_(tags.c.repository_id == number("repository_id"), tags.c.name == text("tag"))
        self.move_tag = self.compile(update(tags).where(the_tag).values(manifest_id=number("new_manifest_id")))
        self.delete_tag = self.compile(delete(tags).where(the_tag).returning(tags.c.manifest_id))
        self.manifest_digest = self.compile(select(manifests.c.digest).where(manifests.c.id == number("manifest_id")))

    def _not_among(self, table: Table) -> Select[Any]:
        """Those of the given digests that a table of repositories' digests does not have in one of them."""
        digest = self.each_text()
        here = and_(table.c.repository_id == number("repository_id"), table.c.digest == digest)
        return select(digest).where(~exists().where(here))

    def _prepare_blobs(self) -> None:
        self.put_repository = self.compile(
            self.insert(repositories).values(name=text("repository")).inline().on_conflict_do_nothing()
        )
        columns = ("digest", "size", "location", "checksum", "stored_at")
        blob = self.insert(blobs).values({**{column: bindparam(column) for column in columns}, "suspect": 0})
        # It leaves a blob that is there where it is, and tells where that is, like ``claim_tag``.
        self.claim_blob = self.compile(
            blob.on_conflict_do_update(
                index_elements=[blobs.c.digest],
                set_={column: blob.excluded[column] for column in ("checksum", "stored_at", "suspect")},
            ).returning(blobs.c.size, blobs.c.location)
        )
        self.move_blob = self.compile(
            update(blobs)
            .where(blobs.c.digest == text("digest"))
            .values(size=number("new_size"), location=text("new_location"))
        )
        # Its row stays until the transaction ends, so that a link can be added.
        self.mountable = self.compile(_linked_blob(_in_repository).with_for_update(read=True, key_share=True, of=blobs))
        self.mountable_anywhere = self.compile(
            _blob_linked_anywhere().with_for_update(read=True, key_share=True, of=blobs)
        )
        self.link_blob = self.compile(self.insert(repository_blobs).on_conflict_do_nothing())

    def _prepare_uploads(self) -> None:
        self.create_upload = self.compile(self.insert(uploads))
        self.held_upload = self.compile(select(*UPLOAD).where(_the_session).with_for_update())
        # A column's own name as a parameter is taken for its new value, so the new ones have other names here.
        self.advance_upload = self.compile(
            update(uploads)
            .where(_unmoved_session)
            .values(
                offset=number("new_offset"),
                digest=text("new_digest"),
                checksum=text("new_checksum"),
                note=text("new_note"),
                location=text("new_location"),
                updated_at=number("now"),
            )
        )
        self.complete_upload = self.compile(delete(uploads).where(_unmoved_session))
        self.delete_upload = self.compile(delete(uploads).where(_the_session))
