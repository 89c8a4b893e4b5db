"""The blob store in a folder: its threads, and the event loop."""

import asyncio
import errno
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from ferro_oci_server.backends.blob.threads import Threads, as_unavailable, finish, settle
from ferro_oci_server.core.ports import BlobStore, StoreFull, StoreUnavailable
from ferro_oci_server.core.records import StagedBytes
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.blob_store.steps import (
    NOTHING,
    append,
    commit,
    new_upload,
    pieces_of,
    put,
    read,
    read_staged,
)

from .files import OnFiles, open_files

MIB = 1024 * 1024
DIGEST = Digest.of(b"content")

Waiter = Callable[[asyncio.Future[bool]], Coroutine[Any, Any, bool | None]]


class TestThreads(OnFiles):
    """Work in threads, and the event loop."""

    @pytest.mark.parametrize("steps", [*range(20), 25, 30, 40, 60, 80, 120, 200])
    @behaviour
    async def test_an_append_cancelled_at_any_step_leaves_nothing_open(self, store: BlobStore, steps: int) -> None:
        upload = new_upload()
        await append(store, upload, NOTHING, pieces_of(b"con"))
        before = await open_files()
        appending = asyncio.create_task(append(store, upload, StagedBytes(3), pieces_of(*[bytes(MIB // 4)] * 16)))
        for _ in range(steps):
            await asyncio.sleep(0)
        is_late = not appending.cancel()
        await asyncio.wait([appending])
        assert appending.cancelled() is not is_late
        assert await open_files() == before
        assert await append(store, upload, StagedBytes(3), pieces_of(b"tent")) == StagedBytes(7)
        assert await read_staged(store, upload, StagedBytes(7)) == b"content"

    @pytest.mark.parametrize("steps", range(6))
    @behaviour
    async def test_an_open_cancelled_at_any_step_leaves_nothing_open(self, store: BlobStore, steps: int) -> None:
        location = await put(store, b"content")
        before = await open_files()
        reading = asyncio.create_task(read(store, location))
        for _ in range(steps):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await open_files() == before

    @behaviour
    async def test_an_append_cancelled_twice_still_waits_for_its_thread(self, store: BlobStore) -> None:
        upload = new_upload()
        before = await open_files()
        appending = asyncio.create_task(append(store, upload, NOTHING, pieces_of(*[bytes(MIB)] * 8)))
        while not appending.done():
            await asyncio.sleep(0)
            appending.cancel()
        assert appending.cancelled()
        assert await open_files() == before

    @behaviour
    async def test_a_blob_of_any_size_takes_little_memory(self, store: BlobStore) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(512):
                yield bytes(128 * 1024)

        tracemalloc.start()
        try:
            upload = new_upload()
            staged = await append(store, upload, NOTHING, pieces())
            reader = await store.open(await commit(store, upload, staged, DIGEST))
            assert reader is not None
            assert sum([len(piece) async for piece in reader.pieces(0, staged.size)]) == 64 * MIB
            assert tracemalloc.get_traced_memory()[1] < 8 * MIB
            await reader.close()
        finally:
            tracemalloc.stop()

    @behaviour
    async def test_a_reader_is_closed_after_the_reads_that_have_begun(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go_on, pread = threading.Event(), os.pread
        reader = await store.open(await put(store, bytes(2 * MIB)))
        assert reader is not None
        await anext(reader.pieces(0, MIB))
        monkeypatch.setattr(os, "pread", lambda *args: (go_on.wait(), pread(*args))[1])
        reading = asyncio.ensure_future(anext(reader.pieces(0, MIB)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(reader.close())
        await asyncio.wait([closing], timeout=0.05)
        go_on.set()
        await closing
        piece = await reading
        assert piece
        assert piece == bytes(len(piece))

    @pytest.mark.parametrize("wait", [finish, settle])
    def test_a_cancellation_waits_for_the_thread_and_is_not_lost(self, wait: Waiter) -> None:
        async def body() -> None:
            threads, go_on = Threads(), threading.Event()
            work = threads.start(go_on.wait)
            waiting = asyncio.create_task(wait(work))
            for _ in range(3):
                await asyncio.sleep(0)
                waiting.cancel()
            go_on.set()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            assert work.done()
            await threads.close()

        asyncio.run(body())


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreUnavailable)],
    ids=["disk", "quota", "other"],
)
def test_a_store_says_that_it_is_full_where_the_system_does(number: int, kind: type[StoreUnavailable]) -> None:
    def refuse() -> None:
        raise OSError(number, "refused")

    with pytest.raises(StoreUnavailable) as caught:
        as_unavailable(refuse)
    assert caught.type is kind
