"""The tables, described once for every database.

    repositories --< manifests --< manifest_references ... digests of blobs and manifests, present or not
         |   |          ^
         |   +------< tags
         +--< repository_blobs >-- blobs                    uploads: by the name of their repository

1. Text columns hold what has a grammar of plain characters: names, tags, digests, media types, locations. What a client
   may write freely stays in binary columns: databases differ in what they take for text.
2. Text is compared byte by byte, so that every database sorts alike and can walk a page along an index.
3. Times are milliseconds since 1970, UTC.
4. Migrations do not import this module: they describe the tables as they were. A test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = [
    "blobs",
    "collected",
    "credentials",
    "manifest_references",
    "manifests",
    "metadata",
    "repositories",
    "repository_blobs",
    "reviews",
    "scrubs",
    "tags",
    "ticks",
    "trash",
    "uploads",
]

# SQLite gives out row numbers by itself only to a column whose type is INTEGER to the letter.
_Number = BigInteger().with_variant(Integer(), "sqlite")
_Bytewise = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

repositories = Table(
    "repositories",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("name", _Bytewise, nullable=False),
    UniqueConstraint("name"),
)

# The content comes last: what stands before it is read without it.
manifests = Table(
    "manifests",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("repository_id", _Number, ForeignKey("repositories.id"), nullable=False),
    Column("digest", _Bytewise, nullable=False),
    Column("media_type", _Bytewise, nullable=False),
    Column("size", _Number, nullable=False),
    Column("subject", _Bytewise),
    Column("artifact_type", _Bytewise),
    Column("pushed_at", _Number, nullable=False),
    Column("annotations", LargeBinary),
    Column("content", LargeBinary, nullable=False),
    UniqueConstraint("repository_id", "digest"),
)

_has_subject = manifests.c.subject.is_not(None)
Index(
    "ix_manifests_referrers",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.digest,
    sqlite_where=_has_subject,
    postgresql_where=_has_subject,
)
Index(
    "ix_manifests_referrers_of_type",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.artifact_type,
    manifests.c.digest,
    sqlite_where=_has_subject,
    postgresql_where=_has_subject,
)

# The repository is that of the manifest, and stands here for the index: some digests, such as that of the empty
# config, are referred to in every repository, and it is asked whether one of them is in this.
manifest_references = Table(
    "manifest_references",
    metadata,
    Column("manifest_id", _Number, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", _Bytewise, primary_key=True),
    Column("repository_id", _Number, nullable=False),
    Index(None, "digest", "repository_id"),
    sqlite_with_rowid=False,
)

tags = Table(
    "tags",
    metadata,
    Column("repository_id", _Number, ForeignKey("repositories.id"), primary_key=True),
    Column("name", _Bytewise, primary_key=True),
    Column("manifest_id", _Number, ForeignKey("manifests.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("updated_at", _Number, nullable=False),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", _Bytewise, primary_key=True),
    Column("size", _Number, nullable=False),
    Column("location", _Bytewise, nullable=False, index=True),
    Column("stored_at", _Number, nullable=False),
    Column("suspect", _Number, nullable=False, server_default="0"),
    Column("checksum", _Bytewise),
    sqlite_with_rowid=False,
)

_is_suspect = blobs.c.suspect != text("0")
Index("ix_blobs_suspects", blobs.c.digest, sqlite_where=_is_suspect, postgresql_where=_is_suspect)

repository_blobs = Table(
    "repository_blobs",
    metadata,
    Column("repository_id", _Number, ForeignKey("repositories.id"), primary_key=True),
    Column("digest", _Bytewise, ForeignKey("blobs.digest"), primary_key=True, index=True),
    sqlite_with_rowid=False,
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", _Bytewise, primary_key=True),
    Column("repository", _Bytewise, nullable=False),
    Column("algorithm", _Bytewise, nullable=False),
    Column("offset", _Number, nullable=False),
    Column("digest", _Bytewise),
    Column("started_at", _Number, nullable=False),
    Column("updated_at", _Number, nullable=False),
    Column("checksum", _Bytewise),
    Column("note", _Bytewise, nullable=False, server_default=""),
    Column("location", _Bytewise),
    Column("owner", _Bytewise, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)

_is_sealed = uploads.c.location.is_not(None)
Index("ix_uploads_location", uploads.c.location, sqlite_where=_is_sealed, postgresql_where=_is_sealed)

_has_owner = uploads.c.owner != text("''")
Index("ix_uploads_owner", uploads.c.owner, sqlite_where=_has_owner, postgresql_where=_has_owner)

# What the registry has given out: digests of secrets, and the public halves of keys.
credentials = Table(
    "credentials",
    metadata,
    Column("kind", _Bytewise, primary_key=True),
    Column("key", _Bytewise, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("expires_at", _Number, index=True),
    sqlite_with_rowid=False,
)

# What has to be looked at again, since it has lost something that kept it, or has never had it. Its number says when it
# began to wait: it is given out once, so a later review has a higher one. Where transactions run side by side, that is
# when it was written, not when it was committed; PostgreSQL must not give a session numbers in advance (CACHE 1).
reviews = Table(
    "reviews",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("kind", _Bytewise, nullable=False),
    Column("repository", _Bytewise, nullable=False),
    Column("key", _Bytewise, nullable=False),
    UniqueConstraint("kind", "repository", "key"),
    Index(None, "kind", "id"),
    sqlite_autoincrement=True,
)

# The registry's own clock: how many milliseconds it has been running, and which was the last review then. Whoever sets
# the machine's clock moves nothing here, and what waits does not grow older while nobody serves.
ticks = Table(
    "ticks",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("review_id", _Number, nullable=False),
    Column("at", _Number, nullable=False, index=True),
    sqlite_autoincrement=True,
)

# Bytes that no repository links any more, until they are removed. Those that somebody has begun to remove are doomed,
# and cannot be brought back.
trash = Table(
    "trash",
    metadata,
    Column("location", _Bytewise, primary_key=True),
    Column("digest", _Bytewise, nullable=False, index=True),
    Column("size", _Number, nullable=False),
    Column("doomed", _Number, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

# One row: how far the scrub has come, when its last cycle ended (where none is running), and what it has done so far.
scrubs = Table(
    "scrubs",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("cursor", _Bytewise, nullable=False),
    Column("rested_at", _Number),
    Column("cycles", _Number, nullable=False),
    Column("blobs", _Number, nullable=False),
    Column("bytes", _Number, nullable=False),
)

# What has been removed since the registry began.
collected = Table(
    "collected",
    metadata,
    Column("kind", _Bytewise, primary_key=True),
    Column("count", _Number, nullable=False),
    Column("bytes", _Number, nullable=False),
    sqlite_with_rowid=False,
)
