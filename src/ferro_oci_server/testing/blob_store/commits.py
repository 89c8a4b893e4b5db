"""Commits: from staged bytes to a blob."""

import asyncio
from dataclasses import replace

import pytest

from ferro_oci_server.core.ports import BlobStore, StagedBytesMissing
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

__all__ = ["CommitTests"]


class CommitTests:
    """What is true of the way from one to the other."""

    @behaviour
    async def test_nothing_is_staged_after_a_commit(self, store: BlobStore) -> None:
        upload = new_upload()
        await put(store, b"content", upload)
        with pytest.raises(StagedBytesMissing):
            await read_staged(store, upload, StagedBytes(1))
        with pytest.raises(StagedBytesMissing):
            await append(store, upload, StagedBytes(7), pieces_of(b"more"))

    @behaviour
    async def test_a_blob_is_not_there_before_its_commit(self, store: BlobStore) -> None:
        location = await put(store, b"content")
        await store.delete(location)
        await append(store, new_upload(), NOTHING, pieces_of(b"content"))
        assert await store.open(location) is None

    @behaviour
    async def test_a_commit_leaves_out_what_is_staged_behind_its_size(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(b"content and more"))
        location = await commit(store, upload, replace(staged, size=7), Digest.of(b"content"))
        assert await read(store, location) == b"content"
        with pytest.raises(StagedBytesMissing):
            await read_staged(store, upload, StagedBytes(1))

    @behaviour
    async def test_an_empty_commit_leaves_out_all_that_is_staged(self, store: BlobStore) -> None:
        upload = new_upload()
        await append(store, upload, NOTHING, pieces_of(b"dropped"))
        assert await read(store, await commit(store, upload, NOTHING, Digest.of(b""))) == b""

    @behaviour
    async def test_a_commit_of_more_than_is_staged_is_refused(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(b"cont"))
        with pytest.raises(StagedBytesMissing):
            await commit(store, upload, replace(staged, size=7), Digest.of(b"content"))
        assert await read_staged(store, upload, staged) == b"cont"
        assert [location async for location in store.list()] == []

    @behaviour
    async def test_a_commit_of_what_was_never_staged_is_refused(self, store: BlobStore) -> None:
        with pytest.raises(StagedBytesMissing):
            await commit(store, new_upload(), StagedBytes(7), Digest.of(b"content"))

    @behaviour
    async def test_a_repeated_commit_changes_nothing(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(b"content"))
        for _ in range(2):
            assert await read(store, await commit(store, upload, staged, Digest.of(b"content"))) == b"content"
        assert len([location async for location in store.list()]) == 1

    @behaviour
    async def test_a_repeated_commit_of_another_size_is_refused(self, store: BlobStore) -> None:
        upload = new_upload()
        staged = await append(store, upload, NOTHING, pieces_of(b"content"))
        await commit(store, upload, staged, Digest.of(b"content"))
        with pytest.raises(StagedBytesMissing):
            await commit(store, upload, replace(staged, size=8), Digest.of(b"content"))

    @behaviour
    async def test_each_upload_makes_a_blob_of_its_own(self, store: BlobStore) -> None:
        first, second = await put(store, b"content"), await put(store, b"content")
        assert first != second
        await store.delete(first)
        assert await read(store, second) == b"content"

    @behaviour
    async def test_the_same_blob_can_be_committed_by_many_uploads_at_once(self, store: BlobStore) -> None:
        locations = await asyncio.gather(*(put(store, b"content") for _ in range(16)))
        assert {await read(store, location) for location in locations} == {b"content"}
