"""Runs the steps that a database has not seen, or writes them down."""

from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

__all__ = ["run", "write"]


def run(connection: Connection) -> str | None:
    """Run every step that is missing; return the revision of the tables instead where it is not one of ours."""
    config = _config()
    present = MigrationContext.configure(connection).get_current_heads()
    unknown = set(present) - _known(config)
    if unknown:
        return ", ".join(unknown)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return None


def write(present: str | None) -> str | None:
    """Every step behind a revision, as SQL for PostgreSQL; ``None`` where it is not one of ours."""
    text = StringIO()
    config = _config()
    config.output_buffer = text
    if present is not None and present not in _known(config):
        return None
    command.upgrade(config, f"{present or 'base'}:head", sql=True)
    return text.getvalue()


def _config() -> Config:
    config = Config()
    # The folder may have a percent sign in its name, which would begin a variable.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _known(config: Config) -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
