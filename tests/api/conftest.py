"""Fixtures of the tests through HTTP."""

import pytest

from ferro_oci_server.testing.client import AsgiClient

from .pushing import Pushing


@pytest.fixture
def push(registry: AsgiClient) -> Pushing:
    """Pushes to ``registry``."""
    return Pushing(registry)
