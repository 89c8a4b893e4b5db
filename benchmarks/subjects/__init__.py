"""The servers that are measured: how each is started, and how it comes to hold much without being asked much."""

import http.client
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import processes
from support.process import daemon, free_port

__all__ = ["Holdings", "Kind", "Named", "Subject", "answers", "environment_of", "running"]


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much a registry holds before it is measured."""

    tags: int = 0
    """Manifests in one repository, each with a tag."""
    listed: bool = False
    """Whether it has as many repositories, and as many referrers of one manifest, too."""


class Named(Protocol):
    """What is measured, whoever starts it."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def title(self) -> str:
        """What it is, for those who read the report."""
        ...


class Kind(Named, Protocol):
    """A way to serve a folder."""

    @property
    def store(self) -> str:
        """Kinds with the same one can serve the same folder; empty where nothing is kept on a disk."""
        ...

    @property
    def ready(self) -> str:
        """A path that is answered once it serves; by anything but a 5xx."""
        ...

    def command(self, address: str, storage: Path) -> Sequence[str]:
        """How to start it."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Its settings."""
        ...

    def fill(self, storage: Path, holdings: Holdings) -> None:
        """Put into a folder what it would hold after all that had been pushed.

        The folder has the blobs that manifests refer to, pushed in the usual way, and is not being served.
        """
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A server that runs."""

    kind: Named
    address: str
    pid: int
    storage: Path

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.kind.name

    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return processes.cpu_seconds(self.pid)


@contextmanager
def running(kind: Kind, storage: Path, log: Path) -> Iterator[Subject]:
    """Start a server and end it, by its id."""
    address = f"127.0.0.1:{free_port()}"
    with daemon(
        kind.command(address, storage), environment_of(kind), log, lambda: answers(address, kind.ready)
    ) as process:
        yield Subject(kind, address, process.pid, storage)


def environment_of(kind: Kind) -> Mapping[str, str]:
    """The settings of a kind, in an environment that has no others."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FERRO_OCI_", "OTEL_"))}
    return {**inherited, **kind.environment()}


def answers(address: str, path: str) -> bool:
    """Whether a server is there and ready."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()
