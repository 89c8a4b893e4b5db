"""The access log: one line a request, with what an operator asks for, and nothing that a client can forge."""

import asyncio
import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from pythonjsonlogger.json import JsonFormatter

from ferro_oci_server.api.access_log import AccessLog, log_exchange
from ferro_oci_server.api.app import router
from ferro_oci_server.api.exchange import Observer
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient

from .faults import faulty
from .pushing import NAME, Pushing

pytestmark = pytest.mark.anyio


class Log:
    """What was logged, as an operator's tools read it, and the observer that logs it."""

    def __init__(self, observer: Observer, read: Callable[[], str]) -> None:
        self.observer = observer
        self.read = read

    async def text(self) -> str:
        if isinstance(self.observer, AccessLog):
            await self.observer.close()
        return self.read()

    async def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (await self.text()).splitlines()]


@pytest.fixture(params=["logging", "command"])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    if request.param == "command":
        with tempfile.TemporaryFile() as file:
            yield Log(AccessLog(file.fileno()), lambda: os.pread(file.fileno(), 1 << 20, 0).decode("ascii"))
        return
    stream, logger = io.StringIO(), logging.getLogger("ferro_oci_server.access")
    handler, level = logging.StreamHandler(stream), logger.level
    handler.setFormatter(JsonFormatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield Log(log_exchange, stream.getvalue)
    logger.removeHandler(handler)
    logger.setLevel(level)


def client_of(log: Log, meta: InMemoryRegistryMeta | None = None) -> AsgiClient:
    state = AppState(InMemoryBlobStore(), meta or InMemoryRegistryMeta())
    return AsgiClient(router(state, observers=[log.observer]))


async def test_a_request_is_one_line(log: Log) -> None:
    await client_of(log).request("GET", f"/v2/{NAME}/manifests/v1", headers={"User-Agent": "docker/28.0"})
    [line] = await log.lines()
    assert line["milliseconds"] >= 0
    expected = {
        "message": "request",
        "method": "GET",
        "path": f"/v2/{NAME}/manifests/v1",
        "status": 404,
        "received": 0,
        "client": "127.0.0.1",
        "agent": "docker/28.0",
    }
    assert expected.items() <= line.items()
    assert not {"reference", "vanished"} & line.keys()


async def test_bytes_are_told_both_ways(log: Log) -> None:
    push = Pushing(client_of(log))
    await push.get(f"blobs/{await push.blob(b'x' * 5000)}")
    assert [(line["received"], line["sent"]) for line in await log.lines()] == [(5000, 0), (0, 5000)]


async def test_an_error_has_its_reference(log: Log) -> None:
    client = client_of(log, faulty(InMemoryRegistryMeta(), StoreUnavailable("x"), "list_repositories"))
    reply = await client.request("GET", "/v2/_catalog")
    assert (await log.lines())[0]["reference"] == json.loads(reply.body)["errors"][0]["detail"]["reference"]


async def test_a_client_that_vanished_is_told(log: Log) -> None:
    push = Pushing(client_of(log))
    await push.client.request("PATCH", await push.session(), body=[b"x" * 10], vanish=True)
    line = (await log.lines())[-1]
    assert (line["vanished"], line["received"]) == (True, 10)


HOSTILE = ["\x1b[2J fake", 'x"}\n{"message":"forged"}', "\r\nGET / 200", "\xff\xfe", "%s%n{0}", "\u2028"]


@pytest.mark.parametrize("agent", HOSTILE, ids=ascii)
async def test_a_client_cannot_forge_lines(log: Log, agent: str) -> None:
    sent = agent.encode().decode("latin-1")
    await client_of(log).request("GET", "/v2/", headers={"User-Agent": sent})
    text = await log.text()
    assert text.count("\n") == 1
    assert text.isascii()
    assert text.rstrip("\n").isprintable()
    assert (await log.lines())[0]["agent"] == sent


@pytest.mark.parametrize("path", ["/v2/a%0ab/manifests/x", "/v2/" + "\xff\x80/x", "*", ""])
async def test_paths_are_logged_as_they_came(log: Log, path: str) -> None:
    await client_of(log).request("GET", path)
    assert (await log.lines())[0]["path"] == path


async def test_long_texts_are_cut(log: Log) -> None:
    await client_of(log).request("M" * 999, "/v2/" + "a" * 999, headers={"User-Agent": "u" * 999})
    line = (await log.lines())[0]
    assert [len(line[field]) for field in ("method", "path", "agent")] == [256, 256, 256]


async def test_secrets_are_not_logged(log: Log) -> None:
    headers = {"Authorization": "Bearer canary", "Cookie": "session=canary"}
    await client_of(log).request("GET", "/v2/?token=canary", headers=headers)
    assert "canary" not in await log.text()


@pytest.mark.parametrize("log", ["logging"], indirect=True)
async def test_nothing_is_logged_where_nobody_listens(log: Log) -> None:
    logging.getLogger("ferro_oci_server.access").setLevel(logging.WARNING)
    await client_of(log).request("GET", "/v2/")
    assert await log.lines() == []


@pytest.mark.parametrize("log", ["command"], indirect=True)
async def test_a_line_of_the_command_has_its_time_and_level(log: Log) -> None:
    await client_of(log).request("GET", "/v2/")
    line = (await log.lines())[0]
    assert datetime.fromisoformat(line["time"]).tzinfo is not None
    assert (line["level"], line["logger"]) == ("INFO", "ferro_oci_server.access")


async def test_a_line_that_cannot_be_written_is_lost_and_the_request_is_not() -> None:
    log = Log(AccessLog(-1), str)
    assert (await client_of(log).request("GET", "/v2/")).status == 200
    assert await log.text() == ""


@pytest.mark.parametrize("log", ["command"], indirect=True)
async def test_lines_are_written_by_themselves_and_in_their_order(log: Log) -> None:
    client = client_of(log)
    for round_ in range(3):
        for number in range(20):
            await client.request("GET", f"/v2/{NAME}/tags/list?round={round_}&n={number}x")
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.2)
    statuses = [json.loads(line)["status"] for line in log.read().splitlines()]
    assert statuses == [400] * 60


@pytest.mark.parametrize("log", ["command"], indirect=True)
async def test_lines_that_nobody_takes_are_counted(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferro_oci_server.api.access_log._MAX_LINES", 2)
    for _ in range(5):
        await client_of(log).request("GET", "/v2/")
    assert [(line["message"], line.get("lines")) for line in await log.lines()] == [
        ("request", None),
        ("request", None),
        ("lines were lost", 3),
    ]
