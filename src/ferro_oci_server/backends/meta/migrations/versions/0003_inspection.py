"""What verification needs: blobs by location, the suspect ones, trash that is being removed, the place of the scrub."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create what is missing; no blob is touched."""
    suspect = sa.text("suspect != 0")
    op.create_index("ix_blobs_location", "blobs", ["location"])
    op.create_index("ix_blobs_suspects", "blobs", ["digest"], sqlite_where=suspect, postgresql_where=suspect)
    op.add_column("trash", sa.Column("doomed", _NUMBER, nullable=False, server_default="0"))
    op.create_table(
        "scrubs",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("cursor", _BYTEWISE, nullable=False),
        sa.Column("rested_at", _NUMBER),
        sa.Column("cycles", _NUMBER, nullable=False),
        sa.Column("blobs", _NUMBER, nullable=False),
        sa.Column("bytes", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scrubs"),
    )
