"""What the databases are asked, and how SQLite finds the answer."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg

from ferro_oci_server.backends.meta.credentials import CredentialMutations
from ferro_oci_server.backends.meta.inspection_statements import InspectionStatements
from ferro_oci_server.backends.meta.review_statements import ReviewStatements
from ferro_oci_server.backends.meta.sqlite_connection import connect, prepare
from ferro_oci_server.backends.meta.statements import Statement, Statements
from ferro_oci_server.backends.meta.usage_statements import UsageStatements

DIALECT = sqlite.dialect(paramstyle="qmark")
KINDS = (Statements, ReviewStatements, InspectionStatements, UsageStatements, CredentialMutations)
STATEMENTS = {
    name: statement
    for compiled in [kind(DIALECT) for kind in KINDS]
    for name, statement in vars(compiled).items()
    if isinstance(statement, Statement)
}
# Counting needs every row: of the sessions that are open, of the reviews that wait, of the five kinds, of the suspects.
COUNTS = {"upload_count", "waiting", "removed", "suspects"}
# The last row of the clock is the first from its end.
CLOCK = {"last_tick"}
LAST_TICK = "SCAN ticks"
INDEXES = {
    "mountable_anywhere": "ix_repository_blobs_digest",
    "known": "ix_blobs_location",
    "suspects": "ix_blobs_suspects",
    "manifest_by_digest": "sqlite_autoindex_manifests_1",
    "due": "ix_ticks_at",
    "drop_ticks": "ix_ticks_at",
    "referrer_page": "ix_manifests_referrers",
    "referrer_page_of_type": "ix_manifests_referrers_of_type",
    "repository_page": "sqlite_autoindex_repositories_1",
    "upload_count_of_owner": "ix_uploads_owner",
    "link_page": "repository_blobs USING PRIMARY KEY",
    "outline_page": "sqlite_autoindex_manifests_1",
    "target_page": "tags USING PRIMARY KEY",
    # Without the contents of the manifests, and along the key of the tags.
    "manifest_count": "COVERING INDEX sqlite_autoindex_manifests_1",
    "tag_count": "tags USING PRIMARY KEY",
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


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - COUNTS - CLOCK))
def test_no_statement_scans_a_table_or_sorts(connection: sqlite3.Connection, name: str) -> None:
    steps = plan(connection, STATEMENTS[name]).splitlines()
    assert [step for step in steps if "TEMP B-TREE" in step] == []
    scans = [step.strip() for step in steps if step.strip().startswith("SCAN") and "VIRTUAL TABLE" not in step]
    assert scans == ([LAST_TICK] if name.startswith("leased") else [])


@pytest.mark.parametrize(("name", "index"), INDEXES.items())
def test_a_list_walks_the_index_made_for_it(connection: sqlite3.Connection, name: str, index: str) -> None:
    assert f"{index} " in plan(connection, STATEMENTS[name]) + " "


def test_the_same_statements_exist_for_postgresql() -> None:
    dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
    translated = {name: statement for kind in KINDS for name, statement in vars(kind(dialect)).items()}
    assert STATEMENTS.keys() <= translated.keys()
    assert "$1" in translated["manifest_by_tag"].sql


def test_several_texts_are_one_parameter_in_the_form_that_the_database_looks_in() -> None:
    postgresql = Statements(asyncpg.dialect())  # type: ignore[no-untyped-call]
    assert STATEMENTS["unheld_among"].sql.count("json_each(?)") == 1
    assert STATEMENTS["known"].sql.count("json_each(?)") == 3
    assert Statements(DIALECT).texts(["a", 'b"']) == '["a", "b\\""]'
    assert "unnest($1::TEXT[])" in postgresql.unheld_among.sql
    assert "ANY ($1::TEXT[])" in InspectionStatements(asyncpg.dialect()).known.sql  # type: ignore[no-untyped-call]
    assert postgresql.texts({"a": 1}) == ["a"]
