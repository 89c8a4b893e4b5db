"""Whose an upload is, and the credentials that the registry gives out."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column and the table. Uploads that are open now are nobody's."""
    op.add_column("uploads", sa.Column("owner", _BYTEWISE, nullable=False, server_default=""))
    has_owner = sa.text("owner != ''")
    op.create_index("ix_uploads_owner", "uploads", ["owner"], sqlite_where=has_owner, postgresql_where=has_owner)
    op.create_table(
        "credentials",
        sa.Column("kind", _BYTEWISE, nullable=False),
        sa.Column("key", _BYTEWISE, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", _NUMBER),
        sa.PrimaryKeyConstraint("kind", "key", name="pk_credentials"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_credentials_expires_at", "credentials", ["expires_at"])
