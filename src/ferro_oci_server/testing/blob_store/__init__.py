"""What a blob store does, as tests that any implementation should pass.

    class TestMyBlobStore(PersistentBlobStoreSuite):
        @pytest.fixture
        def open_store(self, tmp_path: Path) -> OpenStore:
            return lambda: MyBlobStore(tmp_path)

``BlobStoreSuite`` is for a store that forgets. A test opens its store, which may block, uses it in an event loop of its
own and closes it there: no plugin is needed.
"""

import pytest

from ferro_oci_server.core.ports import BlobStore
from ferro_oci_server.core.records import StagedBytes
from ferro_oci_server.testing.behaviour import behaviour, use
from ferro_oci_server.testing.blob_store.blobs import BlobTests
from ferro_oci_server.testing.blob_store.commits import CommitTests
from ferro_oci_server.testing.blob_store.staging import StagingTests
from ferro_oci_server.testing.blob_store.steps import NOTHING, OpenStore, append, new_upload, pieces_of, put, read

__all__ = ["BlobStoreSuite", "OpenStore", "PersistentBlobStoreSuite"]


class BlobStoreSuite(BlobTests, StagingTests, CommitTests):
    """All behaviours; a subclass gives the store."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """What opens the store under test."""
        raise NotImplementedError("give the fixture open_store")

    @behaviour
    async def test_a_working_store_passes_its_check(self, store: BlobStore) -> None:
        await store.check()

    @behaviour
    async def test_the_least_length_of_a_chunk_is_no_negative_number(self, store: BlobStore) -> None:
        assert store.chunk_min_length >= 0


class PersistentBlobStoreSuite(BlobStoreSuite):
    """The behaviours of a store that keeps its content: another one, opened on the same place, finds it."""

    def test_everything_is_there_after_opening_again(self, open_store: OpenStore) -> None:
        upload = new_upload()

        async def fill(store: BlobStore) -> StagedBytes:
            await put(store, b"content")
            return await append(store, upload, NOTHING, pieces_of(b"staged"))

        async def look(store: BlobStore) -> None:
            assert [await read(store, location) async for location in store.list()] == [b"content"]
            assert (await append(store, upload, staged, pieces_of(b"!"))).size == 7

        staged = use(open_store, fill)
        use(open_store, look)
