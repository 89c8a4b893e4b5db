"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "repositories",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("name", _BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repositories"),
        sa.UniqueConstraint("name", name="uq_repositories_name"),
    )
    _create_manifests()
    _create_tags()
    _create_blobs()
    _create_uploads()


def _create_manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("repository_id", _NUMBER, nullable=False),
        sa.Column("digest", _BYTEWISE, nullable=False),
        sa.Column("media_type", _BYTEWISE, nullable=False),
        sa.Column("size", _NUMBER, nullable=False),
        sa.Column("subject", _BYTEWISE, nullable=True),
        sa.Column("artifact_type", _BYTEWISE, nullable=True),
        sa.Column("pushed_at", _NUMBER, nullable=False),
        sa.Column("annotations", sa.LargeBinary(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_manifests"),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_manifests_repository_id"),
        sa.UniqueConstraint("repository_id", "digest", name="uq_manifests_repository_id_digest"),
    )
    for name, columns in (
        ("ix_manifests_referrers", ["repository_id", "subject", "digest"]),
        ("ix_manifests_referrers_of_type", ["repository_id", "subject", "artifact_type", "digest"]),
    ):
        op.create_index(
            name,
            "manifests",
            columns,
            sqlite_where=sa.text("subject IS NOT NULL"),
            postgresql_where=sa.text("subject IS NOT NULL"),
        )
    op.create_table(
        "manifest_references",
        sa.Column("manifest_id", _NUMBER, nullable=False),
        sa.Column("digest", _BYTEWISE, nullable=False),
        sa.Column("repository_id", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("manifest_id", "digest", name="pk_manifest_references"),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name="fk_manifest_references_manifest_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_manifest_references_digest_repository_id", "manifest_references", ["digest", "repository_id"])


def _create_tags() -> None:
    op.create_table(
        "tags",
        sa.Column("repository_id", _NUMBER, nullable=False),
        sa.Column("name", _BYTEWISE, nullable=False),
        sa.Column("manifest_id", _NUMBER, nullable=False),
        sa.Column("updated_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "name", name="pk_tags"),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_tags_repository_id"),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name="fk_tags_manifest_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_manifest_id", "tags", ["manifest_id"])


def _create_blobs() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", _BYTEWISE, nullable=False),
        sa.Column("size", _NUMBER, nullable=False),
        sa.Column("location", _BYTEWISE, nullable=False),
        sa.Column("stored_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "repository_blobs",
        sa.Column("repository_id", _NUMBER, nullable=False),
        sa.Column("digest", _BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "digest", name="pk_repository_blobs"),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name="fk_repository_blobs_repository_id"),
        sa.ForeignKeyConstraint(["digest"], ["blobs.digest"], name="fk_repository_blobs_digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_repository_blobs_digest", "repository_blobs", ["digest"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", _BYTEWISE, nullable=False),
        sa.Column("repository", _BYTEWISE, nullable=False),
        sa.Column("algorithm", _BYTEWISE, nullable=False),
        sa.Column("offset", _NUMBER, nullable=False),
        sa.Column("digest", _BYTEWISE, nullable=True),
        sa.Column("started_at", _NUMBER, nullable=False),
        sa.Column("updated_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sqlite_with_rowid=False,
    )
