"""What the blob store leaves in its bucket, and what it makes of what it finds there."""

import asyncio
import http.client
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.core.inspection import DatedBlobs
from ferro_oci_server.core.ports import StagedBytesMissing, StoreUnavailable
from ferro_oci_server.core.records import Blob
from ferro_oci_server.oci.digest import Digest
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
    read_staged,
)
from support.object_store import S3Server

pytestmark = pytest.mark.anyio

LARGE = content_of(12 * MIB)


@pytest.fixture
def prefix() -> str:
    return f"some/{new_upload()}"


@pytest.fixture
def store(s3: S3Server, prefix: str) -> ObjectBlobStore:
    return ObjectBlobStore.from_url(s3.url(prefix))


def names(s3: S3Server, prefix: str) -> list[str]:
    return sorted(name.split("/")[0] for name in s3.objects(prefix))


async def test_each_chunk_is_written_once_and_a_commit_adds_a_marker(
    store: ObjectBlobStore, s3: S3Server, prefix: str
) -> None:
    upload, staged = new_upload(), NOTHING
    for chunk in (b"one", LARGE, b"three"):
        staged = await append(store, upload, staged, pieces_of(chunk))
    before = s3.objects(prefix)
    assert sorted(before.values(), key=len) == [b"one", b"three", LARGE]
    location = await commit(store, upload, staged, Digest.of(b"one" + LARGE + b"three"))
    after = s3.objects(prefix)
    assert before.items() < after.items()
    assert after.keys() - before.keys() == {f"blobs/{location}"}
    assert await read(store, location) == b"one" + LARGE + b"three"


async def test_the_chunks_of_an_upload_may_reach_different_processes(s3: S3Server, prefix: str) -> None:
    upload, staged, content = new_upload(), NOTHING, b""
    for number in range(6):
        store = ObjectBlobStore.from_url(s3.url(prefix))
        chunk = content_of(1000 + number)
        staged = await append(store, upload, staged, pieces_of(chunk))
        content += chunk
    location = await commit(ObjectBlobStore.from_url(s3.url(prefix)), upload, staged, Digest.of(content))
    assert await read(ObjectBlobStore.from_url(s3.url(prefix)), location) == content


async def test_of_two_processes_at_one_offset_the_one_counts_that_is_noted(s3: S3Server, prefix: str) -> None:
    first, second = (ObjectBlobStore.from_url(s3.url(prefix)) for _ in range(2))
    upload = new_upload()
    kept = await append(first, upload, NOTHING, pieces_of(b"kept "))
    mine, theirs = await asyncio.gather(
        append(first, upload, kept, pieces_of(b"mine")), append(second, upload, kept, pieces_of(b"theirs"))
    )
    assert await read_staged(second, upload, mine) == b"kept mine"
    location = await commit(second, upload, theirs, Digest.of(b"kept theirs"))
    assert await read(first, location) == b"kept theirs"
    # What lost is gone.
    assert sorted(len(it) for name, it in s3.objects(prefix).items() if name.startswith("bytes/")) == [5, 6]


async def test_an_upload_of_very_many_chunks_keeps_a_short_note(
    store: ObjectBlobStore, s3: S3Server, prefix: str
) -> None:
    upload, staged, content = new_upload(), NOTHING, content_of(700)
    longest = 0
    for at in range(700):
        staged = await append(store, upload, staged, pieces_of(content[at : at + 1]))
        longest = max(longest, len(staged.note))
    assert longest < 6000
    assert await read_staged(store, upload, staged) == content
    # Also where the cut is on a page.
    for size in (100, 128, 300, 699):
        assert await read_staged(store, upload, replace(staged, size=size)) == content[:size]
    shorter = await append(store, upload, replace(staged, size=200), pieces_of(b"!"))
    assert await read_staged(store, upload, shorter) == content[:200] + b"!"
    for _ in range(2):
        location = await commit(store, upload, staged, Digest.of(content))
    assert await read(store, location) == content
    reader = await store.open(location)
    assert reader is not None
    assert b"".join([piece async for piece in reader.pieces(130, 640)]) == content[130:640]
    assert await store.delete(location) is True
    assert s3.objects(prefix) == {}


async def test_a_blob_is_deleted_with_all_that_its_upload_has_left(
    store: ObjectBlobStore, s3: S3Server, prefix: str
) -> None:
    upload = new_upload()
    location = await put(store, b"content", upload)
    # Whoever lost the race for the last chunk may have died before anything could be done about it.
    await append(store, upload, NOTHING, pieces_of(b"stray"))
    assert names(s3, prefix) == ["blobs", "bytes", "bytes"]
    await store.delete(location)
    assert s3.objects(prefix) == {}


async def test_a_deletion_that_was_cut_off_is_done_again(store: ObjectBlobStore, s3: S3Server, prefix: str) -> None:
    location = await put(store, b"content")
    (segment,) = [name for name in s3.objects(prefix) if name.startswith("bytes/")]
    (s3.folder / prefix / segment).unlink()
    assert [location async for location in store.list()] == [location]
    assert await store.delete(location) is True
    assert s3.objects(prefix) == {}


async def test_what_was_discarded_is_gone_and_what_is_a_blob_is_not(
    store: ObjectBlobStore, s3: S3Server, prefix: str
) -> None:
    upload = new_upload()
    await append(store, upload, NOTHING, pieces_of(LARGE))
    await store.discard(upload)
    assert s3.objects(prefix) == {}
    location = await put(store, b"content", upload)
    await store.discard(upload)
    assert await read(store, location) == b"content"
    assert names(s3, prefix) == ["blobs", "bytes"]


async def test_a_discard_that_was_cut_off_is_done_again(store: ObjectBlobStore, s3: S3Server, prefix: str) -> None:
    upload = new_upload()
    staged = await append(store, upload, NOTHING, pieces_of(b"content"))
    (s3.folder / prefix / "bytes" / upload / "-discarded").touch()
    with pytest.raises(StagedBytesMissing):
        await commit(store, upload, staged, Digest.of(b"content"))
    await store.discard(upload)
    assert s3.objects(prefix) == {}


async def test_a_note_that_is_none_finds_nothing(store: ObjectBlobStore) -> None:
    upload = new_upload()
    staged = await append(store, upload, NOTHING, pieces_of(b"content"))
    for note in ("nonsense", f"{staged.note},", f"../{staged.note}", staged.note.replace(":7", ":-7")):
        with pytest.raises(StagedBytesMissing):
            await read_staged(store, upload, replace(staged, note=note))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[]", b'{"version": 2}', b"\xff"])
async def test_a_blob_whose_marker_is_damaged_is_not_there(
    store: ObjectBlobStore, s3: S3Server, prefix: str, content: bytes
) -> None:
    location = await put(store, b"content")
    await store.close()
    (s3.folder / prefix / "blobs" / location).write_bytes(content)
    assert await store.open(location) is None
    assert await store.delete(location) is True
    assert s3.objects(prefix) == {}


async def test_a_marker_counts_only_where_it_was_written(store: ObjectBlobStore, s3: S3Server, prefix: str) -> None:
    location, other = await put(store, b"content"), await put(store, b"other")
    await store.close()
    blobs = s3.folder / prefix / "blobs"
    (blobs / other).write_bytes((blobs / location).read_bytes())
    assert await store.open(other) is None


async def test_a_bucket_that_is_not_there_does_not_make_blobs_look_lost(s3: S3Server) -> None:
    store = ObjectBlobStore.from_url(s3.url().replace("s3://registry", "s3://elsewhere"))
    location = store.location(new_upload(), Digest.of(b"content"))
    for call in (store.check(), store.open(location), put(store, b"content"), put(store, LARGE)):
        with pytest.raises(StoreUnavailable, match="404"):
            await call


async def test_a_blob_has_an_age_and_says_what_it_is(store: ObjectBlobStore) -> None:
    assert isinstance(store, DatedBlobs)
    location = await put(store, b"content")
    age = await store.age(location)
    assert age is not None
    assert -2 < age < 60
    assert await store.describe(location) == Blob(Digest.of(b"content"), 7, location)
    await store.delete(location)
    assert await store.age(location) is None
    assert await store.describe(location) is None
    assert await store.age("../elsewhere") is None


# Links for clients


async def fetch(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, bytes, str | None]:
    def ask() -> tuple[int, bytes, str | None]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        try:
            connection.request(method, f"{parts.path}?{parts.query}", headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers["Content-Type"]
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def test_a_blob_of_one_segment_has_a_link_that_a_client_can_follow(store: ObjectBlobStore) -> None:
    for content in (b"content", LARGE):
        url = await store.url(await put(store, content), 30)
        assert url is not None
        assert "X-Amz-Expires=30" in url
        assert await fetch(url) == (200, content, "application/octet-stream")
        assert (await fetch(url, headers={"Range": "bytes=2-4"}))[:2] == (206, content[2:5])
        assert (await fetch(url.replace("Signature=", "Signature=0")))[0] == 403
        assert (await fetch(url, "PUT"))[0] == 403


async def test_a_link_is_no_longer_good_after_its_time(store: ObjectBlobStore) -> None:
    url = await store.url(await put(store, b"content"), 1)
    assert url is not None
    await asyncio.sleep(2.1)
    assert (await fetch(url))[0] == 403


async def test_what_is_no_object_of_its_own_has_no_link(store: ObjectBlobStore) -> None:
    upload = new_upload()
    staged = await append(store, upload, NOTHING, pieces_of(b"one"))
    staged = await append(store, upload, staged, pieces_of(b"two"))
    assert await store.url(await commit(store, upload, staged, Digest.of(b"onetwo")), 30) is None
    upload = new_upload()
    staged = replace(await append(store, upload, NOTHING, pieces_of(b"one and more")), size=3)
    assert await store.url(await commit(store, upload, staged, Digest.of(b"one")), 30) is None
    assert await store.url(await put(store, b""), 30) is None
    assert await store.url("elsewhere", 30) is None


async def test_a_link_names_the_store_as_clients_know_it(s3: S3Server, prefix: str) -> None:
    store = ObjectBlobStore.from_url(s3.url(prefix, public_endpoint="https://blobs.example.com"))
    url = await store.url(await put(store, b"content"), 30)
    assert url is not None
    assert url.startswith(f"https://blobs.example.com/registry/{prefix}/bytes/")


# Memory


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    raise AssertionError(field)


async def growth(work: AsyncIterator[None]) -> int:
    """By how many MiB this process grows at most meanwhile."""
    forget_peak()
    before = resident("VmRSS")
    async for _ in work:
        pass
    return resident("VmHWM") - before


def megabytes(count: int) -> AsyncIterator[bytes]:
    pattern = content_of(MIB)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            for start in range(0, MIB, MIB // 4):
                yield pattern[start : start + MIB // 4]

    return pieces()


async def test_a_gibibyte_passes_through_little_memory(store: ObjectBlobStore) -> None:
    upload = new_upload()

    async def work() -> AsyncIterator[None]:
        staged = await append(store, upload, NOTHING, megabytes(1024))
        location = await commit(store, upload, staged, Digest.of(b""))
        yield
        reader = await store.open(location)
        assert reader is not None
        size = 0
        async for piece in reader.pieces(0, reader.size):
            size += len(piece)
        assert size == 1024 * MIB
        await store.delete(location)
        yield

    assert await growth(work()) < 80


async def test_many_uploads_at_once_have_less_memory_each(store: ObjectBlobStore) -> None:
    async def work() -> AsyncIterator[None]:
        uploads = [new_upload() for _ in range(32)]
        await asyncio.gather(*(append(store, upload, NOTHING, megabytes(24)) for upload in uploads))
        yield
        for upload in uploads:
            await store.discard(upload)

    # Four with 32 MiB and the others with 10, and what is gathered before that is known.
    assert await growth(work()) < 32 * 18


# Processes


SCRIPT = """
import asyncio, os, sys
from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.testing.blob_store.steps import MIB, content_of, put, read

async def use(store):
    content = content_of(12 * MIB)
    assert await read(store, await put(store, content)) == content

if __name__ == "__main__":
    asyncio.run(use(ObjectBlobStore.from_url(sys.argv[1])))
    if sys.argv[2:] and os.fork() == 0:
        try:
            asyncio.run(use(ObjectBlobStore.from_url(sys.argv[1])))
        except RuntimeError as exc:
            assert "forked" in str(exc)
            os._exit(0)
        os._exit(1)
    if sys.argv[2:]:
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


async def run_script(s3: S3Server, *arguments: str) -> None:
    command = [sys.executable, "-c", SCRIPT, s3.url(), *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()


async def test_a_process_that_has_used_a_bucket_ends_as_it_should(s3: S3Server) -> None:
    for _ in range(5):
        await run_script(s3)


async def test_a_process_whose_parent_has_used_a_bucket_is_told_so(s3: S3Server) -> None:
    await run_script(s3, "fork")
