"""The shared logic on SQLite: coroutines that never suspend, in the writer's thread and between two tasks of a loop."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite

from ferro_oci_server.backends.meta.database import Transaction
from ferro_oci_server.backends.meta.sqlite_connection import DATABASE, connect, prepare
from ferro_oci_server.backends.meta.sqlite_database import SqliteDatabase, finish
from ferro_oci_server.backends.meta.statements import Statements
from ferro_oci_server.core.ports import StoreUnavailable

STATEMENTS = Statements(sqlite.dialect(paramstyle="qmark"))


async def put(transaction: Transaction, name: str) -> bool:
    return await transaction.change(STATEMENTS.put_repository, repository=name)


async def names(transaction: Transaction) -> list[str]:
    return [name for (name,) in await transaction.every(STATEMENTS.repository_page, after="", limit=100)]


async def put_and_wait(transaction: Transaction, name: str) -> None:
    await put(transaction, name)
    await asyncio.sleep(0)


async def put_and_fail(transaction: Transaction, name: str) -> None:
    await put(transaction, name)
    raise LookupError(name)


def use(folder: Path, body: Callable[[SqliteDatabase], Awaitable[None]]) -> None:
    database = SqliteDatabase(folder / DATABASE)

    async def run() -> None:
        try:
            await body(database)
        finally:
            await database.close()

    asyncio.run(run())


def test_a_coroutine_that_never_suspends_needs_no_loop() -> None:
    async def inner() -> int:
        return 3

    async def outer() -> int:
        return await inner() + await inner()

    assert finish(outer()) == 6


def test_what_a_coroutine_raises_passes_through() -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        finish(fail())


def test_a_coroutine_that_suspends_is_ended() -> None:
    ended = []

    async def wait() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="waited"):
        finish(wait())
    assert ended == [True]


def test_a_mutation_that_suspends_changes_nothing_and_the_next_one_runs(tmp_path: Path) -> None:
    async def body(database: SqliteDatabase) -> None:
        with pytest.raises(RuntimeError, match="waited"):
            await database.run(put_and_wait, "a")
        assert await database.run(put, "b")
        assert await database.ask(names) == ["b"]

    use(tmp_path, body)


def test_a_mutation_that_fails_changes_nothing(tmp_path: Path) -> None:
    async def body(database: SqliteDatabase) -> None:
        with pytest.raises(LookupError):
            await database.run(put_and_fail, "a")
        assert await database.ask(names) == []

    use(tmp_path, body)


@pytest.mark.parametrize("question", [put_and_wait, put_and_fail])
def test_after_a_question_that_ended_early_others_see_what_is_new(
    tmp_path: Path, question: Callable[[Transaction, str], Awaitable[None]]
) -> None:
    async def ask(transaction: Transaction) -> None:
        await transaction.every(STATEMENTS.repository_page, after="", limit=1)
        await question(transaction, "a")

    async def body(database: SqliteDatabase) -> None:
        with pytest.raises((RuntimeError, LookupError)):
            await database.ask(ask)
        await database.run(put, "b")
        assert await database.ask(names) == ["b"]

    use(tmp_path, body)


@pytest.mark.parametrize("way", ["ask", "ask_apart"])
def test_a_question_is_answered_as_of_one_time(tmp_path: Path, way: str) -> None:
    async def twice(transaction: Transaction) -> tuple[list[str], list[str]]:
        before = await names(transaction)
        other.execute("INSERT INTO repositories (name) VALUES ('a')")
        return before, await names(transaction)

    async def body(database: SqliteDatabase) -> None:
        assert await getattr(database, way)(twice) == ([], [])
        assert await getattr(database, way)(names) == ["a"]

    prepare(tmp_path / DATABASE)
    other = connect(tmp_path / DATABASE, 1.0)
    use(tmp_path, body)
    other.close()


def test_a_closed_database_answers_no_question(tmp_path: Path) -> None:
    async def body(database: SqliteDatabase) -> None:
        await database.close()
        with pytest.raises(StoreUnavailable):
            await database.one(STATEMENTS.repository_id, repository="a")
        with pytest.raises(StoreUnavailable):
            await database.ask(names)
        with pytest.raises(StoreUnavailable):
            await database.run(put, "a")

    use(tmp_path, body)
