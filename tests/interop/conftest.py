"""Fixtures of the client tests, and the table client x operation that is printed after them.

A test names its operation with `@pytest.mark.operation("push")`; its client is its file's name. What a client does
not offer stands, with the reason, in its file's `NOT_OFFERED`. `test_table.py` checks that nothing is left out. Each
test runs on every deployment that its operation is tested on.
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
from support.registry import Registry
from support.tools import clean_environment, require, version

from .deployments import DEPLOYMENTS, Running
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
    """(client, deployment) -> operation -> worst outcome, and client -> version."""

    outcomes: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


RESULTS = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "operation(name): the operation of the client that the test is about")
    config.stash[RESULTS] = Results()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "deployment" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("operation")
        operation = marker.args[0] if marker else None
        names = [name for name, deployment in DEPLOYMENTS.items() if deployment.operations(operation)]
        if "FERRO_INTEROP_COMMAND" in os.environ:
            # Another registry has no replicas of ours.
            names = ["files"]
        metafunc.parametrize("deployment", names, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("operation")
    if marker is not None and (report.when == "call" or report.outcome != "passed"):
        key = client_of(item.path), deployment_of(item)
        row = item.config.stash[RESULTS].outcomes.setdefault(key, {})
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
    for client, deployment in sorted(results.outcomes):
        outcomes = results.outcomes[client, deployment]
        title = f"{client} {results.versions.get(client, '')}, {deployment}"
        rows.append([title, *(outcomes.get(operation, "-") for operation in OPERATIONS)])
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [" ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def client_of(path: Path) -> str:
    return path.stem.removeprefix("test_")


def deployment_of(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    return str(item.callspec.params["deployment"])


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A folder for what is too large for pytest to keep after the run."""
    # A short name: podman takes no folder for what runs whose path has more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="ferro-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL runs as another user, who must be able to come here.
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="session")
def deployment(workspace: Path, request: pytest.FixtureRequest) -> str:
    """The name of what the test runs on."""
    return str(request.param)


@pytest.fixture(scope="session")
def running(workspace: Path, deployment: str) -> Iterator[Running]:
    """The registry as installed, for all tests: each uses repositories of its own."""
    with DEPLOYMENTS[deployment].run(workspace / "deployments" / deployment, WORKERS) as running:
        yield running


@pytest.fixture(scope="session")
def registry(running: Running) -> Registry:
    """The same, as clients know it."""
    return running.registry


@pytest.fixture(autouse=True)
def _watched(request: pytest.FixtureRequest) -> Iterator[None]:
    if "running" not in request.fixturenames:
        yield
        return
    with request.getfixturevalue("running").watched():
        yield


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
def home(workspace: Path, deployment: str, request: pytest.FixtureRequest) -> Path:
    """A folder for this client on this deployment: what it remembers of another one is none of its business."""
    return workspace / deployment / client_of(request.path)


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
