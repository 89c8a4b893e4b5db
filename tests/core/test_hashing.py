"""The threads that hash: how many there are, and what they are kept apart from."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.fingerprint import Fingerprint
from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.name import RepositoryName

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024
NAME = RepositoryName("acme/app")


def hashing_threads() -> int:
    return sum(thread.name.startswith("hashing") for thread in threading.enumerate())


@pytest.fixture
async def hashing() -> AsyncIterator[Hashing]:
    hashing = Hashing()
    yield hashing
    await hashing.close()


async def test_small_pieces_are_hashed_at_once_and_large_ones_in_a_thread(hashing: Hashing) -> None:
    before = hashing_threads()
    fingerprint = Fingerprint(Algorithm.SHA256)
    assert hashing.update(fingerprint, b"small") is None
    assert hashing_threads() == before
    working = hashing.update(fingerprint, bytes(MEBIBYTE))
    assert working is not None
    await working
    assert hashing_threads() == before + 1
    assert fingerprint.digest() == Digest.of(b"small" + bytes(MEBIBYTE))


async def test_no_more_work_is_done_at_a_time_than_there_are_processors(hashing: Hashing) -> None:
    lock, running, most = threading.Lock(), 0, 0
    enough = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running > (os.cpu_count() or 1):
                enough.set()
        enough.wait(0.02)
        with lock:
            running -= 1

    await asyncio.gather(*(hashing.run(work) for _ in range(20 * (os.cpu_count() or 1))))
    assert 1 <= most <= (os.cpu_count() or 1)


async def body() -> AsyncIterator[bytes]:
    for _ in range(4):
        yield bytes(MEBIBYTE)


async def test_a_push_does_not_wait_for_the_threads_of_the_loop() -> None:
    free = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    others = asyncio.ensure_future(asyncio.to_thread(free.wait))
    async with AppState(InMemoryBlobStore(), InMemoryRegistryMeta()) as state, asyncio.timeout(10):
        try:
            blob = await state.uploads.push(NAME, Digest.of(bytes(4 * MEBIBYTE)), body())
        finally:
            free.set()
        await others
    assert blob.size == 4 * MEBIBYTE


async def test_the_threads_end_with_the_state() -> None:
    before = hashing_threads()
    async with AppState(InMemoryBlobStore(), InMemoryRegistryMeta()) as state:
        await state.uploads.push(NAME, Digest.of(bytes(4 * MEBIBYTE)), body())
        assert hashing_threads() > before
    assert hashing_threads() == before
