"""Counting in the stores of metadata."""

import asyncio
from pathlib import Path

import pytest

from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.quota import Resource
from ferro_oci_server.testing.registry_meta import OpenMeta
from ferro_oci_server.testing.registry_meta.samples import NAME
from ferro_oci_server.testing.registry_meta.usage import UsageSuite


class TestInMemoryUsage(UsageSuite):
    """In memory."""

    @pytest.fixture
    def open_store(self) -> OpenMeta:
        return InMemoryRegistryMeta


class TestSqliteUsage(UsageSuite):
    """In SQLite."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenMeta:
        return lambda: SqliteRegistryMeta(tmp_path / "registry.db")


def test_a_file_that_cannot_be_counted_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    meta = SqliteRegistryMeta(path)
    path.rename(tmp_path / "moved.db")
    path.mkdir()

    async def body() -> None:
        with pytest.raises(StoreUnavailable):
            await meta.usage(NAME, Resource.TAGS)
        await meta.close()

    asyncio.run(body())
