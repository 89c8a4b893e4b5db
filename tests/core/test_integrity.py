"""Damaged blobs under a registry on both pairs of stores: downloads, the scrub and verification."""

import logging
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import Any

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.inspection import Finding, FindingKind
from ferro_oci_server.core.integrity import CheckedReader, Integrity
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import StoreCorrupted, StoreUnavailable
from ferro_oci_server.core.records import Blob
from ferro_oci_server.core.scrubber import Scrub, Scrubber
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image, index
from support.damage import DAMAGES, Damage, flipped, missing

from .damaging import blob_of, damage_at, damage_blob
from .test_collector import get, push, push_blob

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024
LARGE = b"large" * MEBIBYTE
BLOB = b"blob"
DIGEST = Digest.of(BLOB)
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@pytest.fixture
def new_state(backend_pair: Callable[..., AppState]) -> AppState:
    """A state that scrubs as fast as it can, when it is told to."""
    return backend_pair(scrub=Scrub(rate=1e12, interval=3600), missing_references=MissingReferences())


@pytest.fixture
def client(state: AppState) -> AsgiClient:
    return AsgiClient(router(state))


async def head(client: AsgiClient, digest: Digest = DIGEST) -> int:
    return (await client.request("HEAD", f"/v2/a/b/blobs/{digest}")).status


async def verify(state: AppState, *, repair: bool = False) -> list[Finding]:
    return [finding async for finding in state.verify(repair=repair)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# Downloads


@damages
async def test_a_damaged_blob_is_unknown_once_it_was_asked_for(
    client: AsgiClient, state: AppState, damage: Damage
) -> None:
    await push_blob(client, BLOB)
    await damage_blob(state, DIGEST, damage)
    assert (await get(client, f"blobs/{DIGEST}")).status == 404
    assert await head(client) == 404
    assert (await client.request("POST", f"/v2/c/d/blobs/uploads/?mount={DIGEST}&from=a/b")).status == 202
    await push_blob(client, BLOB)
    assert (await get(client, f"blobs/{DIGEST}")).body == BLOB


async def test_a_manifest_may_refer_to_a_damaged_blob(client: AsgiClient, state: AppState) -> None:
    await push(client, image(BLOB), "v1")
    await damage_blob(state, DIGEST, missing)
    await get(client, f"blobs/{DIGEST}")
    headers = {"Content-Type": image(BLOB).media_type}
    reply = await client.request("PUT", "/v2/a/b/manifests/v2", body=image(BLOB).body, headers=headers)
    assert reply.status == 201


async def test_a_large_blob_is_delivered_in_its_order(client: AsgiClient) -> None:
    await push_blob(client, LARGE)
    assert (await get(client, f"blobs/{Digest.of(LARGE)}")).body == LARGE


class Pieces:
    """A reader that gives these pieces."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self.size = sum(map(len, pieces))

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            yield piece
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, MEBIBYTE])
async def test_of_wrong_bytes_the_last_piece_is_never_given(size: int) -> None:
    pieces = [b"a" * size, b"b" * size, b"c"]
    blob = Blob(Digest.of(b"another"), 2 * size + 1, "somewhere")
    reader = CheckedReader(Pieces(*pieces), blob, Integrity(InMemoryBlobStore(), None))
    given = []
    with pytest.raises(StoreCorrupted):
        async for piece in reader.pieces(0, reader.size):
            given.append(piece)
    assert given == pieces[:2]


async def test_an_empty_blob_is_read(client: AsgiClient) -> None:
    await push_blob(client, b"")
    assert (await get(client, f"blobs/{Digest.of(b'')}")).status == 200


async def test_a_reader_that_fails_for_now_marks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reader = CheckedReader(
        Pieces(b"x", b"y", error=StoreUnavailable("")),
        Blob(Digest.of(b"xyz"), 3, "somewhere"),
        Integrity(InMemoryBlobStore(), None),
    )
    with pytest.raises(StoreUnavailable):
        _ = [piece async for piece in reader.pieces(0, 1)]
    assert warnings(caplog) == []


class Unmarkable(InMemoryRegistryMeta):
    """Metadata that is read-only for now."""

    async def mark_blob(self, blob: Blob, *, suspect: bool) -> bool:
        raise StoreUnavailable("read-only")


async def test_damage_that_cannot_be_marked_is_told_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async with AppState(InMemoryBlobStore(), Unmarkable()) as state:
        client = AsgiClient(router(state))
        await push_blob(client, BLOB)
        await damage_blob(state, DIGEST, missing)
        assert (await get(client, f"blobs/{DIGEST}")).status == 404
    assert warnings(caplog) == ["a damaged blob cannot be marked", "a blob is damaged"]


# The scrub


@damages
async def test_the_scrub_marks_damaged_blobs_and_no_others(
    client: AsgiClient, state: AppState, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    for blob in (BLOB, b"sound", LARGE):
        await push_blob(client, blob)
    await damage_blob(state, DIGEST, damage)
    assert state.scrubber is not None
    await state.scrubber.scrub()
    assert [await head(client, Digest.of(blob)) for blob in (BLOB, b"sound", LARGE)] == [404, 200, 200]
    assert warnings(caplog) == ["a blob is damaged"]
    count = await state.scrub_count()
    assert (count.cycles, count.blobs, count.suspects) == (1, 3, 1)


async def test_the_scrub_restores_from_the_quarantine(client: AsgiClient, state: AppState) -> None:
    await push_blob(client, BLOB)
    await push_blob(client, BLOB)
    await damage_blob(state, DIGEST, flipped)
    assert state.scrubber is not None
    await state.scrubber.scrub()
    assert (await get(client, f"blobs/{DIGEST}")).body == BLOB


async def test_the_scrub_lifts_a_mark_from_what_is_sound(client: AsgiClient, state: AppState) -> None:
    await push_blob(client, BLOB)
    meta: Any = state._registry_meta
    await meta.mark_blob(await blob_of(state, DIGEST), suspect=True)
    assert state.scrubber is not None
    await state.scrubber.scrub()
    assert await head(client) == 200


async def test_the_scrub_passes_what_cannot_be_read_now(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(InMemoryBlobStore):
        async def open(self, location: str) -> Any:
            raise StoreUnavailable("no more files")

    async with AppState(Refusing(), InMemoryRegistryMeta()) as state:
        client = AsgiClient(router(state))
        await push_blob(client, BLOB)
        assert state.scrubber is not None
        await state.scrubber.scrub()
        assert await head(client) == 200
        assert [finding.problem for finding in await verify(state, repair=True)] == [
            "it cannot be read now: no more files"
        ]
    assert warnings(caplog) == ["a blob cannot be read"]


async def test_the_scrub_keeps_to_its_rate(state: AppState) -> None:
    meta: Any = state._registry_meta
    scrubber = Scrubber(meta, Integrity(state._blob_store, meta), Scrub(rate=10 * MEBIBYTE))
    started = monotonic()
    for _ in range(3):
        await scrubber._pay(MEBIBYTE // 2)
    assert monotonic() - started > 0.14


# Verification


async def test_a_healthy_registry_has_no_findings(client: AsgiClient, state: AppState) -> None:
    await push(client, image(BLOB))
    await push(client, index([image(BLOB)]), "v1")
    await push(client, image(b"signature", subject=image(BLOB).descriptor()))
    await push_blob(client, BLOB)
    assert await verify(state, repair=True) == []


@damages
async def test_verification_finds_damage_and_changes_nothing_unless_told_to(
    client: AsgiClient, state: AppState, damage: Damage
) -> None:
    await push(client, image(BLOB), "v1")
    await damage_blob(state, DIGEST, damage)
    assert [(it.kind, it.key, it.outcome) for it in await verify(state)] == [(FindingKind.BLOB, DIGEST, "")]
    assert await head(client) == 200
    assert [it.outcome for it in await verify(state, repair=True)] == ["must be pushed again"]
    assert await head(client) == 404


async def test_what_the_quarantine_has_is_restored_if_it_is_good(client: AsgiClient, state: AppState) -> None:
    locations = []
    for _ in range(3):
        await push_blob(client, BLOB)
        locations.append((await blob_of(state, DIGEST)).location)
    await damage_at(state, locations[0], flipped)
    await damage_at(state, locations[2], missing)
    assert [it.outcome for it in await verify(state, repair=True)] == ["restored from the quarantine"]
    assert (await blob_of(state, DIGEST)).location == locations[1]
    assert (await get(client, f"blobs/{DIGEST}")).body == BLOB


async def test_a_blob_that_is_pushed_again_while_it_is_looked_at_is_no_finding(
    client: AsgiClient, state: AppState
) -> None:
    await push_blob(client, BLOB)
    await damage_blob(state, DIGEST, flipped)
    assert state.verifier is not None
    meta: Any = state._registry_meta
    inspected = await meta.inspect_blob(DIGEST)
    await push_blob(client, BLOB)
    assert await state.verifier._blob(inspected, repair=True) is None
    assert await head(client) == 200


async def test_stores_that_cannot_be_inspected_are_not_verified() -> None:
    class Plain:
        async def close(self) -> None:
            """Nothing is held."""

    state = AppState(InMemoryBlobStore(), Plain())  # type: ignore[arg-type]
    assert await verify(state) == []
    assert (state.scrubber, (await state.scrub_count()).blobs) == (None, 0)
    await state.close()
