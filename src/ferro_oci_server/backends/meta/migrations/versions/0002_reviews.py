"""What garbage collection keeps account of, what is known of damage, and uploads whose end was begun."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables of the collector, and mark all blobs sound."""
    op.create_table(
        "reviews",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("kind", _BYTEWISE, nullable=False),
        sa.Column("repository", _BYTEWISE, nullable=False),
        sa.Column("key", _BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.UniqueConstraint("kind", "repository", "key", name="uq_reviews_kind_repository_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reviews_kind_id", "reviews", ["kind", "id"])
    op.create_table(
        "ticks",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("review_id", _NUMBER, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ticks"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "trash",
        sa.Column("location", _BYTEWISE, nullable=False),
        sa.Column("digest", _BYTEWISE, nullable=False),
        sa.Column("size", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("location", name="pk_trash"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trash_digest", "trash", ["digest"])
    op.create_table(
        "collected",
        sa.Column("kind", _BYTEWISE, nullable=False),
        sa.Column("count", _NUMBER, nullable=False),
        sa.Column("bytes", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_collected"),
        sqlite_with_rowid=False,
    )
    op.add_column("uploads", sa.Column("sealed", _NUMBER, nullable=False, server_default="0"))
    op.add_column("blobs", sa.Column("suspect", _NUMBER, nullable=False, server_default="0"))
