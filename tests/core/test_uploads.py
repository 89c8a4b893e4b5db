"""Uploads that change hands: another process, or the same after a restart, goes on with what is stored."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.intake import ClientVanished
from ferro_oci_server.core.ports import StagedBytesMissing
from ferro_oci_server.core.records import Blob, StagedBytes, UploadId, UploadSession
from ferro_oci_server.core.state import AppState
from ferro_oci_server.core.uploads import Uploads
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import DigestInvalid, UploadOutOfOrder, UploadUnknown
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.ranges import ContentRange

pytestmark = pytest.mark.anyio

NAME = RepositoryName("acme/app")
CONTENT = bytes(range(256)) * 4
HALVES = [CONTENT[:500], CONTENT[500:]]


async def pieces(content: Iterable[bytes] = (), *, vanish: bool = False) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece
    if vanish:
        raise ClientVanished


class Processes:
    """Uploads in as many processes as are asked for, on the same stores."""

    def __init__(self) -> None:
        self.blobs = InMemoryBlobStore()
        self.meta = InMemoryRegistryMeta()
        self.first = self.another()

    def another(self) -> Uploads:
        return Uploads(self.blobs, self.meta)


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.mark.parametrize("closing", Algorithm)
@pytest.mark.parametrize("started", Algorithm)
async def test_chunks_may_arrive_in_different_processes(
    processes: Processes, started: Algorithm, closing: Algorithm
) -> None:
    session = await processes.first.start(NAME, started)
    for half in HALVES:
        await processes.another().append(NAME, session.id, pieces([half]))
    digest = Digest.of(CONTENT, closing)
    blob = await processes.another().complete(NAME, session.id, digest, pieces())
    assert (blob.digest, blob.size) == (digest, len(CONTENT))


@pytest.mark.parametrize("closing", Algorithm)
async def test_the_last_chunk_may_come_with_the_closing_to_another_process(
    processes: Processes, closing: Algorithm
) -> None:
    session = await processes.first.start(NAME)
    await processes.first.append(NAME, session.id, pieces(HALVES[:1]))
    digest = Digest.of(CONTENT, closing)
    assert (await processes.another().complete(NAME, session.id, digest, pieces(HALVES[1:]))).digest == digest


async def test_a_wrong_digest_is_found_by_another_process(processes: Processes) -> None:
    session = await processes.first.start(NAME)
    await processes.first.append(NAME, session.id, pieces(HALVES[:1]))
    await processes.another().append(NAME, session.id, pieces(HALVES[1:]))
    with pytest.raises(DigestInvalid):
        await processes.another().complete(NAME, session.id, Digest.of(b"other"), pieces())


async def test_the_digest_of_what_is_kept_is_known_while_one_process_hashes(processes: Processes) -> None:
    session = await processes.first.start(NAME)
    for half in HALVES:
        session = await processes.first.append(NAME, session.id, pieces([half]))
    assert (await processes.another().status(NAME, session.id)).digest == Digest.of(CONTENT)


async def test_the_digest_is_unknown_where_nobody_has_seen_all(processes: Processes) -> None:
    session = await processes.first.start(NAME)
    await processes.first.append(NAME, session.id, pieces(HALVES[:1]))
    assert (await processes.another().append(NAME, session.id, pieces(HALVES[1:]))).digest is None


async def test_a_refused_chunk_does_not_spoil_the_hash(processes: Processes) -> None:
    session = await processes.first.start(NAME)
    await processes.first.append(NAME, session.id, pieces(HALVES[:1]))

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await processes.first.append(NAME, session.id, broken())
    await processes.first.append(NAME, session.id, pieces(HALVES[1:]))
    assert (await processes.first.complete(NAME, session.id, Digest.of(CONTENT), pieces())).size == len(CONTENT)


async def test_a_client_that_vanished_goes_on_in_another_process(processes: Processes) -> None:
    session = await processes.first.start(NAME)
    with pytest.raises(ClientVanished):
        await processes.first.append(NAME, session.id, pieces(HALVES[:1], vanish=True))
    session = await processes.another().status(NAME, session.id)
    assert (session.offset, session.digest) == (500, Digest.of(HALVES[0]))
    await processes.another().append(NAME, session.id, pieces(HALVES[1:]))
    assert (await processes.another().complete(NAME, session.id, Digest.of(CONTENT), pieces())).size == len(CONTENT)


class Cancelling(InMemoryBlobStore):
    """Ends a session at the very moment at which it is claimed."""

    meta: InMemoryRegistryMeta

    @asynccontextmanager
    async def claim(self, upload: UploadId) -> AsyncIterator[Any]:
        async with super().claim(upload) as staged:
            await self.meta.delete_upload(NAME, upload)
            yield staged


async def test_a_session_that_ends_while_it_is_claimed_is_gone() -> None:
    blobs, meta = Cancelling(), InMemoryRegistryMeta()
    blobs.meta = meta
    uploads = Uploads(blobs, meta)
    session = await uploads.start(NAME)
    with pytest.raises(UploadUnknown):
        await uploads.append(NAME, session.id, pieces(HALVES))


class Overtaken(InMemoryBlobStore):
    """Lets another request in, whole, just before a session is claimed."""

    overtake: Callable[[], Awaitable[object]] | None = None

    @asynccontextmanager
    async def claim(self, upload: UploadId) -> AsyncIterator[Any]:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            await overtake()
        async with super().claim(upload) as staged:
            yield staged


async def test_a_chunk_without_a_range_goes_behind_one_that_overtook_it() -> None:
    blobs = Overtaken()
    uploads = Uploads(blobs, InMemoryRegistryMeta())
    session = await uploads.start(NAME)
    blobs.overtake = lambda: uploads.append(NAME, session.id, pieces(HALVES[:1]))
    assert (await uploads.append(NAME, session.id, pieces(HALVES[1:]))).offset == len(CONTENT)
    assert (await uploads.complete(NAME, session.id, Digest.of(CONTENT), pieces())).size == len(CONTENT)


async def test_a_chunk_with_a_range_that_was_overtaken_is_refused() -> None:
    blobs = Overtaken()
    uploads = Uploads(blobs, InMemoryRegistryMeta())
    session = await uploads.start(NAME)
    blobs.overtake = lambda: uploads.append(NAME, session.id, pieces(HALVES[:1]))
    with pytest.raises(UploadOutOfOrder) as caught:
        await uploads.append(NAME, session.id, pieces(HALVES[1:]), ContentRange(0, 524))
    assert caught.value.offset == 500


class Forgetful(InMemoryRegistryMeta):
    """Loses a session at the moment at which it is completed, as where somebody cancels it."""

    async def complete_upload(self, session: UploadSession, blob: Blob) -> bool:
        await self.delete_upload(session.repository, session.id)
        return await super().complete_upload(session, blob)


async def test_a_session_that_ends_while_it_is_completed_is_gone() -> None:
    uploads = Uploads(InMemoryBlobStore(), meta := Forgetful())
    session = await uploads.start(NAME)
    with pytest.raises(UploadUnknown):
        await uploads.complete(NAME, session.id, Digest.of(CONTENT), pieces(HALVES))
    assert await meta.get_blob(NAME, Digest.of(CONTENT)) is None


async def test_a_session_whose_fingerprint_was_dropped_is_read_again(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferro_oci_server.core.uploads._MAX_FINGERPRINTS", 1)
    sessions = [await processes.first.start(NAME) for _ in range(3)]
    for half in HALVES:
        for session in sessions:
            await processes.first.append(NAME, session.id, pieces([half]))
    for session in sessions:
        blob = await processes.first.complete(NAME, session.id, Digest.of(CONTENT), pieces())
        assert blob.size == len(CONTENT)


async def test_nothing_is_left_of_a_push_that_failed(processes: Processes) -> None:
    with pytest.raises(ClientVanished):
        await processes.first.push(NAME, Digest.of(CONTENT), pieces(HALVES[:1], vanish=True))
    with pytest.raises(DigestInvalid):
        await processes.first.push(NAME, Digest.of(b"other"), pieces(HALVES))
    assert await processes.meta.count_uploads() == 0
    assert [location async for location in processes.blobs.list()] == []


async def test_a_state_closes_both_stores_at_the_end_of_its_block() -> None:
    async with AppState(InMemoryBlobStore(), InMemoryRegistryMeta()) as state:
        await state.check()
        assert await state.count_uploads() == 0


class Interrupted(InMemoryRegistryMeta):
    """Dies behind the end of a session."""

    async def delete_upload(self, name: RepositoryName, upload: UploadId) -> bool:
        await super().delete_upload(name, upload)
        raise SystemError("dead")


async def test_nothing_stays_staged_where_a_cancelled_session_has_ended() -> None:
    blobs = InMemoryBlobStore()
    uploads = Uploads(blobs, Interrupted())
    session = await uploads.start(NAME)
    await uploads.append(NAME, session.id, pieces(HALVES[:1]))
    with pytest.raises(SystemError):
        await uploads.cancel(NAME, session.id)
    async with blobs.claim(session.id) as staged:
        with pytest.raises(StagedBytesMissing):
            await staged.append(StagedBytes(500), pieces(HALVES[1:]))


@pytest.mark.parametrize("chunks", [[], HALVES[:1]])
async def test_a_push_that_died_before_its_end_leaves_nothing_that_is_not_known(chunks: list[bytes]) -> None:
    blobs, meta = InMemoryBlobStore(), Dying()
    uploads = Uploads(blobs, meta)
    session = await uploads.start(NAME)
    if chunks:
        await uploads.append(NAME, session.id, pieces(chunks))
    with pytest.raises(SystemError):
        await uploads.complete(NAME, session.id, Digest.of(CONTENT), pieces(HALVES[len(chunks) :]))
    (location,) = [location async for location in blobs.list()]
    assert await meta.known_locations([location]) == {location}
    await uploads.cancel(NAME, session.id)
    assert [spare.location for spare in await meta.spare_bytes(Digest.of(CONTENT))] == [location]


class Dying(InMemoryRegistryMeta):
    """Dies where an upload should become a blob."""

    async def complete_upload(self, session: UploadSession, blob: Blob) -> bool:
        raise SystemError("dead")


async def test_a_session_is_not_cancelled_from_another_repository(processes: Processes) -> None:
    session = await processes.first.start(NAME)
    await processes.first.append(NAME, session.id, pieces(HALVES[:1]))
    with pytest.raises(UploadUnknown):
        await processes.first.cancel(RepositoryName("acme/other"), session.id)
    blob = await processes.first.complete(NAME, session.id, Digest.of(CONTENT), pieces(HALVES[1:]))
    assert blob.size == len(CONTENT)
