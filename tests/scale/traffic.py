"""Clients that push and pull at a steady rate, over connections that stay open.

1. Requests are due at times that do not depend on the answers: a server that stops for a while has them all wait, and
   each is as late as it is. So latency counts from when a request was due.
2. One connection has one request at a time.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.images import Content, image

from .seeding import BLOBS, Image, content_of

__all__ = ["KINDS", "Connection", "Sample", "Traffic"]

KINDS = ("pull manifest", "pull blob", "push blob", "push manifest")
"""What is measured: GET of a manifest by its tag, GET of a blob, POST and PUT of a blob, PUT of a manifest."""

_PUSHED_SIZE = 4096
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, or two that push a blob."""

    kind: str
    due: float
    ended: float

    @property
    def latency(self) -> float:
        return self.ended - self.due


class Connection:
    """A connection to the registry."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.partition(":")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(
        self, method: str, target: str, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request that must be answered with ``status``; return the headers, in small letters, and the body."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, int(self._port))
            reader, writer = self._streams
            lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}:{self._port}"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            lines += [f"Content-Length: {len(body)}", "", ""]
            writer.write("\r\n".join(lines).encode("ascii") + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            answer = await reader.readexactly(int(fields.get("content-length", 0)))
        if head[0].split()[1] != str(status):
            raise AssertionError(f"{method} {target}: {head[0]}, not {status}: {answer[:200]!r}")
        return fields, answer

    def close(self) -> None:
        """Close it, if it was opened."""
        if self._streams is not None:
            self._streams[1].close()


class Traffic:
    """Clients that go on until they are stopped."""

    def __init__(self, address: str, pulled: Sequence[Image], living: int, rate: float, connections: int) -> None:
        """Half of the connections pull and half push, with ``rate`` requests a second each way, all in all."""
        self.samples: list[Sample] = []
        self._pulled = pulled
        self._living = living
        self._period = connections / 2 / rate
        self._connections = [Connection(address) for _ in range(connections)]
        self._tasks: list[asyncio.Task[None]] = []
        self._ends = False

    def start(self) -> None:
        """Begin."""
        for number, connection in enumerate(self._connections):
            client = _Pusher(connection, number) if number % 2 else _Puller(connection, number, self)
            self._tasks.append(asyncio.create_task(self._repeat(client, random.Random(number))))

    async def stop(self) -> None:
        """End, when the images that are being pushed are whole.

        Raises:
            AssertionError: a request was not answered as it should be.
        """
        self._ends = True
        await asyncio.gather(*self._tasks)
        for connection in self._connections:
            connection.close()

    def check(self) -> None:
        """See that all clients are still at work.

        Raises:
            AssertionError: a request was not answered as it should be.
        """
        for task in self._tasks:
            if task.done():
                task.result()

    def any_living(self, chance: random.Random) -> Image:
        """An image that lives, any of them."""
        return Image(chance.randrange(self._living))

    def any_pulled(self, chance: random.Random) -> Image:
        """An image whose blobs can be read."""
        return chance.choice(self._pulled)

    async def _repeat(self, client: "_Client", chance: random.Random) -> None:
        due = time.perf_counter() + chance.uniform(0, self._period)
        while not (self._ends and client.is_done):
            await asyncio.sleep(due - time.perf_counter())
            kind = await client.next()
            self.samples.append(Sample(kind, due, time.perf_counter()))
            due += self._period * chance.uniform(0.5, 1.5)


class _Client(Protocol):
    """What one connection is used for."""

    @property
    def is_done(self) -> bool:
        """Whether it may end here."""

    async def next(self) -> str:
        """Do the next thing, and say of what kind it was."""


class _Puller:
    """Manifests of any image and blobs of some, in turn."""

    def __init__(self, connection: Connection, number: int, traffic: Traffic) -> None:
        self._connection = connection
        self._traffic = traffic
        self._chance = random.Random(f"pull {number}")
        self._steps = 0
        self.is_done = True

    async def next(self) -> str:
        self._steps += 1
        if self._steps % 2:
            found = self._traffic.any_living(self._chance)
            await self._connection.request("GET", f"/v2/{found.repository}/manifests/{found.tag}", 200)
            return "pull manifest"
        found, blob = self._traffic.any_pulled(self._chance), self._chance.randrange(BLOBS)
        content = content_of(found, blob)
        target = f"/v2/{found.repository}/blobs/{Digest.of(content)}"
        _, body = await self._connection.request("GET", target, 200)
        assert body == content, target
        return "pull blob"


class _Pusher:
    """Images of a config and a layer: two blobs, and their manifest."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._chance = random.Random(f"push {number}")
        self._name = f"pushed/{number}-{uuid4().hex[:8]}"
        self._images = 0
        self._blobs: list[bytes] = []

    @property
    def is_done(self) -> bool:
        return not self._blobs

    async def next(self) -> str:
        if len(self._blobs) == 2:
            await self._push_manifest(image(self._blobs[1], config=self._blobs[0]))
            self._blobs.clear()
            return "push manifest"
        blob = (
            json.dumps({"number": self._images}).encode() if not self._blobs else self._chance.randbytes(_PUSHED_SIZE)
        )
        await self._push_blob(blob)
        self._blobs.append(blob)
        return "push blob"

    async def _push_blob(self, blob: bytes) -> None:
        headers, _ = await self._connection.request("POST", f"/v2/{self._name}/blobs/uploads/", 202)
        target = f"{headers['location']}?digest={Digest.of(blob)}"
        await self._connection.request("PUT", target, 201, blob, {"Content-Type": "application/octet-stream"})

    async def _push_manifest(self, content: Content) -> None:
        self._images += 1
        target = f"/v2/{self._name}/manifests/v{self._images}"
        await self._connection.request("PUT", target, 201, content.body, {"Content-Type": content.media_type})
