"""The state machine on the stores that keep everything in memory."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.stateful import Opened, RegistryMachine


class _MemoryMachine(RegistryMachine):
    def open_app(self) -> Opened:
        state = AppState(InMemoryBlobStore(), InMemoryRegistryMeta())
        return router(state), state.close


@pytest.mark.timeout(0)
def test_memory_answers_as_the_model(machine_settings: settings) -> None:
    run_state_machine_as_test(_MemoryMachine, settings=machine_settings)
