"""The state machine on SQLite and a bucket, which it restarts."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.stateful import Opened, RegistryMachine
from support.object_store import S3Server

_MEMORY = Path("/dev/shm")


@pytest.mark.timeout(0)
def test_sqlite_and_a_bucket_answer_as_the_model(machine_settings: settings, s3: S3Server) -> None:
    class BucketMachine(RegistryMachine):
        """A machine whose registry has a prefix and a database of its own."""

        persistent = True

        def __init__(self) -> None:
            self._folder = Path(tempfile.mkdtemp(prefix="ferro-stateful-", dir=_MEMORY if _MEMORY.is_dir() else None))
            self._url = s3.url()
            super().__init__()

        def open_app(self) -> Opened:
            state = AppState(ObjectBlobStore.from_url(self._url), SqliteRegistryMeta(self._folder / "registry.db"))
            return router(state), state.close

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                shutil.rmtree(self._folder)

    # What is in the bucket differs little from what is in files: fewer runs.
    run_state_machine_as_test(BucketMachine, settings=settings(machine_settings, max_examples=40))
