"""Fixtures of the client tests, and the table client x operation that is printed after them.

A test names its operation with `@pytest.mark.operation("push")`; its client is its file's name. What a client does
not offer stands, with the reason, in its file's `NOT_OFFERED`. `test_coverage.py` checks that nothing is left out.
"""

import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry, Setup, serve
from support.tools import clean_environment, require, version

from .recorder import Recording, record

OPERATIONS = {
    "push": "push an image",
    "pull": "pull it again after removing it locally",
    "repush": "push it again: the layers are found there",
    "copy": "copy to another repository: the layers are mounted where the client mounts",
    "tags": "list the tags",
    "delete": "delete",
    "index": "a multi-platform index",
    "large": "a layer of 1 GiB, in bounded memory of the server",
    "schema2": "Docker's media types",
    "referrers": "attach to an image, and find what is attached",
    "own": "what only this client does: signatures, charts, other digests",
}
# Whose version counts, where the command is a client of a daemon only.
DAEMONS = {"docker": "dockerd", "ctr": "containerd", "buildctl": "buildkitd"}
WORKERS = int(os.environ.get("FERRO_INTEROP_WORKERS", "1"))
LARGE_MIB = int(os.environ.get("FERRO_INTEROP_LARGE_MIB", "1024"))


@dataclass
class Results:
    """client -> operation -> worst outcome, and client -> version."""

    outcomes: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


RESULTS = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "operation(name): the operation of the client that the test is about")
    config.stash[RESULTS] = Results()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("operation")
    if marker is not None and (report.when == "call" or report.outcome != "passed"):
        row = item.config.stash[RESULTS].outcomes.setdefault(client_of(item.path), {})
        if row.get(marker.args[0]) != "FAIL":
            row[marker.args[0]] = {"passed": "ok", "failed": "FAIL", "skipped": "missing"}[report.outcome]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash[RESULTS]
    if not results.outcomes:
        return
    terminalreporter.section("real clients")
    for line in table(results):
        terminalreporter.write_line(line)


def table(results: Results) -> list[str]:
    rows = [["", *OPERATIONS]]
    for client, outcomes in results.outcomes.items():
        title = f"{client} {results.versions.get(client, '')}"
        rows.append([title, *(outcomes.get(operation, "-") for operation in OPERATIONS)])
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [" ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def client_of(path: Path) -> str:
    return path.stem.removeprefix("test_")


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A folder for what is too large for pytest to keep after the run."""
    with tempfile.TemporaryDirectory(prefix="ferro-interop-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def registry(workspace: Path) -> Iterator[Registry]:
    """The registry as installed, with its files in a folder, for all tests: each uses repositories of its own."""
    with serve(Setup(workspace / "registry", WORKERS), workspace / "registry.log") as running:
        yield running


@pytest.fixture
def recorded(registry: Registry) -> Iterator[tuple[Registry, Recording]]:
    """The same registry behind a proxy that notes what is asked."""
    with record(registry) as pair:
        yield pair


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository for this test alone."""
    test = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    return f"{client_of(request.path)}/{test}"


@pytest.fixture(scope="module")
def home(workspace: Path, request: pytest.FixtureRequest) -> Path:
    return workspace / client_of(request.path)


@pytest.fixture(scope="module")
def program(home: Path, request: pytest.FixtureRequest) -> Callable[..., Client]:
    """Make a client from a program's name, in a clean environment; the file's own has its version noted."""

    def make(name: str, *options: str) -> Client:
        client = Client((require(name), *options), clean_environment(home))
        request.config.stash[RESULTS].versions.setdefault(client_of(request.path), version(DAEMONS.get(name, name)))
        return client

    return make


@pytest.fixture(scope="session")
def large(workspace: Path) -> Image:
    """An image with one layer of 1 GiB."""
    return images.large_image(workspace, LARGE_MIB)


@pytest.fixture(scope="session")
def large_layout(large: Image, workspace: Path) -> Path:
    return large.layout(workspace / "large-layout")


@pytest.fixture(scope="session")
def large_archive(large: Image, workspace: Path) -> Path:
    return large.archive(workspace / "large.tar", "large:v1")
