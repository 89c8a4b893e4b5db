"""What the tests of connections share."""

from collections.abc import Iterator

import pytest

from http1.serving import Serving, echo, serving


@pytest.fixture(scope="module")
def echoing() -> Iterator[Serving]:
    """A server that answers with what it was asked."""
    with serving(echo) as found:
        yield found
