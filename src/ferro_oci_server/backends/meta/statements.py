"""Every statement that the databases run, built from the schema and compiled once.

What comes out is plain SQL and the order of its parameters, for the driver itself: nothing of SQLAlchemy runs while a
request is served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import BindParameter, CompilerElement

from ferro_oci_server.backends.meta.schema import (
    blobs,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    tags,
    uploads,
)

__all__ = ["Statement", "Statements"]


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


def _text(name: str) -> BindParameter[str]:
    return bindparam(name, type_=Text())


def _number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger())


_in_repository = repositories.c.name == _text("repository")
_the_repository = select(repositories.c.id).where(_in_repository).scalar_subquery()
_the_manifest = and_(
    manifests.c.repository_id == _the_repository,
    manifests.c.digest == _text("digest"),
)
_the_session = and_(uploads.c.id == _text("id"), uploads.c.repository == _text("repository"))
_unmoved_session = and_(_the_session, uploads.c.offset == _number("offset"))


def _by_tag(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .select_from(repositories)
        .join(tags, tags.c.repository_id == repositories.c.id)
        .join(manifests, manifests.c.id == tags.c.manifest_id)
        .where(_in_repository, tags.c.name == _text("tag"))
    )


def _by_digest(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .select_from(repositories)
        .join(manifests, manifests.c.repository_id == repositories.c.id)
        .where(_in_repository, manifests.c.digest == _text("digest"))
    )


def _tag_page() -> Select[Any]:
    """A row without a tag where the repository exists and no tag follows."""
    follows = and_(tags.c.repository_id == repositories.c.id, tags.c.name > _text("after"))
    return (
        select(tags.c.name)
        .select_from(repositories)
        .outerjoin(tags, follows)
        .where(_in_repository)
        .order_by(tags.c.name)
        .limit(_number("limit"))
    )


def _repository_page() -> Select[Any]:
    return (
        select(repositories.c.name)
        .where(repositories.c.name > _text("after"))
        .order_by(repositories.c.name)
        .limit(_number("limit"))
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
        .where(_in_repository, manifests.c.subject == _text("subject"), *conditions)
        .where(manifests.c.digest > _text("after"))
        .order_by(manifests.c.digest)
        .limit(_number("limit"))
    )


def _linked_blob(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(blobs.c.size, blobs.c.location)
        .select_from(repositories)
        .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
        .join(blobs, blobs.c.digest == repository_blobs.c.digest)
        .where(repository_blobs.c.digest == _text("digest"), *conditions)
    )


def _blob_linked_anywhere() -> Select[Any]:
    linked = exists().where(repository_blobs.c.digest == blobs.c.digest)
    return select(blobs.c.size, blobs.c.location).where(blobs.c.digest == _text("digest"), linked)


class Statements:
    """The statements of one database, each named for what it does."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        self._prepare_reads()
        self._prepare_manifests()
        self._prepare_blobs()
        self._prepare_uploads()

    def _compile(self, element: CompilerElement) -> Statement:
        compiled = element.compile(dialect=self._dialect)
        names = tuple(getattr(compiled, "positiontup", None) or ())
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return Statement(str(compiled), names, constants)

    def _is_one(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether a column is one of the digests of one parameter: a single statement asks for all of them."""
        if self._dialect.name == "sqlite":
            return column.in_(select(func.json_each(_text("digests")).table_valued("value").c.value))
        return column == any_(bindparam("digests", type_=postgresql.ARRAY(Text())))

    def _prepare_reads(self) -> None:
        everything = (manifests.c.digest, manifests.c.media_type, manifests.c.content)
        outline = (manifests.c.digest, manifests.c.media_type, manifests.c.size)
        of_type = manifests.c.artifact_type == _text("artifact_type")
        self.manifest_by_tag = self._compile(_by_tag(*everything))
        self.manifest_by_digest = self._compile(_by_digest(*everything))
        self.outline_by_tag = self._compile(_by_tag(*outline))
        self.outline_by_digest = self._compile(_by_digest(*outline))
        self.tag_page = self._compile(_tag_page())
        self.repository_page = self._compile(_repository_page())
        self.referrer_page = self._compile(_referrer_page())
        self.referrer_page_of_type = self._compile(_referrer_page(of_type))
        self.repository_id = self._compile(select(repositories.c.id).where(_in_repository))
        self.linked_blob = self._compile(_linked_blob(_in_repository))
        self.blob_linked_anywhere = self._compile(_blob_linked_anywhere())
        self.upload = self._compile(select(uploads.c.algorithm, uploads.c.offset, uploads.c.digest).where(_the_session))
        self.upload_count = self._compile(select(func.count()).select_from(uploads))

    def _prepare_manifests(self) -> None:
        linked = select(repository_blobs.c.digest).where(
            repository_blobs.c.repository_id == _number("repository_id"),
            self._is_one(repository_blobs.c.digest),
        )
        held = select(manifests.c.digest).where(
            manifests.c.repository_id == _number("repository_id"), self._is_one(manifests.c.digest)
        )
        self.linked_among = self._compile(linked)
        self.held_among = self._compile(held)
        self.manifest_id = self._compile(
            select(manifests.c.id).where(
                manifests.c.repository_id == _number("repository_id"),
                manifests.c.digest == _text("digest"),
            )
        )
        given = [column.name for column in manifests.c if column is not manifests.c.id]
        manifest = self._insert(manifests).values({name: bindparam(name) for name in given}).inline()
        self.put_manifest = self._compile(
            manifest.on_conflict_do_update(
                index_elements=[manifests.c.repository_id, manifests.c.digest],
                set_={"media_type": manifest.excluded.media_type, "pushed_at": manifest.excluded.pushed_at},
            )
        )
        self.put_reference = self._compile(self._insert(manifest_references).on_conflict_do_nothing())
        tag = self._insert(tags)
        self.put_tag = self._compile(
            tag.on_conflict_do_update(
                index_elements=[tags.c.repository_id, tags.c.name],
                set_={"manifest_id": tag.excluded.manifest_id, "updated_at": tag.excluded.updated_at},
            )
        )
        self.delete_manifest = self._compile(delete(manifests).where(_the_manifest))
        self.delete_tag = self._compile(
            delete(tags).where(tags.c.repository_id == _the_repository, tags.c.name == _text("tag"))
        )

    def _prepare_blobs(self) -> None:
        self.put_repository = self._compile(
            self._insert(repositories).values(name=_text("repository")).inline().on_conflict_do_nothing()
        )
        blob = self._insert(blobs)
        self.put_blob = self._compile(
            blob.on_conflict_do_update(
                index_elements=[blobs.c.digest],
                set_={column: blob.excluded[column] for column in ("size", "location", "stored_at")},
            )
        )
        self.link_blob = self._compile(self._insert(repository_blobs).on_conflict_do_nothing())
        self.unlink_blob = self._compile(
            delete(repository_blobs).where(
                repository_blobs.c.repository_id == _the_repository,
                repository_blobs.c.digest == _text("digest"),
            )
        )

    def _prepare_uploads(self) -> None:
        self.create_upload = self._compile(self._insert(uploads))
        # A column's own name as a parameter is taken for its new value, so the new ones have other names here.
        self.advance_upload = self._compile(
            update(uploads)
            .where(_unmoved_session)
            .values(offset=_number("new_offset"), digest=_text("new_digest"), updated_at=_number("now"))
        )
        self.complete_upload = self._compile(delete(uploads).where(_unmoved_session))
        self.delete_upload = self._compile(delete(uploads).where(_the_session))
