"""Backup and restore of a storage folder, beside a registry that serves and collects.

    storage --database, online--> snapshot --names--> blobs, those that the backup has not --all there--> current

    folder (``folder``)      what a backup looks like, who may work on it, which snapshot is its current one
    copying                  blobs, from one folder to another, hashed on the way
    saving                   storage to backup
    restoring                backup to storage

1. The database is copied first. What it names then is kept by the registry's quarantine until it is copied, too.
2. A location is given once, so a file that the backup has under it is never copied again.
3. A snapshot becomes the current one when all is done, by one rename. Until then the one before can be restored.
"""

from ferro_oci_server.backends.meta.sqlite_inventory import Contents
from ferro_oci_server.backup.folder import BackupError, BackupRefused
from ferro_oci_server.backup.restoring import Restored, restore
from ferro_oci_server.backup.saving import Saved, back_up

__all__ = ["BackupError", "BackupRefused", "Contents", "Restored", "Saved", "back_up", "restore"]
