"""Runs the steps that a database has not seen."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

__all__ = ["run"]


def run(connection: Connection) -> str | None:
    """Run every step that is missing; return the revision of the tables instead where it is not one of ours."""
    config = Config()
    # The folder may have a percent sign in its name, which would begin a variable.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = MigrationContext.configure(connection).get_current_heads()
    unknown = [revision for revision in present if revision not in known]
    if unknown:
        return ", ".join(unknown)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return None
