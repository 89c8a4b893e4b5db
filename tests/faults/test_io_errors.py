"""Disks that refuse, and disks that forget: each call refused in turn, files cut short, bits flipped."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from faults.powerloss.refusing import KINDS
from faults.powerloss.workloads import bytes_of, open_registry, pieces, push
from ferro_oci_server.api.app import router
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import BlobUnknown, DigestInvalid, UploadUnknown
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.testing.client import AsgiClient

pytestmark = pytest.mark.anyio

_TESTS = Path(__file__).parents[1]
_SECONDS = 100
_NAME = RepositoryName("a")
_CONTENT = bytes_of("damaged", 300_000)
_DIGEST = Digest.of(_CONTENT)

# SQLite takes no notice when the folder of its log cannot be synced; and a folder that is there need not be made. What
# it may not open for writing it opens for reading, and that is enough to count what a repository has.
_MAY_PASS = {("sync", ""), ("open", ""), ("open", "/registry.db"), ("open", "/registry.db-wal")}


@cache
def _runs(operation: str) -> Sequence[dict[str, Any]]:
    """An operation with each of its calls refused; skipped at home where the kernel does not do it."""
    path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-m", "faults.powerloss.enduring", operation],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    missing = [run["missing"] for run in runs if "missing" in run]
    if missing and not os.environ.get("CI"):
        pytest.skip(missing[0])
    assert not missing
    return runs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", ["chunks", "put"])
def test_a_refused_call_harms_nothing(operation: str, kind: str) -> None:
    runs = [run for run in _runs(operation) if run["kind"] == kind]
    assert not [run for run in runs if run["wrong"]]
    # The last run of each error is the one that gets through.
    assert [run["done"] for run in runs if not run["refused"]] == [True, True]


@pytest.mark.parametrize("kind", ["write", "resize", "sync", "rename", "open"])
@pytest.mark.parametrize("operation", ["chunks", "put"])
def test_what_was_refused_a_call_is_not_acknowledged(operation: str, kind: str) -> None:
    refused = [run for run in _runs(operation) if run["kind"] == kind and run["refused"]]
    assert not [run for run in refused if run["done"] and (kind, run["refused"][0]) not in _MAY_PASS]


def test_calls_of_all_kinds_were_refused() -> None:
    refused = {run["kind"] for run in _runs("chunks") if run["refused"]}
    assert refused >= {"write", "resize", "sync", "rename", "mkdir", "open"}


@pytest.fixture
def damaged_state(folder: Path) -> AppState:
    """A registry whose files are in ``folder``; made before the loop runs."""
    return open_registry(folder)


async def _file(folder: Path) -> Path:
    """The file of the only blob."""
    (path,) = await asyncio.to_thread(lambda: list(folder.glob("blobs/*/*/*")))
    return path


async def _read(state: AppState) -> bytes:
    reader = await state.blobs.open(await state.blobs.stat(_NAME, _DIGEST))
    try:
        return b"".join([piece async for piece in reader.pieces(0, reader.size)])
    finally:
        await reader.close()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("size", [0, len(_CONTENT) - 1, len(_CONTENT) + 1])
async def test_a_blob_of_another_size_is_not_served(size: int, damaged_state: AppState, folder: Path) -> None:
    async with damaged_state as state:
        await push(state, _NAME, _CONTENT)
        await asyncio.to_thread(os.truncate, await _file(folder), size)
        with pytest.raises(BlobUnknown):
            await _read(state)


async def test_a_blob_with_a_flipped_bit_is_not_served_whole(damaged_state: AppState, folder: Path) -> None:
    async with damaged_state as state:
        await push(state, _NAME, _CONTENT)
        await asyncio.to_thread(_flip, await _file(folder))
        try:
            reply = await AsgiClient(router(state)).request("GET", f"/v2/{_NAME}/blobs/{_DIGEST}")
        except Exception:
            # What ends a response before its end shows as an exception here, and is a cut connection to a client.
            return
        assert len(reply.body) < len(_CONTENT)


async def test_a_blob_that_shrinks_while_it_is_read_ends_in_an_error(damaged_state: AppState, folder: Path) -> None:
    async with damaged_state as state:
        await push(state, _NAME, _CONTENT)
        reader = await state.blobs.open(await state.blobs.stat(_NAME, _DIGEST))
        await asyncio.to_thread(os.truncate, await _file(folder), 1000)
        with pytest.raises(StoreError):
            assert [piece async for piece in reader.pieces(0, reader.size)]
        await reader.close()


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 1000), _flip, Path.unlink])
async def test_pushing_again_repairs_a_damaged_blob(damage: Any, damaged_state: AppState, folder: Path) -> None:
    async with damaged_state as state:
        await push(state, _NAME, _CONTENT)
        await asyncio.to_thread(damage, await _file(folder))
        await push(state, _NAME, _CONTENT)
        assert await _read(state) == _CONTENT


@pytest.mark.parametrize("left", [0, 1000])
async def test_staged_bytes_that_are_gone_do_not_become_a_blob(
    left: int, damaged_state: AppState, folder: Path
) -> None:
    async with damaged_state as state:
        session = await state.uploads.start(_NAME)
        await state.uploads.append(_NAME, session.id, pieces(_CONTENT))
        await asyncio.to_thread(os.truncate, folder / "uploads" / session.id, left)
        with pytest.raises(UploadUnknown):
            await state.uploads.complete(_NAME, session.id, _DIGEST, pieces(b""))


async def test_staged_bytes_that_have_changed_become_no_blob_that_is_served_whole(
    damaged_state: AppState, folder: Path
) -> None:
    """An empty closing request compares what was hashed while it arrived; reading the bytes again finds them wrong."""
    async with damaged_state as state:
        session = await state.uploads.start(_NAME)
        await state.uploads.append(_NAME, session.id, pieces(_CONTENT))
        await asyncio.to_thread(_flip, folder / "uploads" / session.id)
        await state.uploads.complete(_NAME, session.id, _DIGEST, pieces(b""))
        for method in ("GET", "HEAD"):
            assert (await AsgiClient(router(state)).request(method, f"/v2/{_NAME}/blobs/{_DIGEST}")).status == 404


async def test_staged_bytes_that_have_changed_are_found_when_they_are_read(
    damaged_state: AppState, folder: Path
) -> None:
    digest = Digest.of(_CONTENT, Algorithm.SHA512)
    async with damaged_state as state:
        session = await state.uploads.start(_NAME)
        await state.uploads.append(_NAME, session.id, pieces(_CONTENT))
        await asyncio.to_thread(_flip, folder / "uploads" / session.id)
        with pytest.raises(DigestInvalid):
            await state.uploads.complete(_NAME, session.id, digest, pieces(b""))
