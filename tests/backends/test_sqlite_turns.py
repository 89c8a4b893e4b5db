"""The order in which processes write to one database."""

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from ferro_oci_server.backends.meta import sqlite_writer
from ferro_oci_server.backends.meta.sqlite_connection import connect
from ferro_oci_server.backends.meta.sqlite_turns import Turns
from ferro_oci_server.backends.meta.sqlite_writer import GroupWriter

LONG = 20.0
SHORT = 0.2

_HOLDER = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("there", flush=True)
time.sleep(60)
"""


def soon(seconds: float = LONG) -> float:
    """A deadline."""
    return time.monotonic() + seconds


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process at the door."""
    with subprocess.Popen([sys.executable, "-c", _HOLDER, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_door_is_free_again_behind_who_went_in(tmp_path: Path) -> None:
    with closing(Turns(tmp_path)) as turns, closing(Turns(tmp_path)) as others:
        for _ in range(3):
            for one in (turns, others):
                with one.next(soon(0)):
                    pass


def test_who_waits_goes_in_when_the_one_before_has_gone_on(tmp_path: Path) -> None:
    order: list[str] = []
    with closing(Turns(tmp_path)) as turns, closing(Turns(tmp_path)) as others:

        def wait() -> None:
            with others.next(soon()):
                order.append("the other")

        with turns.next(soon()):
            thread = threading.Thread(target=wait)
            thread.start()
            time.sleep(SHORT)
            order.append("the first")
        thread.join(LONG)
    assert order == ["the first", "the other"]


def test_who_stands_there_for_too_long_keeps_nobody_out(tmp_path: Path) -> None:
    with holder(tmp_path), closing(Turns(tmp_path)) as turns:
        begin = time.monotonic()
        with turns.next(soon(SHORT)):
            assert time.monotonic() - begin >= SHORT


def test_who_dies_there_keeps_nobody_waiting(tmp_path: Path) -> None:
    with holder(tmp_path) as process, closing(Turns(tmp_path)) as turns:
        threading.Timer(SHORT, process.kill).start()
        begin = time.monotonic()
        with turns.next(soon()):
            assert SHORT / 2 < time.monotonic() - begin < LONG / 2


def test_where_there_are_no_such_locks_everybody_goes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", refuse)
    turns, others = Turns(tmp_path), Turns(tmp_path)
    with closing(turns), closing(others), turns.next(soon(0)), others.next(soon(0)):
        pass


def test_two_that_have_much_to_write_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each has a queue of transactions, so that it wants to go on at once.
    monkeypatch.setattr(sqlite_writer, "_MAX_GROUP", 1)
    path = tmp_path / "numbers.db"
    with closing(connect(path, 1.0)) as connection:
        connection.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY, writer INTEGER)")
    everybody = threading.Barrier(2)

    def write(number: int) -> None:
        writer = GroupWriter(connect(path, 0.0), LONG)

        def mutation(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO numbers (writer) VALUES (?)", (number,))

        async def run() -> None:
            everybody.wait(LONG)
            await asyncio.gather(*(writer.run(mutation) for _ in range(100)))
            await writer.close()

        asyncio.run(run())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * LONG)
    with closing(sqlite3.connect(path)) as connection:
        writers = [writer for (writer,) in connection.execute("SELECT writer FROM numbers ORDER BY id")]
    assert sorted(writers) == [0] * 100 + [1] * 100
    # Without turns it is some ten times.
    assert sum(one != other for one, other in pairwise(writers)) > 100
