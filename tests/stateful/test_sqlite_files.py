"""The state machine on SQLite and files, which it restarts."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.stateful import Opened, RegistryMachine

# What is asked here has nothing to do with loss of power, so that nobody needs to wait for a disk.
_MEMORY = Path("/dev/shm")


class _FolderMachine(RegistryMachine):
    """A machine whose registry has a folder of its own."""

    persistent = True

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ferro-stateful-", dir=_MEMORY if _MEMORY.is_dir() else None))
        super().__init__()

    def open_app(self) -> Opened:
        state = AppState(FsBlobStore(self._folder), SqliteRegistryMeta(self._folder / "registry.db"))
        return router(state), state.close

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self._folder)


@pytest.mark.timeout(0)
def test_sqlite_and_files_answer_as_the_model(machine_settings: settings) -> None:
    run_state_machine_as_test(_FolderMachine, settings=machine_settings)
