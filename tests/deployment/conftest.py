"""The image, built once."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .containers import Image, built


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    # Not one of pytest's folders, of which it keeps the last three.
    with TemporaryDirectory(prefix="ferro-image-") as home, built(Path(home)) as image:
        yield image
