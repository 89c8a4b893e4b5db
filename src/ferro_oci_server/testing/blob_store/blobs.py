"""Blobs: read, listed and deleted."""

import asyncio
from contextlib import nullcontext

import pytest

from ferro_oci_server.core.ports import BlobStore, StoreCorrupted
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.blob_store.steps import (
    MIB,
    NOTHING,
    append,
    commit,
    content_of,
    new_upload,
    pieces_of,
    put,
    read,
)

__all__ = ["BlobTests"]


class BlobTests:
    """What is true of a blob that was committed."""

    keeps_open_blobs = True
    """Whether a blob that is deleted is still read to its end by whoever has opened it before."""

    @behaviour
    async def test_a_committed_blob_reads_back(self, store: BlobStore) -> None:
        location = await put(store, b"content")
        assert await read(store, location) == b"content"

    @behaviour
    async def test_an_empty_blob_is_a_blob(self, store: BlobStore) -> None:
        location = await put(store, b"")
        assert await read(store, location) == b""

    @behaviour
    async def test_an_empty_blob_needs_no_append(self, store: BlobStore) -> None:
        location = await commit(store, new_upload(), NOTHING, Digest.of(b""))
        assert await read(store, location) == b""

    @behaviour
    async def test_a_blob_may_have_a_sha512_digest(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(b"content"))
        location = await commit(store, upload, staged, Digest.of(b"content", Algorithm.SHA512))
        assert await read(store, location) == b"content"
        assert [location async for location in store.list()] == [location]

    @behaviour
    async def test_a_reader_knows_the_size_before_it_reads(self, store: BlobStore) -> None:
        reader = await store.open(await put(store, b"content"))
        assert reader is not None
        assert reader.size == 7
        await reader.close()

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, 0), (0, 1), (1, 2), (MIB - 1, MIB + 1), (MIB, 2 * MIB), (5, 3 * MIB), (3 * MIB, 3 * MIB)],
    )
    @behaviour
    async def test_any_part_of_a_blob_can_be_read(self, store: BlobStore, start: int, stop: int) -> None:
        content = content_of(3 * MIB)
        reader = await store.open(await put(store, content))
        assert reader is not None
        part = b"".join([piece async for piece in reader.pieces(start, stop)])
        assert part == content[start:stop]
        await reader.close()

    @behaviour
    async def test_two_parts_of_a_blob_can_be_read_at_once(self, store: BlobStore) -> None:
        content = content_of(4 * MIB)
        reader = await store.open(await put(store, content))
        assert reader is not None

        async def part(start: int, stop: int) -> bytes:
            return b"".join([piece async for piece in reader.pieces(start, stop)])

        halves = await asyncio.gather(part(0, 2 * MIB), part(2 * MIB, 4 * MIB))
        assert b"".join(halves) == content
        await reader.close()

    @behaviour
    async def test_a_blob_need_not_be_read_to_its_end(self, store: BlobStore) -> None:
        content = content_of(4 * MIB)
        reader = await store.open(await put(store, content))
        assert reader is not None
        pieces = reader.pieces(0, reader.size)
        assert content.startswith(await anext(pieces))
        await reader.close()

    @behaviour
    async def test_a_blob_arrives_in_pieces(self, store: BlobStore) -> None:
        upload, digest = new_upload(), Digest.of(content_of(MIB) * 16)
        staged = await append(store, upload, NOTHING, pieces_of(*[content_of(MIB)] * 16))
        reader = await store.open(await commit(store, upload, staged, digest))
        assert reader is not None
        assert max([len(piece) async for piece in reader.pieces(0, reader.size)]) <= 8 * MIB
        await reader.close()

    @behaviour
    async def test_a_reader_may_be_closed_twice(self, store: BlobStore) -> None:
        reader = await store.open(await put(store, b"content"))
        assert reader is not None
        await reader.close()
        await reader.close()

    @behaviour
    async def test_a_deleted_blob_is_read_to_its_end_or_found_to_be_lost(self, store: BlobStore) -> None:
        content = content_of(4 * MIB)
        location = await put(store, content)
        reader = await store.open(location)
        assert reader is not None
        await store.delete(location)
        with nullcontext() if self.keeps_open_blobs else pytest.raises(StoreCorrupted):
            assert b"".join([piece async for piece in reader.pieces(0, reader.size)]) == content
        await reader.close()

    @pytest.mark.parametrize(
        "location",
        ["", ".", "..", "../..", "/", "/etc/passwd", "sha256", "sha256/", "sha256/../uploads", "a\0b", "\udcff"],
    )
    @behaviour
    async def test_there_is_nothing_at_a_location_that_no_commit_gave(self, store: BlobStore, location: str) -> None:
        await put(store, b"content")
        assert await store.open(location) is None
        assert await store.delete(location) is False

    @behaviour
    async def test_a_location_is_taken_whole(self, store: BlobStore) -> None:
        location = await put(store, b"content")
        for variant in (f"{location}\n", f"{location}/", f"./{location}", f"/{location}", location.upper()):
            assert await store.open(variant) is None
            assert await store.delete(variant) is False
        assert await read(store, location) == b"content"

    @behaviour
    async def test_a_deleted_blob_is_gone(self, store: BlobStore) -> None:
        location = await put(store, b"content")
        assert await store.delete(location) is True
        assert await store.open(location) is None
        assert [location async for location in store.list()] == []

    @behaviour
    async def test_deleting_again_tells_that_nothing_was_there(self, store: BlobStore) -> None:
        location = await put(store, b"content")
        await store.delete(location)
        assert await store.delete(location) is False

    @behaviour
    async def test_deleting_one_blob_leaves_the_others(self, store: BlobStore) -> None:
        location, other = await put(store, b"content"), await put(store, b"other")
        await store.delete(location)
        assert await read(store, other) == b"other"

    @behaviour
    async def test_a_deleted_blob_can_be_pushed_again(self, store: BlobStore) -> None:
        await store.delete(await put(store, b"content"))
        assert await read(store, await put(store, b"content")) == b"content"

    @behaviour
    async def test_a_new_store_lists_nothing(self, store: BlobStore) -> None:
        assert [location async for location in store.list()] == []

    @behaviour
    async def test_all_blobs_are_listed_and_nothing_that_is_staged(self, store: BlobStore) -> None:
        locations = [await put(store, b"%d" % number) for number in range(20)]
        await append(store, new_upload(), NOTHING, pieces_of(b"staged"))
        assert sorted([location async for location in store.list()]) == sorted(locations)

    @behaviour
    async def test_blobs_may_be_deleted_while_they_are_listed(self, store: BlobStore) -> None:
        for number in range(20):
            await put(store, b"%d" % number)
        async for location in store.list():
            await store.delete(location)
        assert [location async for location in store.list()] == []
