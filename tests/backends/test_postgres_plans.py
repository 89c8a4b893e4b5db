"""How PostgreSQL finds what it is asked for in tables of some size, whatever the values are."""

import re

import pytest
from sqlalchemy.dialects.postgresql import asyncpg

from ferro_oci_server.backends.meta.credentials import CredentialMutations
from ferro_oci_server.backends.meta.inspection_statements import InspectionStatements
from ferro_oci_server.backends.meta.review_statements import ReviewStatements
from ferro_oci_server.backends.meta.statements import Statement, Statements
from ferro_oci_server.backends.meta.usage_statements import UsageStatements
from support.postgres import PostgresServer

DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]
STATEMENTS = {
    name: statement
    for kind in (Statements, ReviewStatements, InspectionStatements, UsageStatements, CredentialMutations)
    for name, statement in vars(kind(DIALECT)).items()
    if isinstance(statement, Statement)
}
# Every row is counted; or there are few: of each kind one, of the scrub one in all.
SCANNED = {
    "upload_count",
    "waiting",
    "removed",
    "scrub",
    "held_scrub",
    "scrub_total",
    "advance_scrub",
    "rest_scrub",
}

_DIGEST = "'sha256:' || md5(({0})::text) || md5(({0})::text)"
FILL = f"""
INSERT INTO repositories (name) SELECT 'team/app-' || n FROM generate_series(1, 5000) n;
INSERT INTO manifests (repository_id, digest, media_type, size, subject, artifact_type, pushed_at, content)
    SELECT 1 + n % 5000, {_DIGEST.format("n")}, 'application/vnd.oci.image.manifest.v1+json', 100,
           CASE WHEN n % 5 = 0 THEN {_DIGEST.format("n % 50")} END, 'application/vnd.example', 0, '{{}}'
    FROM generate_series(1, 20000) n;
INSERT INTO tags SELECT repository_id, 'v' || id, id, 0 FROM manifests;
INSERT INTO blobs (digest, size, location, stored_at)
    SELECT {_DIGEST.format("n")}, 10, 'place/' || n, 0 FROM generate_series(1, 20000) n;
INSERT INTO repository_blobs SELECT 1 + n % 5000, {_DIGEST.format("n")} FROM generate_series(1, 20000) n;
INSERT INTO manifest_references SELECT id, digest, repository_id FROM manifests;
INSERT INTO uploads (id, repository, algorithm, "offset", started_at, updated_at, location)
    SELECT md5(n::text), 'team/app-1', 'sha256', 0, 0, 0, CASE WHEN n % 9 = 0 THEN 'sealed/' || n END
    FROM generate_series(1, 5000) n;
INSERT INTO reviews (kind, repository, key)
    SELECT (ARRAY['link', 'manifest', 'trash'])[1 + n % 3], 'team/app-' || n % 200, {_DIGEST.format("n")}
    FROM generate_series(1, 20000) n;
INSERT INTO ticks (id, review_id, at) SELECT n, n / 10, n * 60000 FROM generate_series(1, 20000) n;
INSERT INTO trash (location, digest, size)
    SELECT 'trash/' || n, {_DIGEST.format("n")}, 10 FROM generate_series(1, 5000) n;
INSERT INTO credentials (kind, key, value, expires_at)
    SELECT (ARRAY['api-key', 'refresh-token'])[1 + n % 2], md5(n::text), '{{}}', n FROM generate_series(1, 20000) n
"""


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> str:
    """A database of some size, whose statistics are known."""
    name = postgres.make_registry("plans")
    for sql in (*FILL.split(";"), "ANALYZE", "SET plan_cache_mode = force_generic_plan"):
        postgres.query(sql, name)
    return name


def plan(postgres: PostgresServer, database: str, name: str) -> str:
    statement = STATEMENTS[name]
    arguments = f"({', '.join(['NULL'] * len(statement.names))})" if statement.names else ""
    postgres.query(f"PREPARE asked AS {statement.sql}", database)
    try:
        return "\n".join(line for (line,) in postgres.query(f"EXPLAIN EXECUTE asked{arguments}", database))
    finally:
        postgres.query("DEALLOCATE asked", database)


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - SCANNED))
def test_no_statement_reads_a_whole_table(postgres: PostgresServer, filled: str, name: str) -> None:
    steps = plan(postgres, filled, name)
    assert re.findall(r"Seq Scan on \w+", steps) == [], steps


def test_the_reviews_of_one_kind_are_found_without_those_of_the_others(postgres: PostgresServer, filled: str) -> None:
    steps = plan(postgres, filled, "claim")
    assert "ix_reviews_kind_id" in steps, steps
    assert "Filter" not in steps, steps
