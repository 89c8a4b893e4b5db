"""Restoring: into an empty folder only, and nothing is taken for right that is not."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from api.pushing import Pushing
from backup.source import Source
from ferro_oci_server.backup import BackupError, BackupRefused, restore
from ferro_oci_server.backup.folder import digest_of_file
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.images import image


@pytest.fixture
def source(folder: Path) -> Source:
    source = Source(folder)
    source.push(b"one", b"two")
    source.save()
    return source


def snapshot(source: Source) -> Path:
    [path] = (source.backup / "snapshots").iterdir()
    return path


def test_an_empty_folder_is_taken(source: Source) -> None:
    source.restored.mkdir()
    assert restore(source.backup, source.restored).problems == ()
    assert {path.name for path in source.restored.iterdir()} == {"blobs", "registry.db"}


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(source: Source) -> None:
    source.restored.mkdir()
    (source.restored / "letter").write_text("dear")
    with pytest.raises(BackupRefused, match="not empty"):
        restore(source.backup, source.restored)
    assert [path.name for path in source.restored.iterdir()] == ["letter"]


def test_a_folder_that_is_no_backup_is_refused(source: Source) -> None:
    with pytest.raises(BackupRefused, match="no backup"):
        restore(source.storage, source.restored)
    assert not source.restored.exists()


def test_a_backup_that_never_came_to_its_end_is_refused(source: Source) -> None:
    (source.backup / "current.json").unlink()
    with pytest.raises(BackupRefused, match="end"):
        restore(source.backup, source.restored)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"snapshot": "../registry.db"}, {"digest": "none"}, {"taken_at": ...}]
)
def test_a_backup_that_this_version_cannot_read_is_refused(source: Source, change: dict[str, object]) -> None:
    path = source.backup / "current.json"
    document = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not ...}))
    with pytest.raises(BackupRefused, match="cannot be read"):
        restore(source.backup, source.restored)


def test_a_blob_that_was_cut_off_is_told_and_not_served_until_it_is_pushed_again(source: Source) -> None:
    os.truncate(source.file(b"one", source.backup), 2)
    [problem] = restore(source.backup, source.restored).problems
    assert problem.endswith(": its file has 2 bytes and not 3")
    assert source.tags(source.restored) == ["two"]

    async def push(pushing: Pushing) -> None:
        await pushing.content(image(b"one"), "one")

    source.with_client(push, source.restored)
    assert source.tags(source.restored) == ["one", "two"]


def test_a_blob_with_other_bytes_is_told(source: Source) -> None:
    source.file(b"one", source.backup).write_bytes(b"onE")
    [problem] = restore(source.backup, source.restored).problems
    assert "the bytes of its file are those of sha256:" in problem


def test_blobs_that_are_all_missing_are_all_told(source: Source) -> None:
    for path in (source.backup / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    restored = restore(source.backup, source.restored)
    assert (len(restored.problems), restored.contents.blobs, restored.contents.manifests) == (3, 0, 2)


@pytest.mark.parametrize("size", [0, 4096, -1])
def test_a_database_that_was_cut_off_is_refused_and_the_folder_stays_empty(source: Source, size: int) -> None:
    path = snapshot(source)
    os.truncate(path, size if size >= 0 else path.stat().st_size - 4096)
    with pytest.raises(BackupError, match="damaged"):
        restore(source.backup, source.restored)
    assert list(source.restored.iterdir()) == []


def test_a_database_that_is_missing_is_told(source: Source) -> None:
    snapshot(source).unlink()
    with pytest.raises(BackupError, match="missing"):
        restore(source.backup, source.restored)


def test_upload_sessions_and_what_waited_to_be_removed_are_left_out(source: Source) -> None:
    async def work(pushing: Pushing) -> None:
        await pushing.session()
        await pushing.client.request("DELETE", f"/v2/{pushing.name}/blobs/{await pushing.blob(b'trash')}")

    source.with_client(work)
    source.save()
    restore(source.backup, source.restored)

    async def waiting(state: AppState) -> tuple[int, set[str]]:
        return await state.count_uploads(), set((await state.collected()).waiting)

    assert source.with_state(waiting) == (1, {"link", "upload", "trash"})
    assert source.with_state(waiting, source.restored) == (0, {"link"})


def test_a_backup_of_a_later_version_is_refused_and_the_folder_stays_empty(source: Source) -> None:
    path = snapshot(source)
    copy = sqlite3.connect(path, isolation_level=None)
    copy.execute("UPDATE alembic_version SET version_num = 'ffff'")
    copy.close()
    document = json.loads((source.backup / "current.json").read_text())
    document["digest"] = digest_of_file(path)
    (source.backup / "current.json").write_text(json.dumps(document))
    with pytest.raises(StoreUnavailable, match="ffff"):
        restore(source.backup, source.restored)
    assert list(source.restored.iterdir()) == []
