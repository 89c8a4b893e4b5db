"""Fixtures of all tests: one event loop, which nothing may block, and a registry on every pair of stores."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from ferro_oci_server.api.app import router
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient
from support.object_store import CREDENTIALS, S3Server, s3_server
from support.postgres import PostgresServer, postgres_server

BackendPair = Callable[..., AppState]

SHARED_MEMORY = Path("/dev/shm")

# How long an example takes depends on what else the machine does; a test has its timeout.
settings.register_profile("registry", deadline=None)
settings.load_profile("registry")


@pytest.fixture
def anyio_backend() -> str:
    """What serves us is asyncio; nothing here runs on trio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _blocking_fails() -> Iterator[None]:
    """Fail a test in which our code blocks the event loop; what the test itself or pytest does is not looked at."""
    with blockbuster_ctx("ferro_oci_server") as guard:
        for name, function in guard.functions.items():
            # Metadata is read on the loop: such a read takes less time than handing it to a thread.
            if name.startswith("sqlite3."):
                function.deactivate()
            # Whoever opens a connection looks for a file of passwords and for certificates.
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
        yield


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with all its tables: copying it is quicker than making them for every test."""
    path = tmp_path_factory.mktemp("empty") / "registry.db"
    asyncio.run(SqliteRegistryMeta(path).close())
    return path.read_bytes()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started once for all tests that need it."""
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with TemporaryDirectory(prefix="ferro-test-", dir=memory) as path:
        # It runs as another user.
        Path(path).chmod(0o711)
        with postgres_server(Path(path) / "postgres") as server:
            server.make_registry()
            yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """A database with all tables, and nothing in them."""
    postgres.empty("registry")
    return postgres.url("registry")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder, in memory where there are such: syncing is slow, and what it is for is not tested here."""
    if not SHARED_MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(prefix="ferro-test-", dir=SHARED_MEMORY) as path:
        yield Path(path)


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    """A real S3 server, started once for all tests that need it."""
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with TemporaryDirectory(prefix="ferro-test-", dir=memory) as path, s3_server(Path(path)) as server:
        yield server


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A real S3 server, and in the environment what opens it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return running_s3


@pytest.fixture(params=["memory", "sqlite+files", "postgres+files"])
def backend_pair(request: pytest.FixtureRequest, folder: Path) -> BackendPair:
    """Makes an ``AppState`` on this pair of stores, again and again on the same content where the pair keeps any.

    Call it outside the event loop: opening files may block.
    """

    def memory(**options: object) -> AppState:
        return AppState(InMemoryBlobStore(), InMemoryRegistryMeta(), **options)  # type: ignore[arg-type]

    def files(**options: object) -> AppState:
        return AppState(FsBlobStore(folder), SqliteRegistryMeta(database), **options)  # type: ignore[arg-type]

    def server(**options: object) -> AppState:
        return AppState(FsBlobStore(folder), PostgresRegistryMeta(url), **options)  # type: ignore[arg-type]

    if request.param == "memory":
        return memory
    if request.param == "postgres+files":
        url = request.getfixturevalue("postgres_url")
        return server
    database = folder / "registry.db"
    database.write_bytes(request.getfixturevalue("empty_database"))
    return files


@pytest.fixture
def new_state(backend_pair: BackendPair) -> AppState:
    """The state of ``registry``, made before the loop runs."""
    return backend_pair()


@pytest.fixture
async def state(new_state: AppState) -> AsyncIterator[AppState]:
    """A registry on one pair of stores, closed at the end."""
    async with new_state as opened:
        yield opened


@pytest.fixture
def registry(state: AppState) -> AsgiClient:
    """A client of a whole registry: the API and the probes."""
    return AsgiClient(router(state).merge(probe_routes()))
