"""The state machine on PostgreSQL and files, which it restarts."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.stateful import Opened, RegistryMachine
from support.postgres import PostgresServer

_MEMORY = Path("/dev/shm")

# The logic is that of SQLite, whose machine runs longer; what differs is in the statements, and soon met.
_EXAMPLES = 60


class _ServerMachine(RegistryMachine):
    """A machine whose registry has the database and a folder to itself."""

    persistent = True
    server: PostgresServer

    def __init__(self) -> None:
        self.server.empty("registry")
        self._folder = Path(tempfile.mkdtemp(prefix="ferro-stateful-", dir=_MEMORY if _MEMORY.is_dir() else None))
        super().__init__()

    def open_app(self) -> Opened:
        # On one connection, of two requests at once the first one wins each time, which hypothesis relies on.
        meta = PostgresRegistryMeta(self.server.url("registry"), connections=1)
        state = AppState(FsBlobStore(self._folder), meta)
        return router(state), state.close

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self._folder)


@pytest.mark.timeout(0)
def test_postgres_and_files_answer_as_the_model(postgres: PostgresServer, machine_settings: settings) -> None:
    _ServerMachine.server = postgres
    asked = os.environ.get("FERRO_STATEFUL_EXAMPLES")
    chosen = machine_settings if asked else settings(machine_settings, max_examples=_EXAMPLES)
    run_state_machine_as_test(_ServerMachine, settings=chosen)
