"""The metadata store in SQLite: the common behaviours, and what is true of files and processes only."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.backends.meta.sqlite_connection import connect
from ferro_oci_server.core.ports import StoreCorrupted, StoreUnavailable
from ferro_oci_server.core.records import ManifestRecord
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.registry_meta import OpenMeta, PersistentRegistryMetaSuite

NAME = RepositoryName("library/app")


class TestSqliteRegistryMeta(PersistentRegistryMetaSuite):
    @pytest.fixture
    def open_store(self, path: Path) -> OpenMeta:
        return lambda: SqliteRegistryMeta(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


def use(meta: SqliteRegistryMeta, *bodies: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run each body in an event loop of its own; close the store in the last."""

    async def close() -> None:
        await meta.close()

    try:
        for body in bodies:
            asyncio.run(body())
    finally:
        asyncio.run(close())


def make(path: Path) -> None:
    """Make an empty database."""
    use(SqliteRegistryMeta(path))


def manifest(text: str, **fields: Any) -> ManifestRecord:
    content = text.encode()
    return ManifestRecord(Digest.of(content), OCI_IMAGE_MANIFEST, content, **fields)


def query(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def count_commits(path: Path) -> int:
    """How many transactions the log holds: the last frame of each says how large the database then is."""
    log = path.with_name(path.name + "-wal").read_bytes()
    page_size, salts = int.from_bytes(log[8:12], "big"), log[16:24]
    frames = (log[start : start + 24] for start in range(32, len(log), 24 + page_size))
    return sum(frame[8:16] == salts and frame[4:8] != bytes(4) for frame in frames)


class TestFiles:
    @pytest.mark.parametrize(
        ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)]
    )
    def test_a_connection_is_durable_and_checks_its_keys(self, path: Path, pragma: str, value: object) -> None:
        connection = connect(path, 5.0)
        assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)
        connection.close()

    @pytest.mark.parametrize("word", ["", ":memory:"])
    def test_a_database_in_memory_is_refused(self, word: str) -> None:
        with pytest.raises(ValueError, match="InMemoryRegistryMeta"):
            SqliteRegistryMeta(word)

    def test_a_path_may_have_any_characters(self, tmp_path: Path) -> None:
        path = tmp_path / "100%?mode=memory#'\".db"
        make(path)
        assert path.stat().st_size > 0

    def test_a_folder_that_is_not_there_makes_the_store_unavailable(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match=r"missing/registry\.db"):
            SqliteRegistryMeta(tmp_path / "missing" / "registry.db")

    @pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 9000])
    def test_a_damaged_file_is_refused_and_left_as_it_is(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(StoreCorrupted, match=r"registry\.db.*backup"):
            SqliteRegistryMeta(path)
        assert path.read_bytes() == content

    def test_a_file_with_damaged_pages_is_refused_and_left_as_it_is(self, path: Path) -> None:
        make(path)
        content = path.read_bytes()[:4096] + b"\xff" * 65536
        path.write_bytes(content)
        with pytest.raises(StoreCorrupted, match="backup"):
            SqliteRegistryMeta(path)
        assert path.read_bytes() == content

    def test_damage_that_is_found_later_is_told(self, path: Path) -> None:
        make(path)
        ((root,),) = query(path, "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_repositories_1'")
        content = bytearray(path.read_bytes())
        content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
        path.write_bytes(content)
        meta = SqliteRegistryMeta(path)

        async def body() -> None:
            with pytest.raises(StoreCorrupted):
                await meta.list_tags(NAME, "", 1)
            with pytest.raises(StoreCorrupted):
                await meta.put_manifest(NAME, manifest("x"))

        use(meta, body)

    def test_the_database_of_another_program_is_refused_and_left_as_it_is(self, path: Path) -> None:
        query(path, "CREATE TABLE tags (id INTEGER)")
        with pytest.raises(StoreCorrupted, match="some other program"):
            SqliteRegistryMeta(path)
        assert query(path, "SELECT name FROM sqlite_master") == [("tags",)]

    def test_a_log_whose_database_is_missing_is_refused_and_kept(self, path: Path) -> None:
        log = path.with_name(path.name + "-wal")
        log.write_bytes(b"the last transactions")
        with pytest.raises(StoreCorrupted, match="write-ahead log"):
            SqliteRegistryMeta(path)
        assert log.read_bytes() == b"the last transactions"

    def test_a_deleted_manifest_leaves_no_rows(self, path: Path) -> None:
        meta = SqliteRegistryMeta(path)
        record = manifest("x", optional=(Digest.of(b"a"), Digest.of(b"b")))

        async def body() -> None:
            await meta.put_manifest(NAME, record, (Tag("latest"),))
            assert query(path, "SELECT count(*) FROM manifest_references") == [(2,)]
            await meta.delete_manifest(NAME, record.digest)

        use(meta, body)
        for table in ("manifests", "manifest_references", "tags"):
            assert query(path, f"SELECT count(*) FROM {table}") == [(0,)]

    def test_times_are_those_of_the_clock_in_milliseconds(self, path: Path) -> None:
        meta = SqliteRegistryMeta(path, clock=lambda: 1234.5678)

        async def body() -> None:
            await meta.put_manifest(NAME, manifest("x"), (Tag("latest"),))

        use(meta, body)
        assert query(path, "SELECT pushed_at, updated_at FROM manifests, tags") == [(1234567, 1234567)]


class TestLoopsAndProcesses:
    def test_a_store_serves_one_event_loop_after_another(self, path: Path) -> None:
        meta = SqliteRegistryMeta(path)

        async def put() -> None:
            await meta.put_manifest(NAME, manifest("x"), (Tag("latest"),))

        async def look() -> None:
            assert await meta.stat_manifest(NAME, Tag("latest")) is not None

        use(meta, put, look, put)

    def test_a_closed_store_is_unavailable(self, path: Path) -> None:
        meta = SqliteRegistryMeta(path)
        use(meta)

        async def body() -> None:
            for call in (meta.check(), meta.list_tags(NAME, "", 1), meta.put_manifest(NAME, manifest("x"))):
                with pytest.raises(StoreUnavailable):
                    await call

        asyncio.run(body())

    def test_concurrent_writes_share_their_commits(self, path: Path) -> None:
        meta = SqliteRegistryMeta(path)

        async def body() -> None:
            before = count_commits(path)
            await asyncio.gather(*(meta.put_manifest(NAME, manifest(f"{number}")) for number in range(200)))
            assert 1 <= count_commits(path) - before <= 50

        use(meta, body)

    def test_two_stores_on_one_file_both_write_and_see_what_the_other_wrote(self, path: Path) -> None:
        one, two = SqliteRegistryMeta(path), SqliteRegistryMeta(path)

        async def body() -> None:
            await asyncio.gather(
                *(
                    store.put_manifest(NAME, manifest(f"{number}"), (Tag(f"v{number:02}"),))
                    for number, store in enumerate([one, two] * 50)
                )
            )
            expected = [f"v{number:02}" for number in range(100)]
            assert await one.list_tags(NAME, "", 1000) == expected
            assert await two.list_tags(NAME, "", 1000) == expected
            await two.close()

        use(one, body)

    def test_processes_that_start_together_on_a_new_file_all_start(self, path: Path) -> None:
        script = f"""
            import asyncio
            from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
            input()
            asyncio.run(SqliteRegistryMeta({str(path)!r}).close())
        """
        workers = [start(script) for _ in range(4)]
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"go\n")
            worker.stdin.flush()
        outputs = [worker.communicate() for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * 4, outputs

    def test_what_was_acknowledged_survives_a_kill(self, path: Path) -> None:
        script = f"""
            import asyncio
            from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
            from ferro_oci_server.core.records import ManifestRecord
            from ferro_oci_server.oci.digest import Digest
            from ferro_oci_server.oci.name import RepositoryName
            from ferro_oci_server.oci.reference import Tag

            async def write(meta, worker):
                for number in range(100_000):
                    content = f"{{worker}}-{{number}}".encode()
                    record = ManifestRecord(Digest.of(content), "application/json", content)
                    await meta.put_manifest(RepositoryName("library/app"), record, [Tag(content.decode())])
                    print(content.decode(), flush=True)

            async def main(meta):
                await asyncio.gather(*(write(meta, worker) for worker in range(16)))

            asyncio.run(main(SqliteRegistryMeta({str(path)!r})))
        """
        worker = start(script)
        assert worker.stdout is not None
        acknowledged = [worker.stdout.readline().decode().strip() for _ in range(500)]
        worker.kill()
        # Not `communicate`: it reads past what `readline` holds already, and the first line would lack its beginning.
        # A line that the kill cut off was not acknowledged.
        acknowledged += [line.decode().strip() for line in worker.stdout if line.endswith(b"\n")]
        worker.communicate()
        meta = SqliteRegistryMeta(path)

        async def body() -> None:
            for tag in acknowledged:
                found = await meta.get_manifest(NAME, Tag(tag))
                assert found is not None
                assert found.content.decode() == tag

        use(meta, body)
        assert query(path, "PRAGMA integrity_check") == [("ok",)]
        assert query(path, "PRAGMA foreign_key_check") == []


def start(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
