"""Pulls that take longer than a token lasts: all clients at once, each over a slow line of its own.

A token of three seconds is taken for a minute more, and clients that look at a token's time keep it for a minute: what
they send at its end has three seconds to arrive, on a machine that may be busy. The last layers are asked for after
that where a client gets some at a time: none gets more than six.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from support import images
from support.throttle import throttled

from .clients import CLIENTS, RegistryClient
from .world import World, password

# A chart and a signature take no time.
PULLING = [name for name in CLIENTS if name not in ("helm", "cosign")]
# Before its #9274 containerd shows the old token for ever, to any registry; it asks for all layers at once.
ASKING_AGAIN = [name for name in PULLING if name != "containerd"]
# When the last is asked for, all but six have come: that is 66 seconds after the first.
LAYERS = 27
LAYER_BYTES = 128 * 1024
SECONDS = 85
TOKEN_SECONDS = 63


@pytest.mark.timeout(240)
def test_a_pull_outlasts_its_token(world: World, workspace: Path) -> None:
    image = images.image("long", layer_count=LAYERS, random_bytes=LAYER_BYTES)
    with ExitStack() as stack:
        started: dict[str, RegistryClient] = {}
        for name in PULLING:
            world.registry.push(f"private/long-{name}", image)
            slow = stack.enter_context(throttled(world.address, LAYERS * LAYER_BYTES / SECONDS))
            there = replace(world, registry=replace(world.registry, address=slow))
            started[name] = stack.enter_context(CLIENTS[name](there, workspace / f"long-{name}"))
        with ThreadPoolExecutor(len(started)) as pool:
            pulls = {name: pool.submit(_pull, client, name) for name, client in started.items()}
        assert min(pull.result() for pull in pulls.values()) > TOKEN_SECONDS
    for name in ASKING_AGAIN:
        assert _seconds_between_layers(world, f"private/long-{name}") > TOKEN_SECONDS, name


def _pull(client: RegistryClient, name: str) -> float:
    client.run = client.run.patient(200)
    client.login("reader", password("reader"))
    source = f"{client.address}/private/long-{name}:v1"
    started = time.monotonic()
    client.pull(source)
    return time.monotonic() - started


def _seconds_between_layers(world: World, repository: str) -> float:
    requests = world.requests(f"/v2/{repository}/blobs/sha256:")
    times = [datetime.fromisoformat(it["time"]) for it in requests if (it["method"], it["status"]) == ("GET", 200)]
    return (max(times) - min(times)).total_seconds()
