"""A process to start servers from, for all tests here, and a seed that ``FERRO_FAULTS_SEED`` may set."""

import os
from collections.abc import Iterator

import pytest

from .processes import Launcher


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    with Launcher() as started:
        yield started


@pytest.fixture(scope="session")
def seed() -> int:
    return int(os.environ.get("FERRO_FAULTS_SEED", "4"))
