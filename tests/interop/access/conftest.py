"""The guarded registry, and each client in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .clients import CLIENTS, RegistryClient
from .world import World, guarded


@pytest.fixture(scope="package")
def world(workspace: Path) -> Iterator[World]:
    folder = workspace / "access"
    folder.mkdir()
    settings = {
        # The long pulls are to outlast a token,
        "token_seconds": "3",
        # and a line that is shared by many layers brings nothing of some for longer than a client should rest.
        "response_idle_seconds": "300",
        # All clients together are wrong more often than people.
        "failed_logins_per_minute": "1000",
    }
    with guarded(folder, **settings) as world:
        yield world


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, world: World, workspace: Path) -> Iterator[RegistryClient]:
    with CLIENTS[request.param](world, workspace / f"access-{request.param}") as client:
        yield client


@pytest.fixture
def short(request: pytest.FixtureRequest) -> str:
    """The client's name, in the names of its repositories."""
    return str(request.node.callspec.params["client"])
