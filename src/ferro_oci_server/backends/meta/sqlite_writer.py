"""One writer that commits in groups.

    callers --mutation--> queue --> [ BEGIN IMMEDIATE | mutation | mutation | ... | COMMIT ]
       ^                                                                         |
       +--------------- results, once the group is on the disk ------------------+

1. All mutations that wait when the writer may begin share one transaction, and so one sync of the disk.
2. A mutation that fails is undone alone, and only its caller learns of it. Most that fail have changed nothing yet.
   Where one has, the group is done anew, with a savepoint before each: they cost a sixth of a mutation, and are hardly
   ever needed.
3. Nobody is answered before the commit. If that fails, all of the group have failed.
4. What was accepted is done, whether its caller still waits or not.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ferro_oci_server.backends.meta.sqlite_connection import insist, translated
from ferro_oci_server.backends.meta.sqlite_turns import Turns
from ferro_oci_server.core.ports import StoreError, StoreUnavailable

__all__ = ["GroupWriter"]

Result = TypeVar("Result")
Mutation = Callable[[sqlite3.Connection], Result]

# The first of a group waits for all of it: this many manifests take some 20 ms. Beyond, a sync costs little a head.
_MAX_GROUP = 256


@dataclass(slots=True, eq=False)
class _Job:
    mutation: Mutation[Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        """Tell the caller, if it has not gone away. Runs on its loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class GroupWriter:
    """A thread with a connection; the only one of its store that writes."""

    def __init__(self, connection: sqlite3.Connection, patience: float) -> None:
        """Take over a connection, which ``close`` will close, and wait so many seconds for other processes."""
        self._connection = connection
        self._patience = patience
        # Once a transaction has begun, it waits for nobody.
        connection.execute("PRAGMA busy_timeout = 0")
        _, _, path = connection.execute("PRAGMA database_list").fetchone()
        self._turns = Turns(Path(path).parent)
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        # A process that ends without closing must not hang: nobody waits for what is then lost.
        self._thread = threading.Thread(target=self._work, name="ferro-oci-sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, mutation: Mutation[Result]) -> Result:
        """Run a mutation in a transaction, and return its result once it is durable.

        Raises:
            StoreUnavailable: it could not be done, or not be committed.
            StoreCorrupted: the database is damaged.
            OciError: what the mutation raised; nothing of it stays.
        """
        if self._closed:
            raise StoreUnavailable("the metadata database is closed")
        job: _Job = _Job(mutation, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        result: Result = await job.future
        return result

    async def close(self) -> None:
        """Finish what was accepted; then end the thread and close its connection."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        try:
            while (job := self._queue.get()) is not None:
                group = [job]
                self._run_group(group)
                _answer(group)
        finally:
            self._connection.close()
            self._turns.close()

    def _take(self, group: list[_Job]) -> None:
        """Take what waits into a group."""
        with suppress(Empty):
            while len(group) < _MAX_GROUP:
                job = self._queue.get_nowait()
                if job is None:
                    # It is the last, and is to be found again behind this group.
                    self._queue.put(None)
                    return
                group.append(job)

    def _run_group(self, group: list[_Job]) -> None:
        connection = self._connection
        deadline = time.monotonic() + self._patience
        try:
            # Before, so that all of them are refused together where it may not begin in time.
            self._take(group)
            self._begin(deadline)
            # While others wrote, more have come.
            self._take(group)
            if not self._run_together(group):
                connection.execute("ROLLBACK")
                self._begin(deadline)
                for job in group:
                    self._run_apart(job)
            connection.execute("COMMIT")
        except BaseException as error:  # whatever it is, the callers must learn of it and the thread must go on
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            for job in group:
                job.error = _failure(error)

    def _begin(self, deadline: float) -> None:
        with self._turns.next(deadline):
            insist(self._connection, "BEGIN IMMEDIATE", deadline)

    def _run_together(self, group: list[_Job]) -> bool:
        """Run the mutations of a group; ``False`` where one has failed behind changes of its own.

        Raises:
            sqlite3.Error: the whole transaction is lost, not one mutation alone.
        """
        for job in group:
            before = self._connection.total_changes
            if not self._run_job(job) and self._connection.total_changes != before:
                return False
        return True

    def _run_apart(self, job: _Job) -> None:
        """Run a mutation so that nothing of it stays if it fails.

        Raises:
            sqlite3.Error: as above.
        """
        execute = self._connection.execute
        execute("SAVEPOINT mutation")
        if not self._run_job(job):
            execute("ROLLBACK TO mutation")
        execute("RELEASE mutation")

    def _run_job(self, job: _Job) -> bool:
        job.error = None
        try:
            job.result = job.mutation(self._connection)
        except Exception as error:
            if not self._connection.in_transaction:
                # After some errors, a full disk among them, SQLite itself has rolled everything back.
                raise
            job.error = _failure(error) if isinstance(error, sqlite3.Error) else error
        return job.error is None


def _failure(error: BaseException) -> StoreError:
    failure = translated(error) if isinstance(error, sqlite3.Error) else StoreUnavailable(str(error))
    # One exception is raised in many tasks: each gets its own, so that their tracebacks do not mix.
    failure.__cause__ = error
    return failure


def _answer(group: list[_Job]) -> None:
    """Wake all callers, with one call for each loop that they are on: there is one, as a rule."""
    loops = {job.future.get_loop(): None for job in group}
    for loop in loops:
        jobs = [job for job in group if job.future.get_loop() is loop]
        # A loop that was closed meanwhile has nobody waiting on it.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_answer_all, jobs)


def _answer_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.answer()
