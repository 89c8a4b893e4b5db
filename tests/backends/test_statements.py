"""What the databases are asked, and how SQLite finds the answer."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg

from ferro_oci_server.backends.meta.sqlite_connection import connect, prepare
from ferro_oci_server.backends.meta.statements import Statement, Statements

STATEMENTS = {
    name: statement
    for name, statement in vars(Statements(sqlite.dialect(paramstyle="qmark"))).items()
    if isinstance(statement, Statement)
}
INDEXES = {
    "blob_linked_anywhere": "ix_repository_blobs_digest",
    "manifest_by_digest": "sqlite_autoindex_manifests_1",
    "referrer_page": "ix_manifests_referrers",
    "referrer_page_of_type": "ix_manifests_referrers_of_type",
    "repository_page": "sqlite_autoindex_repositories_1",
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "registry.db"
    prepare(path)
    connection = connect(path, 1.0)
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, statement: Statement) -> str:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", (None,) * len(statement.names))
    return "\n".join(detail for *_, detail in rows)


# Counting needs every row: those of the sessions that are open now, which are few.
@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - {"upload_count"}))
def test_no_statement_scans_a_table_or_sorts(connection: sqlite3.Connection, name: str) -> None:
    steps = plan(connection, STATEMENTS[name]).splitlines()
    assert [step for step in steps if "TEMP B-TREE" in step] == []
    assert [step for step in steps if step.startswith("SCAN") and "VIRTUAL TABLE" not in step] == []


@pytest.mark.parametrize(("name", "index"), INDEXES.items())
def test_a_list_walks_the_index_made_for_it(connection: sqlite3.Connection, name: str, index: str) -> None:
    assert f"{index} " in plan(connection, STATEMENTS[name])


def test_the_same_statements_exist_for_postgresql() -> None:
    translated = vars(Statements(asyncpg.dialect()))  # type: ignore[no-untyped-call]
    assert STATEMENTS.keys() <= translated.keys()
    assert "$1" in translated["manifest_by_tag"].sql
