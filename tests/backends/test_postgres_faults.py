"""A PostgreSQL that is killed, cuts connections, refuses, or belongs to somebody else."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import create_mock_engine
from sqlalchemy.dialects.postgresql import asyncpg

from ferro_oci_server.backends.meta.migrate import HEAD, SchemaTooNew
from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta
from ferro_oci_server.backends.meta.schema import metadata
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.registry_meta.samples import NAME, manifest, tags
from support.postgres import PostgresServer, postgres_server

_MEMORY = Path("/dev/shm")

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = 'registry' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
TABLES = """
SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"
KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conname <> 'alembic_version_pkc' ORDER BY 1, 2
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of its own, which the test may kill."""
    with TemporaryDirectory(prefix="ferro-test-", dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        Path(path).chmod(0o711)
        with postgres_server(Path(path) / "postgres") as server:
            server.make_registry()
            yield server


def use(url: str, body: Callable[[PostgresRegistryMeta], Awaitable[None]], patience: float = 15.0) -> None:
    async def run() -> None:
        meta = PostgresRegistryMeta(url, patience=patience)
        try:
            await body(meta)
        finally:
            await meta.close()

    asyncio.run(run())


class Load:
    """Writers that push manifests until they are told to end, and remember what was acknowledged."""

    def __init__(self, meta: PostgresRegistryMeta) -> None:
        self._meta = meta
        self.acknowledged: list[str] = []
        self.refused = 0
        self._is_over = False

    async def write(self, worker: int) -> None:
        number = 0
        while not self._is_over:
            name = f"{worker}-{number}"
            number += 1
            try:
                await self._meta.put_manifest(NAME, manifest(name), tags(name))
            except StoreUnavailable:
                self.refused += 1
                await asyncio.sleep(0.02)
            else:
                self.acknowledged.append(name)

    async def during(self, body: Awaitable[None]) -> None:
        """Let them write before, during and after."""
        writers = [asyncio.create_task(self.write(worker)) for worker in range(12)]
        await self._more(50)
        await body
        await self._more(50)
        self._is_over = True
        await asyncio.gather(*writers)

    async def _more(self, count: int) -> None:
        wanted, deadline = len(self.acknowledged) + count, time.monotonic() + 60
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, "it does not recover"
            await asyncio.sleep(0.01)

    async def check(self) -> None:
        """Everything that was acknowledged is there."""
        for name in self.acknowledged:
            found = await self._meta.get_manifest(NAME, Tag(name))
            assert found is not None, name
            assert found.content.decode() == name


def test_what_was_acknowledged_survives_a_server_that_is_killed_and_started_under_load(server: PostgresServer) -> None:
    async def body(meta: PostgresRegistryMeta) -> None:
        load = Load(meta)

        async def kill() -> None:
            for _ in range(2):
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await asyncio.sleep(0.3)

        await load.during(kill())
        await load.check()
        assert await meta.inspect_rows(10) == []

    use(server.url("registry"), body)


def test_connections_that_are_cut_under_load_lose_nothing_and_are_made_anew(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async def body(meta: PostgresRegistryMeta) -> None:
        load = Load(meta)

        async def cut() -> None:
            for _ in range(10):
                await asyncio.to_thread(postgres.query, CUT, "registry")
                await asyncio.sleep(0.05)

        await load.during(cut())
        await load.check()
        # Most lost their connection before they said COMMIT, and were done anew.
        assert load.refused <= 60

    use(postgres_url, body)


def test_a_server_that_is_not_there_is_told_soon(tmp_path: Path) -> None:
    async def body(meta: PostgresRegistryMeta) -> None:
        before = time.monotonic()
        for call in (meta.check(), meta.put_manifest(NAME, manifest())):
            with pytest.raises(StoreUnavailable):
                await call
        assert time.monotonic() - before < 5

    use(f"postgresql://nobody@/none?host={tmp_path}", body)


def test_what_waits_too_long_gives_up_and_leaves_no_lock(postgres: PostgresServer, postgres_url: str) -> None:
    async def body(meta: PostgresRegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("v1"))
        await asyncio.to_thread(postgres.query, f"SELECT pg_advisory_lock(hashtextextended('{NAME}', 0))", "registry")
        try:
            for call in (meta.put_manifest(NAME, manifest("two")), meta.delete_tag(NAME, tags("v1")[0])):
                with pytest.raises(StoreUnavailable):
                    await call
            assert await meta.get_manifest(NAME, tags("v1")[0]) is not None
        finally:
            await asyncio.to_thread(postgres.query, "SELECT pg_advisory_unlock_all()", "registry")
        await meta.put_manifest(NAME, manifest("two"))
        assert await meta.delete_tag(NAME, tags("v1")[0])

    use(postgres_url, body, patience=0.5)


def test_nothing_is_answered_after_closing(postgres_url: str) -> None:
    async def body(meta: PostgresRegistryMeta) -> None:
        await meta.close()
        for call in (meta.check(), meta.put_manifest(NAME, manifest()), meta.inspect_rows(1)):
            with pytest.raises(StoreUnavailable):
                await call

    use(postgres_url, body)


@pytest.mark.parametrize("text", ["\0", "a\0", "\ud800", "a\U0001f433"])
def test_text_that_postgresql_does_not_take_finds_nothing(postgres_url: str, text: str) -> None:
    async def body(meta: PostgresRegistryMeta) -> None:
        subject = manifest("subject")
        await meta.put_manifest(NAME, manifest(subject=subject.digest, artifact_type="a/b"), tags("a1", "b"))
        assert await meta.list_referrers(NAME, subject.digest, text, "", 10) == []
        assert await meta.list_tags(NAME, text, 10) in (["a1", "b"], ["b"], [])
        assert await meta.list_tags(NAME, "a\0", 10) == ["a1", "b"]

    use(postgres_url, body)


def test_migrating_makes_the_tables_that_the_schema_describes(postgres: PostgresServer, postgres_url: str) -> None:
    statements: list[str] = []
    dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
    engine = create_mock_engine(
        "postgresql+asyncpg://", lambda sql, *_: statements.append(str(sql.compile(dialect=dialect)))
    )
    metadata.create_all(engine, checkfirst=False)
    postgres.query("CREATE DATABASE described TEMPLATE template0")
    try:
        for statement in statements:
            postgres.query(statement, "described")
        for sql in (TABLES, INDEXES, KEYS):
            migrated = postgres.query(sql, "registry")
            assert migrated == postgres.query(sql, "described")
            assert migrated != []
    finally:
        postgres.drop("described")


def test_replicas_that_start_together_on_a_new_database_all_start(postgres: PostgresServer) -> None:
    async def start() -> None:
        metas = [PostgresRegistryMeta(postgres.url("fresh")) for _ in range(6)]
        await asyncio.gather(*(meta.check() for meta in metas))
        await asyncio.gather(*(meta.close() for meta in metas))

    postgres.query("CREATE DATABASE fresh TEMPLATE template0")
    try:
        asyncio.run(start())
        assert postgres.query("SELECT version_num FROM alembic_version", "fresh") == [(HEAD,)]
    finally:
        postgres.drop("fresh")


def test_tables_of_a_newer_version_are_refused_and_left_as_they_are(postgres: PostgresServer) -> None:
    async def body(meta: PostgresRegistryMeta) -> None:
        with pytest.raises(SchemaTooNew, match=r"9999.*newer"):
            await meta.check()

    name = postgres.make_registry("newer")
    try:
        postgres.query("UPDATE alembic_version SET version_num = '9999'", name)
        use(postgres.url(name), body)
        assert postgres.query("SELECT version_num FROM alembic_version", name) == [("9999",)]
    finally:
        postgres.drop(name)


def test_a_url_of_something_else_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="postgresql://") as refused:
        PostgresRegistryMeta("mysql://me:secret@host/db")
    assert "secret" not in str(refused.value)
