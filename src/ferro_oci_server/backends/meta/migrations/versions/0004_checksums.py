"""Checksums of blobs, and of uploads where their bytes are staged and where they are about to be."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns. Blobs get their checksum when they are pushed again; sealed uploads say now where they end."""
    op.add_column("blobs", sa.Column("checksum", _BYTEWISE))
    op.add_column("uploads", sa.Column("checksum", _BYTEWISE))
    op.add_column("uploads", sa.Column("note", _BYTEWISE, nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("location", _BYTEWISE))
    # Until now only files were kept, and theirs is made of the digest and the upload.
    op.execute(
        "UPDATE uploads SET location = substr(digest, 1, 6) || '/' || substr(digest, 8, 2) || '/'"
        " || substr(digest, 8) || '.' || id WHERE sealed = 1"
    )
    op.drop_column("uploads", "sealed")
    is_sealed = sa.text("location IS NOT NULL")
    op.create_index("ix_uploads_location", "uploads", ["location"], sqlite_where=is_sealed, postgresql_where=is_sealed)
