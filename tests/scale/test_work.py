"""What collecting costs follows the garbage: the same garbage costs the same in a small registry and in a large one.

``scripts/collection-scale`` shows it for 10,000 dead blobs among a million references, and what others notice of it.
"""

import asyncio
from pathlib import Path

import pytest

from .counting import Work, counted_connections
from .seeding import Registry, hurry
from .work import collect_dead

_DEAD = 5


def work(storage: Path, living: int) -> Work:
    """Collect some images among others; what it took."""

    async def collect() -> Work:
        async with registry:
            hurry(connection for connection in connections if connection.is_open)
            await registry.add_living(living)
            dying = await registry.add_dying(_DEAD)
            await registry.settle()
            return (await collect_dead(registry, dying, connections)).work

    with counted_connections() as connections:
        registry = Registry(storage)
        return asyncio.run(collect())


def test_the_same_garbage_costs_the_same_among_more_references(folder: Path) -> None:
    few, many = work(folder / "few", 10), work(folder / "many", 300)
    assert many.statements == few.statements
    assert many.changes == few.changes
    assert many.steps == pytest.approx(few.steps, rel=0.01)
