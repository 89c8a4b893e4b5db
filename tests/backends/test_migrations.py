"""How a database gets its tables, and which databases are refused."""

import logging
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, NullPool, create_engine

from ferro_oci_server.backends.meta import migrations
from ferro_oci_server.backends.meta.migrate import HEAD, SchemaTooNew
from ferro_oci_server.backends.meta.schema import metadata
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.backends.meta.sqlite_connection import connect, prepare
from ferro_oci_server.core.ports import StoreUnavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "registry.db"
    prepare(path)
    return path


def engine(path: Path) -> Engine:
    return create_engine(f"sqlite:///{path}", poolclass=NullPool)


def query(path: Path, sql: str) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_migrating_makes_the_tables_that_the_schema_describes(path: Path) -> None:
    with engine(path).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL ORDER BY name",
        "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%' ORDER BY name",
        "SELECT t.name, f.'from', f.'table', f.'to', f.on_delete "
        "FROM sqlite_master t, pragma_foreign_key_list(t.name) f ORDER BY 1, 2",
    ],
    ids=["indexes", "tables without row numbers", "foreign keys"],
)
def test_migrating_makes_them_in_the_same_way(path: Path, tmp_path: Path, sql: str) -> None:
    described = tmp_path / "described.db"
    with engine(described).begin() as connection:
        metadata.create_all(connection)
    migrated = [row for row in query(path, sql) if row[0] != "alembic_version"]
    assert migrated == query(described, sql)
    assert migrated != []


def test_the_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    query(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match=r"registry\.db.*9999.*newer"):
        SqliteRegistryMeta(path)
    assert query(path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_disk_that_fills_up_leaves_no_half_of_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    script = f"""
        import resource
        from pathlib import Path
        from ferro_oci_server.backends.meta.sqlite_connection import prepare
        from ferro_oci_server.core.ports import StoreUnavailable
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        try:
            prepare(Path({str(path)!r}))
        except StoreUnavailable:
            print("unavailable")
    """
    assert run(script) == b"unavailable\n"
    assert query(path, "SELECT name FROM sqlite_master") == []
    prepare(path)
    assert query(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_a_lock_that_is_held_too_long_makes_the_store_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    other = connect(path, 1.0)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"registry\.db.*locked"):
        prepare(path, patience=0.05)
    other.close()


def test_migrating_leaves_logging_as_it_is(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("ferro_oci_server").disabled)
    prepare(tmp_path / "registry.db")
    assert (root.level, list(root.handlers), logging.getLogger("ferro_oci_server").disabled) == before


def test_opening_a_current_database_does_not_load_what_migrates(path: Path) -> None:
    script = f"""
        import asyncio, sys
        from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
        asyncio.run(SqliteRegistryMeta({str(path)!r}).close())
        assert "alembic" not in sys.modules
    """
    run(script)


def run(script: str) -> bytes:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, stdout=subprocess.PIPE).stdout
