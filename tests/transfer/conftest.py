"""Two registries on stores of different kinds, the one to copy from and the one to copy to."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.pushing import Pushing
from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.transfer import RegistrySource, Report, Transfer

ANYTHING = MissingReferences(["*"])


@dataclass(frozen=True)
class Sides:
    """The source, which accepts manifests whatever they refer to, and the destination, which does not."""

    source: AppState
    destination: AppState

    def pushing(self, name: str = "acme/app") -> Pushing:
        """A client of the source."""
        return Pushing(AsgiClient(router(self.source)), name)

    def reading(self, name: str = "acme/app") -> Pushing:
        """A client of the destination."""
        return Pushing(AsgiClient(router(self.destination)), name)

    def transfer(self, *, parallel: int = 8) -> Transfer:
        """A transfer that has not begun; what it tells of is in its report."""
        origin = RegistrySource(self.source.blob_store, self.source.registry_meta)
        target = self.destination
        return Transfer(origin, target.blob_store, target.registry_meta, parallel=parallel)

    async def run(self, *, exact: bool = False) -> Report:
        """One pass."""
        return await self.transfer().run(exact=exact)

    async def findings(self) -> list[object]:
        """What verification finds in the destination."""
        return [finding async for finding in self.destination.verify()]


def open_state(kind: str, folder: Path, missing: MissingReferences) -> AppState:
    if kind == "memory":
        return AppState(InMemoryBlobStore(), InMemoryRegistryMeta(), missing_references=missing)
    return AppState(FsBlobStore(folder), SqliteRegistryMeta(folder / "registry.db"), missing_references=missing)


@pytest.fixture(params=["memory to files", "files to memory"])
def sides(request: pytest.FixtureRequest, folder: Path, empty_database: bytes) -> Iterator[Sides]:
    """Both registries, closed at the end."""
    (folder / "registry.db").write_bytes(empty_database)
    kinds = request.param.split(" to ")
    made = Sides(open_state(kinds[0], folder, ANYTHING), open_state(kinds[1], folder, MissingReferences()))

    async def close() -> None:
        await made.source.close()
        await made.destination.close()

    yield made
    asyncio.run(close())
