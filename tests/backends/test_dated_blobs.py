"""How old blobs are, and what a disk does not give back."""

import asyncio
from io import FileIO
from pathlib import Path

import pytest

from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.blob.reading import FileReader
from ferro_oci_server.backends.blob.threads import Threads
from ferro_oci_server.core.inspection import DatedBlobs
from ferro_oci_server.core.ports import BlobStore, StoreCorrupted
from ferro_oci_server.testing.blob_store.steps import put

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return InMemoryBlobStore() if request.param == "memory" else FsBlobStore(tmp_path)


async def test_a_blob_has_an_age_for_as_long_as_it_is_there(store: BlobStore) -> None:
    assert isinstance(store, DatedBlobs)
    location = await put(store, b"content")
    age = await store.age(location)
    assert age is not None
    assert 0 <= age < 60
    await store.delete(location)
    assert await store.age(location) is None
    await store.close()


async def test_what_is_no_location_has_no_age(store: BlobStore) -> None:
    assert isinstance(store, DatedBlobs)
    assert await store.age("../registry.db") is None
    await store.close()


async def test_bytes_that_the_disk_does_not_give_back_are_lost() -> None:
    threads = Threads()
    # Of the memory at address 0 the system says what it says of a bad sector: EIO.
    reader = FileReader(await asyncio.to_thread(FileIO, "/proc/self/mem"), 1, threads)
    with pytest.raises(StoreCorrupted):
        _ = [piece async for piece in reader.pieces(0, 10)]
    await reader.close()
    await threads.close()
