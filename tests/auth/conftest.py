"""Fixtures of the tests of authentication: a guarded registry in memory, with content."""

from dataclasses import dataclass

import pytest

from api.pushing import Pushing
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import Content, image

from .world import Guarded, gate, whole


@dataclass
class Filled:
    """The registry, and what is in it: one image in a private and in a public repository, and an upload of nobody."""

    state: AppState
    open: AsgiClient
    image: Content


@pytest.fixture
def new_state() -> AppState:
    """Memory alone: what the gate does is the same on every store."""
    return AppState(InMemoryBlobStore(), InMemoryRegistryMeta())


@pytest.fixture
async def filled(state: AppState) -> Filled:
    """What is behind the gate."""
    client = AsgiClient(whole(state))
    content = image(b"layer")
    for name in ("private/app", "public/app"):
        await Pushing(client, name).content(content, "v1")
    return Filled(state, client, content)


@pytest.fixture
def guarded(filled: Filled) -> Guarded:
    """A client before the gate."""
    return Guarded(AsgiClient(gate(filled.state)))
