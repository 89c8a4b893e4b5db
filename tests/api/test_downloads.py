"""Downloads that do not come to their end."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from anyio import lowlevel

from ferro_oci_server.api.app import Router, router
from ferro_oci_server.api.exchange import Exchange
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient

from .pushing import NAME, Pushing
from .raw import Message, scope

pytestmark = pytest.mark.anyio

PIECES = 1000
PIECE = 8 * 1024
SIZE = PIECES * PIECE


class Reader:
    """A large blob that tells what is done with it."""

    size = SIZE

    def __init__(self, error: Exception | None = None) -> None:
        self.read = 0
        self.closed = 0
        self._error = error

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, stop, PIECE):
            self.read += 1
            yield b"x" * min(PIECE, stop - at)
            if self._error:
                raise self._error

    async def close(self) -> None:
        self.closed += 1


class Opening(InMemoryBlobStore):
    """Opens every blob with the same reader."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    async def open(self, location: str) -> Any:
        return self.reader


async def download(reader: Reader, seen: list[Exchange]) -> tuple[Router, str]:
    """A registry that has the reader's blob, and the path of it."""
    app = router(AppState(Opening(reader), InMemoryRegistryMeta()), observers=[seen.append])
    digest = await Pushing(AsgiClient(app)).blob(b"x" * SIZE)
    seen.clear()
    return app, f"/v2/{NAME}/blobs/{digest}"


def receiver(gone: Callable[[], bool]) -> Callable[[], Awaitable[Message]]:
    """What a server hands over of a request without a body, whose client goes away at some time."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        while not gone():
            await lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    return receive


async def test_a_blob_is_closed_when_it_was_read() -> None:
    reader, seen = Reader(), list[Exchange]()
    app, path = await download(reader, seen)
    assert (await AsgiClient(app).request("GET", path)).body == b"x" * SIZE
    assert (reader.read, reader.closed) == (PIECES, 1)
    assert [exchange.sent for exchange in seen] == [SIZE]


async def test_head_opens_no_blob() -> None:
    reader, seen = Reader(), list[Exchange]()
    app, path = await download(reader, seen)
    assert (await AsgiClient(app).request("HEAD", path)).status == 200
    assert (reader.read, reader.closed) == (0, 0)


async def test_a_blob_is_closed_when_the_server_says_that_the_client_is_gone() -> None:
    reader, seen, sent = Reader(), list[Exchange](), list[Message]()
    app, path = await download(reader, seen)

    async def send(message: Message) -> None:
        if len(sent) == 3:
            raise OSError("gone")
        sent.append(message)

    with pytest.raises(OSError, match="gone"):
        await app(scope(path=path), receiver(lambda: False), send)
    assert (reader.read, reader.closed) == (3, 1)
    assert [exchange.status for exchange in seen] == [200]


async def test_a_blob_is_not_read_on_when_the_client_went_away_in_silence() -> None:
    reader, seen, sent = Reader(), list[Exchange](), list[Message]()
    app, path = await download(reader, seen)

    async def send(message: Message) -> None:
        sent.append(message)
        await lowlevel.checkpoint()

    await app(scope(path=path), receiver(lambda: len(sent) > 3), send)
    assert reader.read < 10
    assert reader.closed == 1
    assert [exchange.vanished for exchange in seen] == [True]


async def test_a_blob_that_cannot_be_read_to_its_end_is_not_ended() -> None:
    error, seen, sent = StoreUnavailable("disk"), list[Exchange](), list[Message]()
    reader = Reader(error)
    app, path = await download(reader, seen)

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(StoreUnavailable):
        await app(scope(path=path), receiver(lambda: False), send)
    assert sent[-1].get("more_body") is True
    assert reader.closed == 1
    assert [exchange.error for exchange in seen] == [error]


async def test_a_blob_of_another_size_than_was_recorded_is_closed_and_unknown() -> None:
    reader, seen = Reader(), list[Exchange]()
    app, path = await download(reader, seen)
    reader.size = SIZE - 1
    assert (await AsgiClient(app).request("GET", path)).status == 404
    assert (reader.read, reader.closed) == (0, 1)
