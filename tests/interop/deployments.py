"""What the clients meet: a registry with files, three replicas that take turns, and one whose downloads are links."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from support.object_store import CREDENTIALS, s3_server
from support.process import POLL_SECONDS
from support.registry import Registry, Setup, serve
from support.replicas import replicas

__all__ = ["DEPLOYMENTS", "Deployment", "Running"]

# The access log is written a moment after the answer.
_LOG_SECONDS = 10


@dataclass(frozen=True)
class Running:
    """A deployment that runs."""

    registry: Registry
    watched: Callable[[], AbstractContextManager[None]] = nullcontext
    """Fails unless what happens in its block happened as it should in this deployment."""


@dataclass(frozen=True)
class Deployment:
    """How the registry is deployed, and which operations of the clients are tested on it."""

    run: Callable[[Path, int], AbstractContextManager[Running]]
    operations: Callable[[str | None], bool]


@contextmanager
def _files(folder: Path, workers: int) -> Iterator[Running]:
    folder.mkdir(parents=True)
    with serve(Setup(folder / "registry", workers), folder / "registry.log") as registry:
        yield Running(registry)


@contextmanager
def _replicas(folder: Path, _: int) -> Iterator[Running]:
    with replicas(folder / "replicas") as world:
        yield Running(world.front)


@contextmanager
def _links(folder: Path, workers: int) -> Iterator[Running]:
    folder.mkdir(parents=True)
    log = folder / "registry.log"

    @contextmanager
    def watched() -> Iterator[None]:
        before = _count_links(log)
        yield
        deadline = time.monotonic() + _LOG_SECONDS
        while _count_links(log) == before:
            assert time.monotonic() < deadline, "no download was answered by a link"
            time.sleep(POLL_SECONDS)

    with s3_server(folder / "s3") as s3:
        settings = {"FERRO_OCI_STORAGE_URL": s3.url("links"), "FERRO_OCI_REDIRECT_DOWNLOADS": "true"}
        setup = Setup(folder / "registry", workers, {**CREDENTIALS, **settings})
        with serve(setup, log) as registry:
            yield Running(registry, watched)


def _count_links(log: Path) -> int:
    return log.read_text(encoding="utf-8").count('"status":307')


DEPLOYMENTS: Mapping[str, Deployment] = {
    "files": Deployment(_files, lambda _: True),
    # The bytes of a layer take the same way as those of small ones, and each gigabyte of them its time.
    "replicas": Deployment(_replicas, lambda operation: operation not in (None, "large")),
    "links": Deployment(_links, lambda operation: operation == "pull"),
}
