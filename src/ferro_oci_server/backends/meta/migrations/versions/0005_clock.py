"""The registry's clock by its time: after a year it has half a million rows."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_ticks_at", "ticks", ["at"])
