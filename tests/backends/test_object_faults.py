"""What an object store may do to us: refuse, be silent, break off, and say that all is well when it is not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.core.ports import StagedBytesMissing, StoreCorrupted, StoreUnavailable
from ferro_oci_server.core.records import StagedBytes, UploadId
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.blob_store.steps import (
    MIB,
    NOTHING,
    append,
    commit,
    content_of,
    failing,
    new_upload,
    pieces_of,
    put,
    read,
)
from support.fault_proxy import Fault, FaultProxy, Request, fault_proxy, refused
from support.object_store import S3Server

pytestmark = pytest.mark.anyio

Meant = Callable[[Request], bool]

# More than fits into one part.
LARGE = content_of(12 * MIB)
# How long the store may be silent in these tests.
SECONDS = 1.0


def is_part(request: Request) -> bool:
    return "partNumber" in request.target


def is_completion(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.target


def is_marker(request: Request) -> bool:
    return request.method == "PUT" and "/blobs/" in request.target


def is_content(request: Request) -> bool:
    return request.method == "GET" and "/bytes/" in request.target and "list-type" not in request.target


def is_list(request: Request) -> bool:
    return "list-type" in request.target


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(s3.address) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return new_upload()


@pytest.fixture
def store(s3: S3Server, proxy: FaultProxy, prefix: str) -> ObjectBlobStore:
    return ObjectBlobStore.from_url(s3.url(prefix, proxy.address, timeout=str(SECONDS)))


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


KINDS: dict[str, Meant] = {
    "segment": lambda request: request.method == "PUT" and "/bytes/" in request.target and not is_part(request),
    "begin": lambda request: request.method == "POST" and "uploads" in request.target,
    "part": is_part,
    "completion": is_completion,
    "head": lambda request: request.method == "HEAD",
    "marker": is_marker,
    "list": is_list,
    "read marker": lambda request: request.method == "GET" and "/blobs/" in request.target and not is_list(request),
    "read": is_content,
}


@pytest.mark.parametrize(
    "fault",
    [refused(), refused(500, "InternalError"), Fault(takes=0), Fault(is_silent=True)],
    ids=["slow down", "error", "cut", "silent"],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_happens_once_is_not_noticed(
    store: ObjectBlobStore, proxy: FaultProxy, fault: Fault, kind: str
) -> None:
    proxy.once(fault, KINDS[kind])
    content = b"small" if kind == "segment" else LARGE
    location = await put(store, content)
    await store.close()
    assert await read(store, location) == content
    assert any(map(KINDS[kind], proxy.seen))


@pytest.mark.parametrize(
    "is_meant", [is_part, is_completion, is_marker, is_list], ids=["part", "completion", "marker", "list"]
)
async def test_a_push_that_is_refused_again_and_again_can_be_repeated(
    store: ObjectBlobStore, proxy: FaultProxy, is_meant: Meant
) -> None:
    upload = new_upload()
    kept = await append(store, upload, NOTHING, pieces_of(b"kept"))
    proxy.always(refused(), is_meant)
    async with within(30):
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            await commit(store, upload, await append(store, upload, kept, pieces_of(LARGE)), Digest.of(b"kept" + LARGE))
    proxy.heal()
    staged = await append(store, upload, kept, pieces_of(LARGE))
    assert await read(store, await commit(store, upload, staged, Digest.of(b"kept" + LARGE))) == b"kept" + LARGE


@pytest.mark.parametrize("fault", [Fault(is_silent=True, is_effective=False), Fault(takes=0)], ids=["silent", "cut"])
async def test_a_store_that_does_not_answer_is_unavailable_in_time(
    store: ObjectBlobStore, proxy: FaultProxy, fault: Fault
) -> None:
    location = await put(store, b"content")
    await store.close()
    proxy.always(fault)
    calls = [
        put(store, b"small"),
        put(store, LARGE),
        store.open(location),
        store.delete(location),
        store.age(location),
        anext(store.list()),
        store.check(),
    ]
    async with within(20 * SECONDS):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * len(calls)
    proxy.heal()
    assert await read(store, location) == b"content"


async def test_a_store_that_is_not_there_is_unavailable_in_time(s3: S3Server) -> None:
    store = ObjectBlobStore.from_url(s3.url(address="127.0.0.1:1"))
    async with within(20):
        with pytest.raises(StoreUnavailable):
            await store.check()


async def test_a_part_that_breaks_off_is_sent_again(store: ObjectBlobStore, proxy: FaultProxy) -> None:
    proxy.once(Fault(takes=3 * MIB), is_part)
    assert await read(store, await put(store, LARGE)) == LARGE
    assert sum(map(is_part, proxy.seen)) == 3
    proxy.always(Fault(takes=3 * MIB), is_part)
    with pytest.raises(StoreUnavailable):
        await put(store, LARGE)


@pytest.mark.parametrize("is_meant", [is_part, is_marker], ids=["part", "marker"])
@pytest.mark.parametrize(
    "options", [{}, {"unsigned_payload": "true", "checksum_algorithm": "CRC64NVME"}], ids=["signed", "checksum"]
)
async def test_a_bit_that_changes_on_its_way_is_refused(
    s3: S3Server, proxy: FaultProxy, options: dict[str, str], is_meant: Meant
) -> None:
    store = ObjectBlobStore.from_url(s3.url(address=proxy.address, **options))
    proxy.once(Fault(flips=True), is_meant)
    with pytest.raises(StoreUnavailable):
        await put(store, LARGE)
    assert [location async for location in store.list()] == []


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "InvalidPart", "Whatever"])
async def test_an_error_in_a_200_is_found(
    store: ObjectBlobStore, proxy: FaultProxy, s3: S3Server, prefix: str, code: str
) -> None:
    upload = new_upload()
    proxy.always(refused(200, code), is_completion)
    with pytest.raises(StoreUnavailable):
        await append(store, upload, NOTHING, pieces_of(LARGE))
    assert s3.objects(prefix) == {}
    proxy.once(refused(200, code), is_completion)
    if code in {"InternalError", "SlowDown"}:
        await append(store, upload, NOTHING, pieces_of(LARGE))


@pytest.mark.parametrize(
    "fault",
    [Fault(gives=0), Fault(is_silent=True), Fault(answer=(500, ""))],
    ids=["cut", "silent", "error"],
)
@pytest.mark.parametrize("is_meant", [is_part, is_completion, is_marker], ids=["part", "completion", "marker"])
async def test_what_took_effect_without_an_answer_is_not_taken_for_a_failure(
    store: ObjectBlobStore, proxy: FaultProxy, fault: Fault, is_meant: Meant
) -> None:
    proxy.once(fault, is_meant)
    assert await read(store, await put(store, LARGE)) == LARGE


async def test_a_completion_that_took_effect_is_not_taken_for_a_failure_whatever_is_said(
    store: ObjectBlobStore, proxy: FaultProxy
) -> None:
    for answer in ((200, "nonsense"), (404, "<Error><Code>NoSuchUpload</Code></Error>"), (400, "")):
        proxy.once(Fault(answer=answer), is_completion)
        assert await read(store, await put(store, LARGE)) == LARGE


@pytest.mark.parametrize("gives", [0, 1, 3 * MIB, 12 * MIB - 1])
async def test_a_download_that_breaks_off_goes_on(store: ObjectBlobStore, proxy: FaultProxy, gives: int) -> None:
    location = await put(store, LARGE)
    proxy.once(Fault(gives=gives), is_content)
    assert await read(store, location) == LARGE


async def test_a_download_that_breaks_off_again_and_again_ends(store: ObjectBlobStore, proxy: FaultProxy) -> None:
    location = await put(store, LARGE)
    reader = await store.open(location)
    assert reader is not None
    for fault in (Fault(gives=0), Fault(is_empty=True)):
        proxy.always(fault, is_content)
        received = b""
        async with within(60):
            with pytest.raises(StoreUnavailable):
                async for piece in reader.pieces(0, reader.size):
                    received += piece
        assert received == b""
    # Each time it gets on a bit.
    proxy.always(Fault(gives=MIB), is_content)
    assert await read(store, location) == LARGE


async def test_a_reader_may_take_longer_than_the_store_may_be_silent(store: ObjectBlobStore) -> None:
    content = content_of(40 * MIB)
    reader = await store.open(await put(store, content))
    assert reader is not None
    received = bytearray()
    async for piece in reader.pieces(0, reader.size):
        if not received:
            await asyncio.sleep(2 * SECONDS)
        received += piece
    assert received == content


async def test_a_writer_may_take_longer_than_the_store_may_be_silent(store: ObjectBlobStore) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 4 * MIB):
            yield LARGE[start : start + 4 * MIB]
            await asyncio.sleep(2 * SECONDS)

    upload = new_upload()
    staged = await append(store, upload, NOTHING, slow())
    assert await read(store, await commit(store, upload, staged, Digest.of(LARGE))) == LARGE


@pytest.mark.parametrize("size", [0, 5 * MIB])
async def test_a_segment_that_became_shorter_is_found(
    store: ObjectBlobStore, s3: S3Server, prefix: str, size: int
) -> None:
    upload = new_upload()
    location = await put(store, LARGE, upload)
    (segment,) = [name for name in s3.objects(prefix) if name.startswith("bytes/")]
    (s3.folder / prefix / segment).write_bytes(LARGE[:size])
    reader = await store.open(location)
    assert reader is not None
    received = b""
    with pytest.raises(StoreCorrupted):
        async for piece in reader.pieces(0, reader.size):
            received += piece
    assert received == LARGE[:size]


async def test_a_body_that_fails_leaves_nothing(store: ObjectBlobStore, s3: S3Server, prefix: str) -> None:
    others = s3.unfinished()
    for content in (b"small", LARGE, content_of(40 * MIB)):
        with pytest.raises(ConnectionResetError):
            await append(store, new_upload(), NOTHING, failing(ConnectionResetError(), content))
    assert s3.objects(prefix) == {}
    assert s3.unfinished() == others


async def test_a_push_that_is_cancelled_leaves_nothing(store: ObjectBlobStore, s3: S3Server, prefix: str) -> None:
    arrived, others = asyncio.Event(), s3.unfinished()

    async def endless() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), MIB):
            yield LARGE[start : start + MIB]
        arrived.set()
        await asyncio.Event().wait()

    appending = asyncio.create_task(append(store, new_upload(), NOTHING, endless()))
    await arrived.wait()
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    assert s3.objects(prefix) == {}
    assert s3.unfinished() == others


# Two processes


async def outcome_of(store: ObjectBlobStore, upload: UploadId, staged: StagedBytes) -> str | None:
    """The location of a blob, if the commit succeeds."""
    try:
        return await commit(store, upload, staged, Digest.of(b"firstsecond"))
    except StagedBytesMissing:
        return None


@pytest.mark.parametrize("step", range(5))
async def test_a_discard_in_the_middle_of_a_commit_leaves_a_whole_blob_or_none(
    s3: S3Server, proxy: FaultProxy, store: ObjectBlobStore, prefix: str, step: int
) -> None:
    other, upload = ObjectBlobStore.from_url(s3.url(prefix)), new_upload()
    staged = await append(store, upload, NOTHING, pieces_of(b"first"))
    staged = await append(store, upload, staged, pieces_of(b"second"))
    proxy.seen.clear()

    async def discard(_: Request) -> None:
        if len(proxy.seen) == step + 1:
            await other.discard(upload)

    proxy.before = discard
    location = await outcome_of(store, upload, staged)
    # The steps of a commit are: list, marker, list.
    assert (location is None) == (step < 2)
    if location is not None:
        assert await read(other, location) == b"firstsecond"


@pytest.mark.parametrize("step", range(7))
async def test_a_commit_in_the_middle_of_a_discard_makes_a_whole_blob_or_none(
    s3: S3Server, proxy: FaultProxy, store: ObjectBlobStore, prefix: str, step: int
) -> None:
    other, upload = ObjectBlobStore.from_url(s3.url(prefix)), new_upload()
    staged = await append(store, upload, NOTHING, pieces_of(b"first"))
    staged = await append(store, upload, staged, pieces_of(b"second"))
    proxy.seen.clear()
    locations = []

    async def commit_there(_: Request) -> None:
        if len(proxy.seen) == step + 1:
            locations.append(await outcome_of(other, upload, staged))

    proxy.before = commit_there
    await store.discard(upload)
    for location in locations:
        # The steps of a discard are: list, say so, look for a marker, list, delete, say no more.
        assert (location is None) == (step >= 2)
        if location is not None:
            assert await read(other, location) == b"firstsecond"
