"""From a storage folder to a backup."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from ferro_oci_server.backends.blob.layout import BlobFolder, digest_of
from ferro_oci_server.backends.meta.sqlite_connection import DATABASE
from ferro_oci_server.backends.meta.sqlite_inventory import Contents, Inventory
from ferro_oci_server.backup.copying import Copied, Copier
from ferro_oci_server.backup.folder import BackupError, BackupFolder, BackupRefused, Current, digest_of_file

__all__ = ["Saved", "back_up"]


@dataclass(frozen=True, slots=True)
class Saved:
    """What a backup has now, and what was done for it."""

    contents: Contents
    copied: int
    copied_bytes: int
    removed: int
    problems: tuple[str, ...]
    """What of the registry was damaged, a line each; the blobs among it are not in the backup."""


def back_up(storage: Path, folder: Path, *, keep: bool = False) -> Saved:
    """Back up a registry, which may be serving; with ``keep``, blobs that only earlier snapshots name stay.

    Raises:
        BackupRefused: the folder is no place for a backup; nothing was done.
        BackupError: it failed; the snapshot that was the current one still is. Doing it again goes on with it.
        StoreError: the registry cannot be read.
    """
    # A backup within the storage is lost with it.
    if folder.resolve().is_relative_to(storage.resolve()):
        raise BackupRefused(f"{folder}: it is in the storage folder")
    try:
        with Inventory.of_registry(storage / DATABASE) as registry, BackupFolder.writing(folder) as backup:
            return _save(registry, BlobFolder(storage), backup, keep=keep)
    except OSError as exc:
        raise BackupError(f"the backup cannot be written: {exc}") from exc


def _save(registry: Inventory, blobs: BlobFolder, backup: BackupFolder, *, keep: bool) -> Saved:
    name = f"{uuid4()}.db"
    taken_at = datetime.now(UTC).isoformat(timespec="seconds")
    temporary = backup.incoming / name
    registry.copy(temporary)
    with Inventory.of_copy(backup.add_snapshot(temporary, name)) as snapshot:
        if damage := snapshot.damage():
            raise BackupError(f"the metadata database is damaged: {damage}")
        problems = [f"manifest {which}: it is damaged" for which in snapshot.damaged_manifests()]
        outcome = list(_tally(_copy(snapshot, registry, Copier(blobs, backup.blobs, backup.incoming)), problems))
        backup.blobs.sync()
        backup.make_current(Current(name, digest_of_file(backup.snapshot(name)), taken_at))
        # Where something is damaged, what an earlier snapshot names may be the last that is not.
        removed = 0 if keep or problems else _prune(backup.blobs, snapshot)
        backup.drop_snapshots(keep=name)
        return Saved(snapshot.contents(), len(outcome), sum(outcome), removed, tuple(problems))


def _copy(snapshot: Inventory, registry: Inventory, copier: Copier) -> Iterator[Copied]:
    """Copy what the snapshot names; where its file is of no use, look where the registry has the blob now.

    Raises:
        BackupError: the registry has removed some since. All others were copied.
    """
    removed = 0
    for copied in copier.copy_all(snapshot.blobs()):
        if copied.fault is None:
            yield copied
            continue
        now = registry.blob(copied.blob.digest)
        if now is None:
            removed += 1
        elif now.location == copied.blob.location:
            yield copied
        else:
            yield copier.copy(copied.blob, now.location)
    if removed:
        raise BackupError(
            f"blobs that the registry has removed since the backup began: {removed}. "
            "Run it again: it goes on from here. If that happens often, let trash_grace be longer than a backup takes"
        )


def _tally(outcomes: Iterator[Copied], problems: list[str]) -> Iterator[int]:
    """The sizes of what was copied; what was not becomes a problem, unless it was there."""
    for copied in outcomes:
        if copied.fault is not None:
            problems.append(f"blob {copied.blob.digest}: {copied.fault}")
        elif copied.copied:
            yield copied.blob.size


def _prune(blobs: BlobFolder, snapshot: Inventory) -> int:
    removed = 0
    for location in blobs.all_locations():
        named = snapshot.blob(digest_of(location))
        path = blobs.find(location)
        if path is not None and (named is None or named.location != location):
            path.unlink()
            removed += 1
    return removed
