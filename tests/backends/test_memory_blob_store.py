"""The blob store in memory."""

import pytest

from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.testing.blob_store import BlobStoreSuite
from ferro_oci_server.testing.blob_store.steps import OpenStore


class TestInMemoryBlobStore(BlobStoreSuite):
    """It forgets when it is closed."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return InMemoryBlobStore
