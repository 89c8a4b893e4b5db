"""From a backup to a storage folder.

The database gets its name last: until then a storage folder has no registry in it. What of the backup turns out to be
damaged is told, and the registry is restored without it: a blob that is missing is not served, and is whole again when
it is pushed again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ferro_oci_server.backends.blob.folders import make_folder, sync_folder
from ferro_oci_server.backends.blob.layout import BlobFolder
from ferro_oci_server.backends.meta.sqlite_connection import DATABASE
from ferro_oci_server.backends.meta.sqlite_inventory import Contents, Inventory, adopt, suspect
from ferro_oci_server.backup.copying import Copier
from ferro_oci_server.backup.folder import (
    BackupError,
    BackupFolder,
    BackupRefused,
    Current,
    digest_of_file,
    sync_file,
)

__all__ = ["Restored", "restore"]


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restored registry has."""

    contents: Contents
    taken_at: str
    problems: tuple[str, ...]
    """What was found damaged or missing, a line each."""


def restore(folder: Path, storage: Path) -> Restored:
    """Make a storage folder of the current snapshot of a backup, and verify all of it.

    Raises:
        BackupRefused: there is no backup, or the storage folder is not empty; nothing was done.
        BackupError: the database is damaged, or the storage folder cannot be written; there is no registry in it.
        StoreError: a newer version has written the database.
    """
    try:
        with BackupFolder.reading(folder) as backup:
            current = backup.current()
            if current is None:
                raise BackupRefused(f"{folder}: no backup has come to its end")
            make_folder(storage)
            if any(storage.iterdir()):
                raise BackupRefused(f"{storage}: it is not empty")
            with _workshop(storage) as workshop:
                return _restore(backup, current, storage, workshop)
    except OSError as exc:
        raise BackupError(f"the storage folder cannot be written: {exc}") from exc


def _restore(backup: BackupFolder, current: Current, storage: Path, workshop: Path) -> Restored:
    database = workshop / DATABASE
    _copy_database(backup.snapshot(current.snapshot), database, current)
    adopt(database)
    blobs = BlobFolder(storage)
    make_folder(blobs.path)
    with Inventory.of_copy(database) as inventory:
        problems = [f"manifest {which}: it is damaged" for which in inventory.damaged_manifests()]
        copier = Copier(backup.blobs, blobs, workshop)
        faults = {it.blob.digest: it.fault for it in copier.copy_all(inventory.blobs()) if it.fault is not None}
    blobs.sync()
    suspect(database, faults)
    problems += [f"blob {digest}: {fault}" for digest, fault in faults.items()]
    with Inventory.of_copy(database) as inventory:
        contents = inventory.contents()
    sync_file(database)
    database.replace(storage / DATABASE)
    return Restored(contents, current.taken_at, tuple(problems))


def _copy_database(snapshot: Path, target: Path, current: Current) -> None:
    try:
        shutil.copyfile(snapshot, target)
    except FileNotFoundError:
        raise BackupError(f"{snapshot}: it is missing") from None
    if digest_of_file(target) != current.digest:
        raise BackupError(f"{snapshot}: it is damaged")
    with Inventory.of_copy(target) as inventory:
        if damage := inventory.damage():
            raise BackupError(f"{snapshot}: it is damaged: {damage}")


@contextmanager
def _workshop(storage: Path) -> Iterator[Path]:
    """A folder for what is not finished, which goes at the end, and what is in it."""
    path = storage / "restoring"
    path.mkdir(mode=0o750)
    try:
        yield path
    finally:
        shutil.rmtree(path)
        sync_folder(storage)
