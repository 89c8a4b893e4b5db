"""The writer that commits in groups, and what the driver's errors become."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ferro_oci_server.backends.meta.sqlite_connection import connect
from ferro_oci_server.backends.meta.sqlite_writer import GroupWriter
from ferro_oci_server.core.ports import StoreFull, StoreUnavailable

Mutation = Callable[[sqlite3.Connection], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.db"
    connection = connect(path, 1.0)
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, padding BLOB)")
    connection.close()
    return path


@pytest.fixture
def connection(path: Path) -> sqlite3.Connection:
    """What the writer writes with, and closes."""
    return connect(path, 0.05)


def insert(number: int, size: int = 0) -> Mutation:
    def mutation(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (?, zeroblob(?))", (number, size))

    return mutation


def numbers(path: Path) -> set[int]:
    connection = sqlite3.connect(path)
    try:
        return {number for (number,) in connection.execute("SELECT number FROM numbers")}
    finally:
        connection.close()


def use(connection: sqlite3.Connection, body: Callable[[GroupWriter], Awaitable[None]]) -> None:
    writer = GroupWriter(connection, 1.0)

    async def run() -> None:
        try:
            await body(writer)
        finally:
            await writer.close()

    asyncio.run(run())


@asynccontextmanager
async def busy(writer: GroupWriter) -> AsyncIterator[None]:
    """Keep the writer at work, so that what it is given meanwhile becomes one group."""
    started, finish = threading.Event(), threading.Event()

    def mutation(_: sqlite3.Connection) -> None:
        started.set()
        finish.wait()

    work = asyncio.create_task(writer.run(mutation))
    await asyncio.to_thread(started.wait)
    yield
    finish.set()
    await work


async def run_all(writer: GroupWriter, *mutations: Mutation) -> list[type[BaseException] | None]:
    """Run them at once; tell what each raised."""
    results = await asyncio.gather(*map(writer.run, mutations), return_exceptions=True)
    return [type(result) if isinstance(result, BaseException) else None for result in results]


async def run_group(writer: GroupWriter, *mutations: Mutation) -> list[type[BaseException] | None]:
    """Run them in one transaction; tell what each raised."""
    async with busy(writer):
        calls = asyncio.gather(*map(writer.run, mutations), return_exceptions=True)
        await asyncio.sleep(0)
    return [type(result) if isinstance(result, BaseException) else None for result in await calls]


def test_a_result_comes_back(connection: sqlite3.Connection) -> None:
    async def body(writer: GroupWriter) -> None:
        assert await writer.run(lambda connection: connection.execute("SELECT 7").fetchone()) == (7,)

    use(connection, body)


def test_an_error_of_the_driver_undoes_its_own_mutation_only(path: Path, connection: sqlite3.Connection) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        insert(3)(connection)
        insert(1)(connection)

    async def body(writer: GroupWriter) -> None:
        assert await run_group(writer, insert(1), broken, insert(2)) == [None, StoreUnavailable, None]

    use(connection, body)
    assert numbers(path) == {1, 2}


def test_a_mistake_in_a_mutation_reaches_its_caller_and_nobody_else(path: Path, connection: sqlite3.Connection) -> None:
    def mistaken(connection: sqlite3.Connection) -> None:
        insert(3)(connection)
        raise LookupError

    async def body(writer: GroupWriter) -> None:
        assert await run_group(writer, insert(1), mistaken, insert(2)) == [None, LookupError, None]

    use(connection, body)
    assert numbers(path) == {1, 2}


@pytest.mark.parametrize(("size", "runs"), [(None, 1), (0, 2)], ids=["which had changed nothing", "behind a change"])
def test_a_failure_lets_the_others_be_done_anew_only_where_it_must(
    path: Path, connection: sqlite3.Connection, size: int | None, runs: int
) -> None:
    done = []

    def counted(connection: sqlite3.Connection) -> None:
        done.append(1)
        insert(1)(connection)

    def failing(connection: sqlite3.Connection) -> None:
        if size is not None:
            insert(3, size)(connection)
        raise LookupError

    async def body(writer: GroupWriter) -> None:
        assert await run_group(writer, counted, failing, insert(2)) == [None, LookupError, None]

    use(connection, body)
    assert numbers(path) == {1, 2}
    assert len(done) == runs


def test_what_failed_for_what_is_undone_succeeds(path: Path, connection: sqlite3.Connection) -> None:
    def undone(connection: sqlite3.Connection) -> None:
        insert(1)(connection)
        raise LookupError

    async def body(writer: GroupWriter) -> None:
        assert await run_group(writer, undone, insert(1), insert(1)) == [LookupError, None, StoreUnavailable]

    use(connection, body)
    assert numbers(path) == {1}


def test_a_lock_that_another_process_holds_makes_the_store_unavailable_until_it_lets_go(
    path: Path, connection: sqlite3.Connection
) -> None:
    other = connect(path, 1.0)

    async def body(writer: GroupWriter) -> None:
        other.execute("BEGIN IMMEDIATE")
        assert await run_all(writer, insert(1), insert(2)) == [StoreUnavailable] * 2
        other.execute("COMMIT")
        assert await run_all(writer, insert(3), insert(4)) == [None] * 2

    use(connection, body)
    other.close()
    assert numbers(path) == {3, 4}


def test_a_full_disk_makes_the_store_full_until_there_is_room(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA max_page_count = 10")

    async def body(writer: GroupWriter) -> None:
        results = await run_group(writer, insert(1), insert(2, 100_000), insert(3))
        assert results[1] is StoreFull
        assert {*results} <= {None, StoreFull}
        assert numbers(path) == {number for number, error in zip((1, 2, 3), results, strict=True) if error is None}
        assert await run_all(writer, insert(4)) == [None]

    use(connection, body)


def test_a_file_that_became_read_only_makes_the_store_unavailable(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")

    async def body(writer: GroupWriter) -> None:
        assert await run_all(writer, insert(1), insert(2)) == [StoreUnavailable] * 2

    use(connection, body)
    assert numbers(path) == set()


def test_a_commit_that_fails_fails_for_the_whole_group(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE halves (number INTEGER REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)")

    def dangling(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO halves VALUES (99)")

    async def body(writer: GroupWriter) -> None:
        assert await run_group(writer, dangling, insert(1), insert(2)) == [StoreUnavailable] * 3
        assert await run_all(writer, insert(3)) == [None]

    use(connection, body)
    assert numbers(path) == {3}


def test_a_group_is_bounded_so_that_its_first_caller_does_not_wait_for_all(
    path: Path, connection: sqlite3.Connection
) -> None:
    async def body(writer: GroupWriter) -> None:
        calls = [asyncio.create_task(writer.run(insert(number))) for number in range(2_000)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert not all(call.done() for call in calls)
        await asyncio.gather(*calls)

    use(connection, body)
    assert len(numbers(path)) == 2_000


def test_a_caller_whose_loop_is_gone_does_not_stop_the_writer(path: Path, connection: sqlite3.Connection) -> None:
    writer = GroupWriter(connection, 1.0)
    abandoned = asyncio.new_event_loop()

    async def ask() -> None:
        asyncio.ensure_future(writer.run(insert(1))).add_done_callback(lambda _: None)

    task = abandoned.create_task(ask())
    abandoned.run_until_complete(task)
    abandoned.run_until_complete(asyncio.sleep(0))
    for left in asyncio.all_tasks(abandoned):
        left.cancel()
    abandoned.run_until_complete(asyncio.sleep(0))
    abandoned.close()

    async def rest() -> None:
        await writer.run(insert(2))
        await writer.close()

    asyncio.run(rest())
    assert numbers(path) == {1, 2}


def test_closing_twice_is_closing_once(connection: sqlite3.Connection) -> None:
    async def body(writer: GroupWriter) -> None:
        await writer.close()

    use(connection, body)
