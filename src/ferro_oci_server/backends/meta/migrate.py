"""Which form of the tables this version needs, and how a database gets it.

Looking is cheap and done at every start; the machinery that changes tables is loaded only where they must change.
"""

from typing import TYPE_CHECKING

from ferro_oci_server.core.ports import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["HEAD", "SELECT_REVISION", "SchemaTooNew", "script", "upgrade"]

HEAD = "0006"
"""The newest revision among ``migrations/versions``."""

SELECT_REVISION = "SELECT version_num FROM alembic_version"


class SchemaTooNew(StoreUnavailable):
    """Raised when a newer version of this program has changed the tables; nothing was changed."""


def upgrade(connection: "Connection") -> None:
    """Bring the tables to ``HEAD`` in the caller's transaction, which must keep other processes from doing the same.

    Raises:
        SchemaTooNew: the tables are of a revision that is not known here.
    """
    # Loading Alembic takes as long as the rest of a start, and hardly any start needs it.
    from ferro_oci_server.backends.meta.migrations.run import run  # noqa: PLC0415

    unknown = run(connection)
    if unknown is not None:
        raise _too_new(unknown)


def script(present: str | None) -> str:
    """What brings PostgreSQL's tables from revision ``present`` (``None``: from nothing) to ``HEAD``, as SQL.

    Raises:
        SchemaTooNew: there is no such revision here.
    """
    if present == HEAD:
        return ""
    from ferro_oci_server.backends.meta.migrations.run import write  # noqa: PLC0415

    sql = write(present)
    if sql is None:
        raise _too_new(str(present))
    return sql


def _too_new(revision: str) -> SchemaTooNew:
    return SchemaTooNew(
        f"its tables have revision {revision}, and this version of ferro-oci-server knows none after {HEAD}: "
        "run the version that wrote them, or a newer one, or restore a backup from before the upgrade"
    )
