"""How long the state machine runs."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A run takes some 40 ms in memory, and 150 ms with files. Most differ little from another: fewer would not meet enough.
_EXAMPLES = 200
_STEPS = 40


@pytest.fixture(scope="session")
def machine_settings() -> settings:
    """The same runs each time; ``FERRO_STATEFUL_EXAMPLES`` asks for so many others, which differ each time."""
    asked = os.environ.get("FERRO_STATEFUL_EXAMPLES")
    return settings(
        max_examples=int(asked or _EXAMPLES),
        stateful_step_count=_STEPS,
        derandomize=asked is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
