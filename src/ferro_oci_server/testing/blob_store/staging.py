"""Staged bytes: claimed, appended to, read and discarded."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ferro_oci_server.core.ports import BlobStore, StagedBytesMissing, UploadBusy
from ferro_oci_server.core.records import StagedBytes
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.blob_store.steps import (
    MIB,
    NOTHING,
    append,
    commit,
    content_of,
    endless,
    failing,
    new_upload,
    pieces_of,
    put,
    read,
    read_staged,
    waiting,
)

__all__ = ["StagingTests"]


class StagingTests:
    """What is true of an upload that has not become a blob."""

    @behaviour
    async def test_an_append_tells_how_many_bytes_there_are(self, store: BlobStore) -> None:
        upload = new_upload()
        first = await append(store, upload, NOTHING, pieces_of(b"one", b"", b"two"))
        both = await append(store, upload, first, pieces_of(b"three"))
        assert (first.size, both.size) == (6, 11)
        assert await read_staged(store, upload, both) == b"onetwothree"

    @behaviour
    async def test_an_append_of_nothing_changes_nothing(self, store: BlobStore) -> None:
        upload = new_upload()
        assert (await append(store, upload, NOTHING, pieces_of())).size == 0
        kept = await append(store, upload, NOTHING, pieces_of(b"kept"))
        again = await append(store, upload, kept, pieces_of())
        assert again.size == 4
        assert await read_staged(store, upload, again) == b"kept"

    @behaviour
    async def test_an_append_drops_what_is_behind_its_offset(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(b"kept and dropped"))
        staged = await append(store, upload, replace(staged, size=4), pieces_of(b"!"))
        assert staged.size == 5
        assert await read_staged(store, upload, staged) == b"kept!"
        with pytest.raises(StagedBytesMissing):
            await read_staged(store, upload, replace(staged, size=6))

    @behaviour
    async def test_an_append_beyond_the_end_is_refused(self, store: BlobStore) -> None:
        upload = new_upload()
        kept = await append(store, upload, NOTHING, pieces_of(b"kept"))
        with pytest.raises(StagedBytesMissing):
            await append(store, upload, replace(kept, size=5), pieces_of(b"more"))
        assert await read_staged(store, upload, kept) == b"kept"

    @behaviour
    async def test_an_append_to_what_was_never_begun_is_refused(self, store: BlobStore) -> None:
        with pytest.raises(StagedBytesMissing):
            await append(store, new_upload(), StagedBytes(1), pieces_of(b"more"))

    @behaviour
    async def test_what_the_pieces_raise_passes_through(self, store: BlobStore) -> None:
        # A lost connection is an OSError, as a broken disk is.
        failure = ConnectionResetError()
        with pytest.raises(ConnectionResetError) as raised:
            await append(store, new_upload(), NOTHING, failing(failure, b"piece"))
        assert raised.value is failure

    @behaviour
    async def test_a_failed_append_leaves_what_was_there_before(self, store: BlobStore) -> None:
        upload = new_upload()
        kept = await append(store, upload, NOTHING, pieces_of(b"kept"))
        with pytest.raises(ConnectionResetError):
            await append(store, upload, kept, failing(ConnectionResetError(), content_of(3 * MIB), b"piece"))
        assert await read_staged(store, upload, kept) == b"kept"
        more = await append(store, upload, kept, pieces_of(b"!"))
        assert await read_staged(store, upload, more) == b"kept!"

    @behaviour
    async def test_a_cancelled_append_leaves_what_was_there_before(self, store: BlobStore) -> None:
        upload, arrived = new_upload(), asyncio.Event()
        kept = await append(store, upload, NOTHING, pieces_of(b"kept"))
        appending = asyncio.create_task(append(store, upload, kept, endless(arrived)))
        await arrived.wait()
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        more = await append(store, upload, kept, pieces_of(b"!"))
        assert await read_staged(store, upload, more) == b"kept!"

    @behaviour
    async def test_an_upload_has_one_writer(self, store: BlobStore) -> None:
        upload, arrived, go_on = new_upload(), asyncio.Event(), asyncio.Event()
        appending = asyncio.create_task(append(store, upload, NOTHING, waiting(arrived, go_on)))
        await arrived.wait()
        with pytest.raises(UploadBusy):
            await append(store, upload, NOTHING, pieces_of(b"other"))
        with pytest.raises(UploadBusy):
            await commit(store, upload, StagedBytes(5), Digest.of(b"first"))
        go_on.set()
        assert await read_staged(store, upload, await appending) == b"firstsecond"

    @behaviour
    async def test_a_claim_is_exclusive_until_its_block_ends(self, store: BlobStore) -> None:
        upload = new_upload()
        async with store.claim(upload) as claimed:
            staged = await claimed.append(NOTHING, pieces_of(b"kept"))
            with pytest.raises(UploadBusy):
                await append(store, upload, NOTHING, pieces_of(b"other"))
            staged = await claimed.append(staged, pieces_of(b"!"))
        staged = await append(store, upload, staged, pieces_of(b"?"))
        assert await read_staged(store, upload, staged) == b"kept!?"

    @behaviour
    async def test_a_claim_ends_with_an_exception(self, store: BlobStore) -> None:
        upload = new_upload()
        with pytest.raises(ConnectionResetError):
            async with store.claim(upload):
                raise ConnectionResetError
        assert (await append(store, upload, NOTHING, pieces_of(b"kept"))).size == 4

    @behaviour
    async def test_what_is_discarded_under_a_claim_is_not_committed(self, store: BlobStore) -> None:
        upload = new_upload()
        async with store.claim(upload) as claimed:
            staged = await claimed.append(NOTHING, pieces_of(b"content"))
            await store.discard(upload)
            with pytest.raises(StagedBytesMissing):
                await claimed.commit(staged, Digest.of(b"content"))
        assert [location async for location in store.list()] == []

    @behaviour
    async def test_uploads_do_not_wait_for_each_other(self, store: BlobStore) -> None:
        upload, arrived, go_on = new_upload(), asyncio.Event(), asyncio.Event()
        appending = asyncio.create_task(append(store, upload, NOTHING, waiting(arrived, go_on)))
        await arrived.wait()
        assert await read(store, await put(store, b"other")) == b"other"
        go_on.set()
        await appending

    @behaviour
    async def test_many_uploads_at_once_keep_their_bytes_apart(self, store: BlobStore) -> None:
        contents = [content_of(50_000 + number) for number in range(64)]
        locations = await asyncio.gather(*(put(store, content) for content in contents))
        assert await asyncio.gather(*(read(store, location) for location in locations)) == contents

    @behaviour
    async def test_a_large_blob_passes_through_in_small_pieces(self, store: BlobStore) -> None:
        piece, sent, received = content_of(8 * 1024), hashlib.sha256(), hashlib.sha256()

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(4096):
                sent.update(piece)
                yield piece

        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces())
        location = await commit(store, upload, staged, Digest(f"sha256:{sent.hexdigest()}"))
        reader = await store.open(location)
        assert reader is not None
        async for part in reader.pieces(0, reader.size):
            received.update(part)
        assert (staged.size, received.digest()) == (32 * MIB, sent.digest())
        await reader.close()

    @behaviour
    async def test_pieces_may_be_single_bytes(self, store: BlobStore) -> None:
        content = content_of(5000)
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(*(content[at : at + 1] for at in range(5000))))
        assert await read_staged(store, upload, staged) == content

    @behaviour
    async def test_the_first_staged_bytes_can_be_read(self, store: BlobStore) -> None:
        upload, content = new_upload(), content_of(3 * MIB)
        staged = await append(store, upload, NOTHING, pieces_of(content))
        assert await read_staged(store, upload, replace(staged, size=2 * MIB + 1)) == content[: 2 * MIB + 1]
        assert await read_staged(store, upload, NOTHING) == b""

    @behaviour
    async def test_staged_bytes_that_are_not_there_are_missing(self, store: BlobStore) -> None:
        upload = new_upload()
        with pytest.raises(StagedBytesMissing):
            await read_staged(store, upload, StagedBytes(1))
        kept = await append(store, upload, NOTHING, pieces_of(b"kept"))
        with pytest.raises(StagedBytesMissing):
            await read_staged(store, upload, replace(kept, size=5))

    @behaviour
    async def test_reading_staged_bytes_may_stop_early(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(content_of(3 * MIB)))
        async with store.claim(upload) as claimed:
            await anext(claimed.read(staged))
        assert (await append(store, upload, NOTHING, pieces_of(b"other"))).size == 5

    @behaviour
    async def test_discarded_bytes_are_gone(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(b"content"))
        await store.discard(upload)
        with pytest.raises(StagedBytesMissing):
            await append(store, upload, staged, pieces_of(b"more"))
        with pytest.raises(StagedBytesMissing):
            await commit(store, upload, staged, Digest.of(b"content"))

    @behaviour
    async def test_discarding_nothing_is_no_error(self, store: BlobStore) -> None:
        await store.discard(new_upload())
