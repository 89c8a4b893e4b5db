"""Credentials in the stores of metadata."""

from pathlib import Path

import pytest

from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.testing.registry_meta import OpenMeta
from ferro_oci_server.testing.registry_meta.access import CredentialSuite


class TestInMemoryCredentials(CredentialSuite):
    """In memory."""

    @pytest.fixture
    def open_store(self) -> OpenMeta:
        return InMemoryRegistryMeta


class TestSqliteCredentials(CredentialSuite):
    """In SQLite."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenMeta:
        return lambda: SqliteRegistryMeta(tmp_path / "registry.db")
