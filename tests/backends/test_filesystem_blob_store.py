"""The blob store in a folder: the common behaviours, and what is true of files only."""

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from ferro_oci_server.backends.blob import staging
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.core.ports import (
    BlobStore,
    StagedBytesMissing,
    StoreCorrupted,
    StoreUnavailable,
    UploadBusy,
)
from ferro_oci_server.core.records import StagedBytes, UploadId
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.blob_store import PersistentBlobStoreSuite
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

from .files import OnFiles, files, in_thread, small_disk

MIB = 1024 * 1024
DIGEST = Digest.of(b"content")
UPLOAD = new_upload()
LOCATION = f"sha256/{DIGEST.encoded[:2]}/{DIGEST.encoded}.{UPLOAD}"


class TestFsBlobStore(OnFiles, PersistentBlobStoreSuite):
    """Its content is that of the folder."""


class TestLayout(OnFiles):
    """What stands where."""

    @behaviour
    async def test_a_blob_is_a_file_under_its_digest(self, store: BlobStore, tmp_path: Path) -> None:
        assert await put(store, b"content", UPLOAD) == LOCATION
        assert await files(tmp_path) == {f"blobs/{LOCATION}": b"content"}

    @behaviour
    async def test_staged_bytes_are_a_file_under_the_id_of_the_upload(self, store: BlobStore, tmp_path: Path) -> None:
        upload = new_upload()
        await append(store, upload, NOTHING, pieces_of(b"content"))
        assert await files(tmp_path) == {f"uploads/{upload}": b"content"}

    @behaviour
    async def test_others_may_neither_read_nor_write(self, store: BlobStore, tmp_path: Path) -> None:
        await put(store, b"content", UPLOAD)
        assert await in_thread(lambda: {path.stat().st_mode & 0o027 for path in tmp_path.rglob("*")}) == {0}

    @behaviour
    async def test_files_of_others_are_not_listed(self, store: BlobStore, tmp_path: Path) -> None:
        await put(store, b"content", UPLOAD)
        strays = ["README", "sha256/README", "sha256/zz/x", f"sha256/00/{DIGEST.encoded}.{UPLOAD}", f"{LOCATION}.bak"]
        await in_thread(touch, *(tmp_path / "blobs" / stray for stray in strays))
        assert [location async for location in store.list()] == [LOCATION]

    @pytest.mark.parametrize("upload", ["", "..", "../blobs/x", "/etc/passwd", f"{new_upload()}\n", "A" * 36])
    @behaviour
    async def test_no_path_is_made_of_an_upload_id_that_is_no_uuid(
        self, store: BlobStore, tmp_path: Path, upload: str
    ) -> None:
        with pytest.raises(StagedBytesMissing):
            await append(store, UploadId(upload), NOTHING, pieces_of(b"content"))
        with pytest.raises(StagedBytesMissing):
            await commit(store, UploadId(upload), NOTHING, Digest.of(b""))
        with pytest.raises(StagedBytesMissing):
            await read_staged(store, UploadId(upload), StagedBytes(1))
        await store.discard(UploadId(upload))
        assert await files(tmp_path) == {}

    @behaviour
    async def test_a_symbolic_link_is_not_read(self, store: BlobStore, tmp_path: Path) -> None:
        blob = tmp_path / "blobs" / await put(store, b"content", UPLOAD)
        await in_thread(lambda: blob.rename(tmp_path / "outside"))
        await in_thread(lambda: blob.symlink_to(tmp_path / "outside"))
        with pytest.raises(StoreUnavailable):
            await store.open(LOCATION)

    @behaviour
    async def test_a_symbolic_link_is_not_written_to(self, store: BlobStore, tmp_path: Path) -> None:
        upload = new_upload()
        await in_thread(lambda: (tmp_path / "uploads" / upload).symlink_to(tmp_path / "outside"))
        with pytest.raises(StoreUnavailable):
            await append(store, upload, NOTHING, pieces_of(b"content"))
        assert await files(tmp_path) == {}


class TestOpening:
    """Whether a folder can be used is known at the start."""

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        close(FsBlobStore(tmp_path / "one" / "two"))
        assert (tmp_path / "one" / "two" / "uploads").is_dir()

    def test_the_root_may_be_a_symbolic_link(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path)
        close(FsBlobStore(tmp_path / "link"))
        assert (tmp_path / "uploads").is_dir()

    def test_a_root_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StoreUnavailable, match=r"storage directory.*file"):
            FsBlobStore(tmp_path / "file")

    def test_a_folder_that_leads_out_of_the_root_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "blobs").symlink_to("/tmp")
        with pytest.raises(StoreUnavailable, match="symbolic link"):
            FsBlobStore(tmp_path)


class TestDamage(OnFiles):
    """Files that someone else has changed."""

    @behaviour
    async def test_a_blob_that_was_truncated_is_repaired_by_a_push(self, store: BlobStore, tmp_path: Path) -> None:
        os.truncate(tmp_path / "blobs" / await put(store, b"content", UPLOAD), 3)
        assert await read(store, await put(store, b"content", UPLOAD)) == b"content"

    @behaviour
    async def test_a_blob_that_becomes_shorter_while_it_is_read_is_corrupted(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        location = await put(store, bytes(MIB), UPLOAD)
        reader = await store.open(location)
        assert reader is not None
        os.truncate(tmp_path / "blobs" / location, 3)
        with pytest.raises(StoreCorrupted):
            assert [piece async for piece in reader.pieces(3, MIB)] == []
        await reader.close()

    @behaviour
    async def test_staged_bytes_that_were_lost_are_missing(self, store: BlobStore, tmp_path: Path) -> None:
        upload = new_upload()
        await append(store, upload, NOTHING, pieces_of(b"content"))
        os.truncate(tmp_path / "uploads" / upload, 3)
        with pytest.raises(StagedBytesMissing):
            await append(store, upload, StagedBytes(7), pieces_of(b"more"))
        with pytest.raises(StagedBytesMissing):
            await commit(store, upload, StagedBytes(7), DIGEST)

    @behaviour
    async def test_a_short_staged_file_is_dropped_when_its_blob_is_there(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        upload = UPLOAD
        await put(store, b"content", UPLOAD)
        await append(store, upload, NOTHING, pieces_of(b"cont"))
        assert await commit(store, upload, StagedBytes(7), DIGEST) == LOCATION
        assert await files(tmp_path) == {f"blobs/{LOCATION}": b"content"}

    @behaviour
    async def test_a_folder_of_blobs_that_was_removed_is_made_again(self, store: BlobStore, tmp_path: Path) -> None:
        await store.delete(await put(store, b"content", UPLOAD))
        await in_thread((tmp_path / "blobs" / LOCATION).parent.rmdir)
        assert await read(store, await put(store, b"content", UPLOAD)) == b"content"

    @behaviour
    async def test_a_store_without_its_folder_of_uploads_reads_and_does_not_write(
        self, store: BlobStore, tmp_path: Path
    ) -> None:
        await put(store, b"content", UPLOAD)
        await in_thread((tmp_path / "uploads").rmdir)
        await in_thread((tmp_path / "uploads").touch)
        with pytest.raises(StoreUnavailable):
            await append(store, new_upload(), NOTHING, pieces_of(b"content"))
        with pytest.raises(StoreUnavailable):
            await store.check()
        assert await read(store, LOCATION) == b"content"


class TestSeveralWorkers(OnFiles):
    """Stores of several processes on one root."""

    @pytest.mark.parametrize("seconds", [0.0, 0.04], ids=["quick", "slow"])
    @behaviour
    async def test_slow_readers_get_small_pieces(self, store: BlobStore, seconds: float) -> None:
        reader = await store.open(await put(store, bytes(4 * MIB)))
        assert reader is not None
        sizes = []
        async with aclosing(reader.pieces(0, reader.size)) as pieces:
            async for piece in pieces:
                sizes.append(len(piece))
                await asyncio.sleep(seconds)
                if len(sizes) == 40:
                    break
        await reader.close()
        assert sizes[0] == 64 * 1024
        assert (max(sizes) > 64 * 1024) is (seconds == 0)

    @behaviour
    async def test_the_disk_is_busy_while_a_large_blob_arrives(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun: list[tuple[int, int]] = []
        monkeypatch.setattr(staging, "begin_writeback", lambda fd, start, stop: begun.append((start, stop)))
        await append(store, new_upload(), NOTHING, pieces_of(*[bytes(MIB)] * 20))
        assert begun == [(0, 8 * MIB), (8 * MIB, 16 * MIB)]

    @behaviour
    async def test_an_upload_has_one_writer_among_all(self, store: BlobStore, tmp_path: Path) -> None:
        upload, arrived, go_on = new_upload(), asyncio.Event(), asyncio.Event()
        other = await in_thread(FsBlobStore, tmp_path)
        appending = asyncio.create_task(append(store, upload, NOTHING, waiting(arrived, go_on)))
        await arrived.wait()
        with pytest.raises(UploadBusy):
            await append(other, upload, NOTHING, pieces_of(b"other"))
        with pytest.raises(UploadBusy):
            await commit(other, upload, NOTHING, Digest.of(b""))
        go_on.set()
        assert await read_staged(other, upload, await appending) == b"firstsecond"
        await other.close()

    @behaviour
    async def test_an_upload_goes_on_at_another(self, store: BlobStore, tmp_path: Path) -> None:
        upload, other = new_upload(), await in_thread(FsBlobStore, tmp_path)
        await append(store, upload, NOTHING, pieces_of(b"con"))
        await append(other, upload, StagedBytes(3), pieces_of(b"tent"))
        assert await read(other, await commit(store, upload, StagedBytes(7), DIGEST)) == b"content"
        await other.close()

    @behaviour
    async def test_an_upload_whose_worker_was_killed_goes_on(self, store: BlobStore, tmp_path: Path) -> None:
        upload = new_upload()
        await append(store, upload, NOTHING, pieces_of(b"con"))
        await in_thread(kill_while_appending, tmp_path, upload, 3)
        assert len((await files(tmp_path))[f"uploads/{upload}"]) > 2 * MIB
        assert await append(store, upload, StagedBytes(3), pieces_of(b"tent")) == StagedBytes(7)
        assert await read(store, await commit(store, upload, StagedBytes(7), DIGEST)) == b"content"

    @behaviour
    async def test_a_file_that_was_committed_while_it_was_opened_is_not_written_to(
        self, store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload, flock = new_upload(), fcntl.flock
        await append(store, upload, NOTHING, pieces_of(b"content"))

        def lock_too_late(fd: int, operation: int) -> None:
            (tmp_path / "uploads" / upload).rename(tmp_path / "blob")
            flock(fd, operation)

        monkeypatch.setattr(fcntl, "flock", lock_too_late)
        with pytest.raises(StagedBytesMissing):
            await append(store, upload, NOTHING, pieces_of(b"other"))
        assert await files(tmp_path) == {"blob": b"content"}


class TestRefusals(OnFiles):
    """A system that refuses."""

    def test_a_full_disk_is_unavailable_and_keeps_what_was_there(self, tmp_path: Path) -> None:
        with small_disk(tmp_path):
            self._fill(lambda: FsBlobStore(tmp_path), tmp_path)

    @behaviour
    async def _fill(self, store: BlobStore, tmp_path: Path) -> None:
        upload = new_upload()
        await put(store, b"content", UPLOAD)
        await append(store, upload, NOTHING, pieces_of(b"kept"))
        with pytest.raises(StoreUnavailable):
            await append(store, upload, StagedBytes(4), pieces_of(*[bytes(MIB)] * 8))
        assert await files(tmp_path) == {f"blobs/{LOCATION}": b"content", f"uploads/{upload}": b"kept"}
        assert await append(store, upload, StagedBytes(4), pieces_of(bytes(MIB))) == StagedBytes(MIB + 4)

    def test_a_disk_that_cannot_be_written_to_is_unavailable_and_can_be_read(self, tmp_path: Path) -> None:
        def open_store() -> BlobStore:
            return FsBlobStore(tmp_path)

        with small_disk(tmp_path) as make_read_only:
            self._put(open_store)
            make_read_only()
            self._only_read(open_store)

    @behaviour
    async def _put(self, store: BlobStore) -> None:
        await put(store, b"content", UPLOAD)

    @behaviour
    async def _only_read(self, store: BlobStore) -> None:
        with pytest.raises(StoreUnavailable):
            await append(store, new_upload(), NOTHING, pieces_of(b"content"))
        with pytest.raises(StoreUnavailable):
            await store.delete(LOCATION)
        with pytest.raises(StoreUnavailable):
            await store.check()
        assert await read(store, LOCATION) == b"content"

    @behaviour
    async def test_bytes_whose_sync_failed_are_never_trusted_again(
        self, store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = new_upload()
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", refuse)
            with pytest.raises(StoreUnavailable):
                await append(store, upload, NOTHING, pieces_of(b"content"))
        assert await files(tmp_path) == {}
        with pytest.raises(StagedBytesMissing):
            await commit(store, upload, StagedBytes(7), DIGEST)

    @behaviour
    async def test_a_commit_is_repeated_after_a_folder_could_not_be_synced(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = UPLOAD
        await put(store, b"content")
        await append(store, upload, NOTHING, pieces_of(b"content"))
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", refuse)
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await commit(store, upload, StagedBytes(7), DIGEST)
        assert await commit(store, upload, StagedBytes(7), DIGEST) == LOCATION

    @behaviour
    async def test_bytes_are_synced_before_the_rename_and_folders_behind_it(
        self, store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await put(store, b"content")
        upload, calls = UPLOAD, record_syncs(monkeypatch, tmp_path)
        await put(store, b"content", upload)
        assert calls == [
            f"sync uploads/{upload}",
            "sync uploads",
            f"rename to blobs/{LOCATION}",
            f"sync {Path('blobs', LOCATION).parent}",
            "sync uploads",
        ]

    @behaviour
    async def test_an_empty_blob_and_a_new_folder_are_synced_too(
        self, store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload, calls = new_upload(), record_syncs(monkeypatch, tmp_path)
        location = await commit(store, upload, NOTHING, Digest.of(b""))
        assert calls == [
            "sync blobs",
            "sync blobs/sha256",
            f"sync uploads/{upload}",
            f"rename to blobs/{location}",
            f"sync {Path('blobs', location).parent}",
            "sync uploads",
        ]


def touch(*paths: Path) -> None:
    """Make empty files, and their folders."""
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()


def close(store: BlobStore) -> None:
    """Close a store outside a loop."""
    asyncio.run(store.close())


def refuse(_: int) -> None:
    """What a disk with bad sectors does."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def waiting(arrived: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    """Two pieces, the second when it is asked for."""
    yield b"first"
    arrived.set()
    await go_on.wait()
    yield b"second"


def kill_while_appending(root: Path, upload: UploadId, offset: int) -> None:
    """Let another process append 3 MiB, and kill it before it is done."""
    code = f"""
import asyncio, pathlib
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.core.records import StagedBytes
async def pieces():
    for _ in range(3):
        yield bytes(1024 * 1024)
    # Asked for a fourth, so at least the first two are written.
    print(flush=True)
    await asyncio.Event().wait()
async def main():
    async with FsBlobStore(pathlib.Path({str(root)!r})).claim({upload!r}) as staged:
        await staged.append(StagedBytes({offset}), pieces())
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        process.kill()


def record_syncs(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """Record what is synced and renamed from now on."""
    calls: list[str] = []
    replace = Path.replace

    def recording(sync: Callable[[int], None]) -> Callable[[int], None]:
        def call(fd: int) -> None:
            calls.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().relative_to(root)}")
            sync(fd)

        return call

    def rename(path: Path, target: Path) -> Path:
        calls.append(f"rename to {target.relative_to(root)}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recording(os.fsync))
    monkeypatch.setattr(os, "fdatasync", recording(os.fdatasync))
    monkeypatch.setattr(Path, "replace", rename)
    return calls
