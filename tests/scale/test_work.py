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


def work(storage: Path, living: int, days: int = 1) -> Work:
    """Collect some images among others, in a registry that has served for some days; what it took."""

    async def collect() -> Work:
        async with registry:
            hurry(connection for connection in connections if connection.is_open)
            registry.age(connections[-1], days)
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


def test_the_same_garbage_costs_the_same_after_years(folder: Path) -> None:
    young, old = work(folder / "young", 10), work(folder / "old", 10, days=400)
    assert old.statements == young.statements
    assert old.changes == young.changes
    assert old.steps == pytest.approx(young.steps, rel=0.01)
