"""A fixture that gives a test a registry of its own, on a real port, empty, gone when the test ends."""

import threading
from collections.abc import Iterator

import pytest
import uvicorn

from ferro_oci_server import AppState, InMemoryBlobStore, InMemoryRegistryMeta, router


class _Server(uvicorn.Server):
    """Runs in a thread, and tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        self.listening.set()

    @property
    def address(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"{host}:{port}"


@pytest.fixture
def registry() -> Iterator[str]:
    """The address of an empty registry, such as ``127.0.0.1:40123``."""
    app = router(AppState(InMemoryBlobStore(), InMemoryRegistryMeta()))
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        if not server.listening.wait(timeout=10):
            raise RuntimeError("the registry did not start")
        yield server.address
    finally:
        server.should_exit = True
        thread.join()
