"""Looking at the sockets of a process touches nothing else that it has open."""

import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ferro_oci_server.silence import open_sockets

WRITE = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"


def test_sqlite_keeps_its_locks(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN IMMEDIATE")
        list(open_sockets())
        other = subprocess.run([sys.executable, "-c", WRITE, path], capture_output=True, text=True, check=False)
        connection.execute("ROLLBACK")
    assert "database is locked" in other.stderr


def test_every_socket_is_looked_at() -> None:
    with closing(socket.socket()) as listening, closing(socket.socket(socket.AF_INET6)):
        listening.bind(("127.0.0.1", 0))
        found = [handle.getsockname() for handle in open_sockets()]
        assert listening.getsockname() in found
        # What is said of one that is not of IPv4 has its port in the right place, and is not looked at otherwise.
        assert len(found) >= 2


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with (tmp_path / "file").open("wb"):
        for _ in range(10):
            list(open_sockets())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
