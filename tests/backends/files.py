"""For tests of stores that keep files: what a folder has, and disks that refuse."""

import asyncio
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.testing.blob_store.steps import OpenStore

# What the tests do to files beside the store must not block the event loop either.
in_thread = asyncio.to_thread

_SIZE = 4 * 1024 * 1024


class OnFiles:
    """Tests of stores on ``tmp_path``."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: FsBlobStore(tmp_path)


async def files(root: Path) -> dict[str, bytes]:
    """All files below ``root``."""

    def read_all() -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    return await in_thread(read_all)


async def open_files() -> int:
    """How many files this process has open."""
    return await in_thread(lambda: len(list(Path("/proc/self/fd").iterdir())))


@contextmanager
def small_disk(path: Path) -> Iterator[Callable[[], None]]:
    """A disk of 4 MiB at ``path``, and what makes it read-only.

    Where this process may not mount one, files are limited to that size, and folders are made read-only.
    """
    if _mount("-t", "tmpfs", "-o", f"size={_SIZE},uid={os.geteuid()}", "tmpfs", str(path)):
        try:
            yield lambda: _remount(path)
        finally:
            subprocess.run([*_as_root(), "umount", str(path)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_SIZE, hard))
    try:
        yield lambda: _forbid_writing(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _as_root() -> list[str]:
    """What stands before a command that only root may run."""
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def _mount(*arguments: str) -> bool:
    """Call mount; tell whether it worked."""
    try:
        command = [*_as_root(), "mount", *arguments]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _remount(path: Path) -> None:
    assert _mount("-o", "remount,ro", str(path))


def _forbid_writing(path: Path) -> None:
    """Take the right to write to the folders from everyone but root, who may mount."""
    for folder in [path, *path.rglob("*/")]:
        folder.chmod(0o500)
