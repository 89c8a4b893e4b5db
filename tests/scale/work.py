"""The work that the collector does for some dead blobs, in registries of several sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ferro_oci_server.core.records import ReviewKind

from .counting import Counted, Work, measured
from .seeding import BLOBS, Image, Registry

__all__ = ["Collection", "collect_dead"]

# The manifests, the links of their blobs, the bytes.
_ROUNDS = 3


@dataclass
class Collection:
    """What was removed, and the work that it took."""

    removed: dict[ReviewKind, int] = field(default_factory=dict)
    work: Work = field(default_factory=Work)


async def collect_dead(registry: Registry, images: Sequence[Image], connections: Sequence[Counted] = ()) -> Collection:
    """Take the tags from images and collect until nothing is left of them.

    Raises:
        AssertionError: something was left, or something else was removed.
    """
    collector = registry.state.collector
    assert collector is not None
    await registry.kill(images)
    done = Collection()
    for _ in range(_ROUNDS):
        # The time of a tick goes by without waiting for it.
        await collector.tick(1)
        with measured(connections) as work:
            async for verdict in collector.collect():
                assert verdict.removed, verdict
                done.removed[verdict.kind] = done.removed.get(verdict.kind, 0) + 1
        done.work += work
    blobs = BLOBS * len(images)
    assert done.removed == {ReviewKind.MANIFEST: len(images), ReviewKind.LINK: blobs, ReviewKind.TRASH: blobs}
    return done
