"""The state machine on three replicas on PostgreSQL and a bucket, which take turns and are restarted together.

They are in one process: what a client leaves behind that went away is settled by the time the machine goes on, which no
socket would tell. Behind a real proxy are ``tests/server/test_replicas.py``, the conformance program and the clients.
"""

import asyncio
from collections.abc import Sequence
from itertools import cycle

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ferro_oci_server.api.app import Receive, Router, Scope, Send, router
from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.stateful import Opened, RegistryMachine
from support.object_store import S3Server
from support.postgres import PostgresServer

_REPLICAS = 3

# What each store does is met by the machines of other pairs; what differs is who has seen what, and soon met.
_EXAMPLES = 40


class _Turns:
    """Lets replicas take turns, as a proxy does.

    Of two manifests at once one replica gets both. Which of two replicas is first the database decides, and never the
    same way: hypothesis, which repeats what it has done, could not follow. ``test_postgres_races`` has those.
    """

    def __init__(self, replicas: Sequence[Router]) -> None:
        self._turns = cycle(replicas)
        self._put_to: list[Router] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "PUT" or "/manifests/" not in scope["path"]:
            await next(self._turns)(scope, receive, send)
            return
        self._put_to.append(self._put_to[-1] if self._put_to else next(self._turns))
        try:
            await self._put_to[-1](scope, receive, send)
        finally:
            self._put_to.pop()


@pytest.mark.timeout(0)
def test_replicas_answer_as_the_model(postgres: PostgresServer, s3: S3Server, machine_settings: settings) -> None:
    class ReplicasMachine(RegistryMachine):
        """A machine whose registry has the database and a prefix to itself."""

        persistent = True

        def __init__(self) -> None:
            postgres.empty("registry")
            self._url = s3.url()
            super().__init__()

        def open_app(self) -> Opened:
            states = [
                # On one connection, of two requests at once to one of them the first one wins each time.
                AppState(
                    ObjectBlobStore.from_url(self._url), PostgresRegistryMeta(postgres.url("registry"), connections=1)
                )
                for _ in range(_REPLICAS)
            ]
            app = _Turns([router(state) for state in states])

            async def close() -> None:
                await asyncio.gather(*(state.close() for state in states))

            return app, close

    run_state_machine_as_test(ReplicasMachine, settings=settings(machine_settings, max_examples=_EXAMPLES))
