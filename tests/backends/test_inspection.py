"""Verification in the stores of metadata."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.inspection import FindingKind
from ferro_oci_server.testing.registry_meta import OpenMeta
from ferro_oci_server.testing.registry_meta.inspection import HOUR, InspectionSuite, add_blobs
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, add_blob, manifest, tags


class TestInMemoryInspection(InspectionSuite):
    """In memory."""

    @pytest.fixture
    def open_store(self) -> OpenMeta:
        return InMemoryRegistryMeta


class TestSqliteInspection(InspectionSuite):
    """In SQLite."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenMeta:
        return lambda: SqliteRegistryMeta(tmp_path / "registry.db")


async def fill(meta: SqliteRegistryMeta) -> None:
    blob = await add_blob(meta)
    await add_blob(meta, OTHER, "other")
    await meta.put_manifest(NAME, manifest(blobs=(blob.digest,)), tags("v1"))


LOOSE = {
    "DELETE FROM blobs WHERE size = 4": "the link of a blob that is not recorded",
    "DELETE FROM repository_blobs": "a blob that no repository links",
    "UPDATE tags SET manifest_id = 99": "a tag whose manifest is not in its repository",
    "UPDATE tags SET repository_id = 2": "a tag whose manifest is not in its repository",
    "UPDATE manifest_references SET manifest_id = 99": "a reference of a manifest that is not there",
    "UPDATE manifest_references SET repository_id = 2": "a reference of a manifest that is not there",
    "UPDATE manifests SET repository_id = 99": "a manifest of a repository that is not there",
}


@pytest.mark.parametrize(("sql", "problem"), LOOSE.items())
def test_rows_that_belong_to_nothing_are_found(tmp_path: Path, sql: str, problem: str) -> None:
    meta = SqliteRegistryMeta(tmp_path / "registry.db")

    async def damage() -> None:
        await fill(meta)
        with sqlite3.connect(tmp_path / "registry.db") as database:
            database.execute(sql)
        database.close()
        findings = await meta.inspect_rows(10)
        assert {finding.kind for finding in findings} == {FindingKind.ROW}
        assert problem in {finding.problem for finding in findings}
        await meta.close()

    asyncio.run(damage())


def test_the_scrub_goes_on_after_opening_again(tmp_path: Path) -> None:
    async def first() -> list[str]:
        await add_blobs(meta, 5)
        return [inspected.blob.digest for inspected in await meta.next_to_scrub(3, HOUR)]

    async def second() -> list[str]:
        return [inspected.blob.digest for inspected in await meta.next_to_scrub(3, HOUR)]

    meta = SqliteRegistryMeta(tmp_path / "registry.db")
    seen = asyncio.run(first())
    asyncio.run(meta.close())
    meta = SqliteRegistryMeta(tmp_path / "registry.db")
    seen += asyncio.run(second())
    asyncio.run(meta.close())
    assert len(seen) == len(set(seen)) == 5


def test_a_clock_that_was_set_back_ends_the_rest(tmp_path: Path) -> None:
    now = 1000.0

    async def scrub() -> None:
        nonlocal now
        await add_blobs(meta, 1)
        await meta.next_to_scrub(3, HOUR)
        assert await meta.next_to_scrub(3, HOUR) == []
        assert await meta.next_to_scrub(3, HOUR) == []
        now = 10.0
        assert len(await meta.next_to_scrub(3, HOUR)) == 1
        await meta.close()

    meta = SqliteRegistryMeta(tmp_path / "registry.db", clock=lambda: now)
    asyncio.run(scrub())
