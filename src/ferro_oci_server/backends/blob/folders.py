"""Folders whose entries survive a loss of power. Everything here blocks."""

import os
from pathlib import Path

__all__ = ["make_folder", "sync_folder"]


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there; its entry survives a loss of power."""
    if not path.parent.is_dir():
        make_folder(path.parent)
    path.mkdir(mode=0o750, exist_ok=True)
    # Also where the folder was there: its maker, another process perhaps, may not have come to this line yet.
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the entries of a folder survive a loss of power; a symbolic link is no folder."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
