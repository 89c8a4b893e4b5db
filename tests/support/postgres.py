"""A real PostgreSQL in a folder of its own, which nobody else reaches: it listens on a socket there.

PostgreSQL refuses to run as root, who leaves it to the user of Debian's package or, without one, to nobody.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ferro_oci_server.backends.meta.postgres_connection import prepare

_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")

# What is tested is how processes end, not how machines do: nothing is synced, but what is committed is handed over.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "deadlock_timeout": "200ms",
}


# Truncating makes new files, which takes longer than looking through tables in which there is next to nothing.
_EMPTY = """
DO $$
DECLARE held text;
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    FOREACH held IN ARRAY ARRAY['tags', 'manifest_references', 'manifests', 'repository_blobs', 'repositories', 'blobs',
        'uploads', 'reviews', 'ticks', 'trash', 'scrubs', 'collected', 'credentials']
    LOOP
        EXECUTE 'DELETE FROM ' || held;
    END LOOP;
END $$
"""


class PostgresMissing(Exception):
    """Raised where PostgreSQL is not installed."""


def program(name: str) -> str:
    """A program of the newest PostgreSQL; most of them are in no folder of PATH."""
    folders = [str(folder) for pattern in _FOLDERS for folder in sorted(Path("/").glob(pattern[1:]), reverse=True)]
    path = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if path is None:
        raise PostgresMissing(f"{name} is not installed: run scripts/install-clients postgres")
    return path


def _account() -> dict[str, Any]:
    """As whom it runs: ourselves, or, where that is root, another."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class PostgresServer:
    """A cluster in ``folder``, which is made here and must not have any files; it is started and stopped at will."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._account = _account()
        self._settings = {**_SETTINGS, "unix_socket_directories": str(folder), **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._runner = asyncio.Runner()
        self._connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self._initialise()

    def _initialise(self) -> None:
        folder = self._folder
        folder.mkdir(exist_ok=True)
        if self._account:
            os.chown(folder, self._account["user"], self._account["group"])
        command = [program("initdb"), "--pgdata", str(self._data), "--username", "registry", "--auth", "trust"]
        done = subprocess.run(
            [*command, "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_READY_SECONDS,
            **self._account,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def url(self, database: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://registry@/{database}?host={self._folder}"

    def query(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Ask something, or do something, in an event loop of its own."""

        async def ask() -> list[tuple[Any, ...]]:
            connection = self._connections.get(database)
            if connection is None or connection.is_closed():
                connection = self._connections[database] = await asyncpg.connect(self.url(database))
            return [tuple(row) for row in await connection.fetch(sql)]

        return self._runner.run(ask())

    def make_registry(self, name: str = "registry") -> str:
        """Make a database with all tables, and return its name."""
        self.query(f"CREATE DATABASE {name} TEMPLATE template0")
        asyncio.run(prepare(self.url(name)))
        return name

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""
        connection = self._connections.pop(database, None)
        if connection is not None:
            connection.terminate()
        self.query(f"DROP DATABASE {database} WITH (FORCE)")

    def empty(self, database: str) -> None:
        """Delete what is in a registry's database, and end whatever is connected to it."""
        self.query(_EMPTY, database)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            self._process = self._spawn()
            while self._process.poll() is None and time.monotonic() < deadline:
                if self._is_ready():
                    return
                time.sleep(0.02)
            # The processes of one that was killed hold its memory for a moment.
            assert time.monotonic() < deadline, self.log
            self._process.wait()
            time.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [program("postgres"), "-D", str(self._data), *settings],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._account,
            )

    def _is_ready(self) -> bool:
        command = [program("pg_isready"), "--quiet", "--host", str(self._folder)]
        return subprocess.run(command, check=False).returncode == 0

    def kill(self) -> None:
        """End its main process at once; the others see it, and end themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._drop_connections()

    def _drop_connections(self) -> None:
        for connection in self._connections.values():
            connection.terminate()
        self._connections.clear()

    def stop(self) -> None:
        """End it in order, and whatever is connected; it may have ended already."""
        self._drop_connections()
        self._runner.run(asyncio.sleep(0))
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._runner.close()


@contextmanager
def postgres_server(folder: Path, **settings: str) -> Iterator[PostgresServer]:
    """Run a new cluster until the block ends. Without PostgreSQL the test fails under CI, and is skipped elsewhere."""
    try:
        program("initdb")
    except PostgresMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    server = PostgresServer(folder, **settings)
    try:
        server.start()
        yield server
    finally:
        server.close()
