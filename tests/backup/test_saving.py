"""Backing up: what is copied, what is not, what is told, and what an interruption leaves."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.pushing import Pushing
from backends.files import small_disk
from backup.source import Source
from ferro_oci_server.backends.meta.sqlite_inventory import Inventory
from ferro_oci_server.backup import BackupError, BackupRefused, back_up, restore
from ferro_oci_server.backup.folder import BackupFolder
from ferro_oci_server.core.ports import StoreCorrupted, StoreUnavailable
from ferro_oci_server.oci.digest import Algorithm

DYING = str(Path(__file__).with_name("dying.py"))


@pytest.fixture
def source(folder: Path) -> Source:
    source = Source(folder)
    source.push(b"one", b"two")
    return source


def test_what_was_backed_up_is_restored(source: Source) -> None:
    assert source.save() == (3, 0, ())
    restored = restore(source.backup, source.restored)
    assert restored.problems == ()
    assert (restored.contents.repositories, restored.contents.manifests, restored.contents.tags) == (1, 2, 2)
    assert (restored.contents.blobs, restored.contents.bytes) == (3, len(b"onetwo{}"))
    assert source.tags(source.restored) == ["one", "two"]


def test_a_blob_is_copied_once(source: Source) -> None:
    source.save()
    before = source.blobs()
    source.push(b"three")
    assert source.save() == (1, 0, ())
    after = source.blobs()
    assert {name for name in after if after[name] != before.get(name)} == {source.file(b"three").name}


def test_nothing_new_is_nothing_copied(source: Source) -> None:
    source.save()
    assert source.save() == (0, 0, ())
    assert len(list((source.backup / "snapshots").iterdir())) == 1


def test_what_the_registry_does_not_have_any_more_goes_from_the_backup(source: Source) -> None:
    source.save()
    source.delete(b"one")
    assert source.save() == (0, 1, ())
    restore(source.backup, source.restored)
    assert source.tags(source.restored) == ["two"]


def test_it_stays_where_that_is_asked_for(source: Source) -> None:
    source.save()
    source.delete(b"one")
    assert source.save(keep=True) == (0, 0, ())
    assert source.file(b"one", source.backup).read_bytes() == b"one"


@pytest.mark.parametrize("content", [b"onE", b"on", b""])
def test_a_damaged_blob_is_told_and_the_others_are_backed_up(source: Source, content: bytes) -> None:
    source.file(b"one").write_bytes(content)
    copied, _, [problem] = source.save()
    assert copied == 2
    assert "blob sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed: " in problem
    [told] = restore(source.backup, source.restored).problems
    assert told.endswith("its file is missing")
    assert source.tags(source.restored) == ["two"]


def test_a_blob_that_is_lost_is_told_and_the_others_are_backed_up(source: Source) -> None:
    source.file(b"one").unlink()
    copied, _, [problem] = source.save()
    assert (copied, problem.rpartition(": ")[2]) == (2, "its file is missing")


def test_a_link_to_elsewhere_is_not_followed(source: Source, tmp_path: Path) -> None:
    path = source.file(b"one")
    (tmp_path / "other").write_bytes(b"one")
    path.unlink()
    path.symlink_to(tmp_path / "other")
    copied, _, [problem] = source.save()
    assert copied == 2
    assert "cannot be read" in problem


def test_a_location_that_leads_elsewhere_is_told(source: Source) -> None:
    _execute(source.storage / "registry.db", "UPDATE blobs SET location = '../../letter' WHERE size = 2")
    copied, _, [problem] = source.save()
    assert copied == 2
    assert "../../letter" in problem


def test_blobs_of_either_algorithm_are_backed_up(source: Source) -> None:
    async def push(pushing: Pushing) -> None:
        await pushing.blob(b"long", Algorithm.SHA512)

    source.with_client(push)
    assert source.save() == (4, 0, ())
    assert restore(source.backup, source.restored).contents.blobs == 4


def test_a_full_disk_fails_the_backup_and_leaves_the_one_before(source: Source) -> None:
    async def push(pushing: Pushing) -> None:
        await pushing.blob(bytes(5 * 1024 * 1024))

    # Pushed first: where no disk can be mounted, the limit is one on all files that are written.
    source.save()
    source.with_client(push)
    disk = source.storage.parent / "disk"
    disk.mkdir()
    with small_disk(disk):
        shutil.copytree(source.backup, disk / "backup")
        source.backup = disk / "backup"
        with pytest.raises(BackupError, match="cannot be written"):
            source.save()
        assert list((source.backup / "incoming").iterdir()) == []
        assert restore(source.backup, source.restored).contents.blobs == 3


def test_what_the_backup_has_is_not_asked_of_the_registry_again(source: Source) -> None:
    source.save()
    source.file(b"one").write_bytes(b"onE")
    assert source.save() == (0, 0, ())
    assert source.file(b"one", source.backup).read_bytes() == b"one"


def test_a_file_that_was_cut_off_in_the_backup_is_copied_anew(source: Source) -> None:
    source.save()
    source.file(b"one", source.backup).write_bytes(b"o")
    assert source.save() == (1, 0, ())
    assert source.file(b"one", source.backup).read_bytes() == b"one"


def test_nothing_is_removed_after_damage_was_found(source: Source) -> None:
    source.save()
    source.delete(b"one")
    source.push(b"three")
    source.file(b"three").unlink()
    assert source.save()[1] == 0
    assert source.file(b"one", source.backup).read_bytes() == b"one"


def test_a_damaged_manifest_is_told(source: Source) -> None:
    _execute(source.storage / "registry.db", "UPDATE manifests SET content = x'00' WHERE id = 1")
    _, _, [problem] = source.save()
    assert problem.startswith("manifest acme/app@sha256:")
    assert restore(source.backup, source.restored).problems == (problem,)


def test_a_blob_that_was_pushed_again_meanwhile_is_found_where_it_is_now(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def push_again() -> None:
        source.file(b"one").unlink()
        source.push(b"one")

    after_the_snapshot(push_again, monkeypatch)
    assert source.save() == (3, 0, ())
    assert restore(source.backup, source.restored).problems == ()
    assert source.tags(source.restored) == ["one", "two"]


def test_a_blob_that_was_collected_meanwhile_fails_the_backup_and_the_next_goes_on(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.save()
    source.push(b"three", b"four")
    after_the_snapshot(lambda: source.delete(b"three"), monkeypatch)
    with pytest.raises(BackupError, match="removed since the backup began: 1"):
        source.save()
    assert restore(source.backup, source.restored).contents.tags == 2
    monkeypatch.undo()
    assert source.save() == (0, 0, ())


def after_the_snapshot(happens: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen in the registry when its database has been copied, and none of its blobs."""
    copy = Inventory.copy

    def copy_and_go_on(inventory: Inventory, target: Path) -> None:
        copy(inventory, target)
        happens()

    monkeypatch.setattr(Inventory, "copy", copy_and_go_on)


# Of the 25 changes: before anything, the lock, the copy of the database, its rename, and when it has its name; each
# step of a blob and the last of the last; the file of the current snapshot, its rename, and each removal behind it.
@pytest.mark.parametrize("change", [1, 3, 7, 8, 9, 11, 12, 13, 21, 22, 23, 24, 25])
def test_a_backup_that_was_killed_leaves_the_one_before_and_is_gone_on_with(folder: Path, change: int) -> None:
    source = Source(folder)
    source.push(b"one", b"two")
    source.save()
    source.delete(b"one")
    source.push(b"three", b"four", b"five")

    killed = run_dying(change, source)
    assert killed.returncode == -9, killed
    restored = restore(source.backup, source.restored)
    assert restored.problems == ()
    before, after = ["one", "two"], ["five", "four", "three", "two"]
    assert source.tags(source.restored) in (before, after)

    source.save()
    restore(source.backup, folder / "again")
    assert source.tags(folder / "again") == after
    assert len(source.blobs()) == 5
    assert list((source.backup / "incoming").iterdir()) == []


def test_the_points_of_the_kills_are_within_a_backup(source: Source) -> None:
    assert run_dying(1000, source).returncode == 0
    assert restore(source.backup, source.restored).problems == ()


def run_dying(change: int, source: Source) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, DYING, str(change), "backup", str(source.backup), "--storage-dir", str(source.storage)]
    return subprocess.run(command, capture_output=True, check=False)


def test_two_backups_at_once_are_refused(source: Source) -> None:
    with BackupFolder.writing(source.backup), pytest.raises(BackupRefused, match="another"):
        source.save()


@pytest.mark.parametrize("place", ["storage", "storage/backup"])
def test_a_backup_within_the_storage_is_refused(source: Source, place: str) -> None:
    with pytest.raises(BackupRefused):
        back_up(source.storage, source.storage.parent / place)


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(source: Source) -> None:
    source.backup.mkdir()
    (source.backup / "letter").write_text("dear")
    with pytest.raises(BackupRefused):
        source.save()
    assert [path.name for path in source.backup.iterdir()] == ["letter"]


def test_a_storage_folder_without_a_registry_is_refused_and_left_alone(folder: Path) -> None:
    source = Source(folder)
    with pytest.raises(StoreUnavailable, match="no registry"):
        source.save()
    assert list(source.storage.iterdir()) == []
    assert not source.backup.exists()


def test_a_registry_of_another_version_is_refused(source: Source) -> None:
    _execute(source.storage / "registry.db", "UPDATE alembic_version SET version_num = 'ffff'")
    with pytest.raises(StoreUnavailable, match="ffff"):
        source.save()


def test_a_damaged_database_does_not_replace_the_backup(source: Source) -> None:
    source.save()
    path = source.storage / "registry.db"
    content = bytearray(path.read_bytes())
    content[4096 * 4 : 4096 * 8] = os.urandom(4096 * 4)
    path.write_bytes(content)
    with pytest.raises((BackupError, StoreCorrupted)):
        source.save()
    assert restore(source.backup, source.restored).problems == ()


def _execute(path: Path, statement: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(statement)
    database.close()
