"""The metadata store in memory: the common behaviours."""

import pytest

from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.testing.registry_meta import OpenMeta, RegistryMetaSuite


class TestInMemoryRegistryMeta(RegistryMetaSuite):
    @pytest.fixture
    def open_store(self) -> OpenMeta:
        return InMemoryRegistryMeta
