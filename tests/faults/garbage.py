"""Garbage, and its collection, among what a client does while the server is killed.

    prepare: push what stays and what nothing keeps  ->  run: let the clock go on and collect, again and again

1. What is garbage may be there or not while it is being collected: no more is expected of it than right bytes, and that
   whatever refers to something has it. In the end it has gone.
2. What stays is checked like anything acknowledged.
3. Of the disk is left what rows know (``check_collected``): no file without a row, no row without a file.
"""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from .history import Client, Fact, Lost, Recorder, World, observe
from .operations import Operation, Place, PutManifests, put_blob, put_manifest
from .processes import Server

__all__ = ["COLLECTIONS", "GRACE", "Collect", "check_collected", "collect", "collect_all", "lasting"]

GRACE = {
    # Nobody but the tests lets the clock go on.
    "collection_interval": "7d",
    "blob_grace": "10s",
    "manifest_grace": "10s",
    "upload_grace": "10s",
    "trash_grace": "10s",
}
"""Settings of a server that is told by requests when to collect: ten seconds of a clock that these let go on."""

# An index, its images, their blobs, and their bytes: what one lets go of is due in the next.
_ROUNDS = 4
# Longer than every grace, those among them that are no settings.
_LONG = 1000.0


def collect(recorder: Recorder, seconds: float = _LONG) -> None:
    """Let the registry's clock go on, and have one worker collect."""
    recorder.do("POST", f"/faults/collect?seconds={seconds:g}", status=200)


def collect_all(recorder: Recorder) -> None:
    """Collect until there is nothing more to collect."""
    for _ in range(_ROUNDS + 1):
        collect(recorder)


@dataclass
class Collect:
    """A registry with garbage of one kind, which is collected."""

    place: Place
    make: Callable[[Place, Recorder], None]
    aged: int = 0
    """How many rounds of collection are done before: what is removed by then waits as trash."""
    then: Callable[[Place, Recorder], None] | None = None
    """What the client does before it is collected again."""
    _garbage: set[Fact] = field(default_factory=set)

    def prepare(self, recorder: Recorder) -> None:
        """Push what stays, make garbage, and expect nothing more of it."""
        PutManifests(self.place, (("first", ("stays",)), ("signature", ())), prepared=2).prepare(recorder)
        self.make(self.place, recorder)
        self._garbage = set(recorder.world).difference(lasting(recorder.world))
        recorder.forget(self._garbage)
        for _ in range(self.aged):
            collect(recorder)

    def run(self, recorder: Recorder) -> None:
        """Collect until all of it has gone; the rest of a collection that was interrupted is done."""
        if self.then is not None:
            self.then(self.place, recorder)
        for _ in range(_ROUNDS):
            collect(recorder)

    def check_gone(self, recorder: Recorder) -> None:
        """See that no garbage is left that was not pushed again."""
        left = set(self.check(recorder)).difference(recorder.world)
        if left:
            raise Lost(f"I5: not collected: {', '.join(map(str, left))}")

    def check(self, recorder: Recorder) -> World:
        """See that what is there of the garbage is whole; return it."""
        found = observe(recorder.client, self._garbage)
        whole = Recorder(recorder.client, {**found, **recorder.world}, {*recorder.known, *self._garbage})
        whole.check()
        return found


def _overwrite(place: Place, recorder: Recorder) -> None:
    old, new = place.image("old"), place.image("new")
    for image in (old, new):
        for blob in image.blobs:
            put_blob(recorder, place.repository, blob, place.algorithm)
        put_manifest(recorder, place.repository, image, ("v1",), by_digest=True)


def _delete_index(place: Place, recorder: Recorder) -> None:
    more = Place(f"{place.repository}-more", place.algorithm, place.seed)
    steps = (("first", ()), ("second", ()), ("signature", ()), ("index", ("v1",)))
    PutManifests(more, steps, by_digest=True, prepared=4).prepare(recorder)
    tag = Fact("tag", more.repository, "v1")
    recorder.do("DELETE", f"/v2/{more.repository}/manifests/v1", status=202, change={tag: None})


def _delete_manifest(place: Place, recorder: Recorder) -> None:
    """A manifest that has the layer of the one that stays, and one of its own."""
    _overwrite(place, recorder)
    digest = place.image("new").digest
    gone: dict[Fact, None] = {Fact("manifest", place.repository, digest): None}
    gone |= {Fact("tag", place.repository, "v1"): None}
    recorder.do("DELETE", f"/v2/{place.repository}/manifests/{digest}", status=202, change=gone)


def _push_alone(place: Place, recorder: Recorder) -> None:
    """Blobs that no manifest refers to; one of them is referred to elsewhere, and has been pushed twice."""
    put_blob(recorder, place.repository, place.content(5000, "alone"), place.algorithm)
    put_blob(recorder, place.other, place.image("first").blobs[1], place.algorithm)
    put_blob(recorder, place.other, place.content(5000, "alone"), place.algorithm)


def _leave_upload(place: Place, recorder: Recorder) -> None:
    location = recorder.do("POST", f"/v2/{place.repository}/blobs/uploads/", status=202).headers["Location"]
    upload = Fact("upload", place.repository, location.rpartition("/")[2])
    recorder.learn({upload: 0})
    headers = {"Content-Type": "application/octet-stream"}
    recorder.do("PATCH", location, place.content(1000), headers, status=202, change={upload: 1000})


def _push_again(place: Place, recorder: Recorder) -> None:
    """The image whose blobs wait as trash, or are just being deleted."""
    old = place.image("old")
    for blob in old.blobs:
        put_blob(recorder, place.repository, blob, place.algorithm)
    put_manifest(recorder, place.repository, old, ("again",), by_digest=True)


COLLECTIONS: Mapping[str, Callable[[Place], Operation]] = {
    "collect an overwritten image": lambda place: Collect(place, _overwrite),
    "collect an index": lambda place: Collect(place, _delete_index),
    "collect what a manifest had": lambda place: Collect(place, _delete_manifest),
    "collect blobs": lambda place: Collect(place, _push_alone),
    "collect an upload": lambda place: Collect(place, _leave_upload),
    "collect, push what waits as trash": lambda place: Collect(place, _overwrite, aged=2, then=_push_again),
    "collect, push what was removed": lambda place: Collect(place, _overwrite, aged=3, then=_push_again),
}
"""For servers with the settings ``GRACE`` only."""


def lasting(world: World) -> World:
    """What of this the registry keeps for ever: what tags, indexes, subjects and manifests keep."""
    kept = {fact for fact in world if fact.kind == "tag"}
    todo = [Fact("manifest", tag.repository, str(world[tag])) for tag in kept]
    while todo:
        fact = todo.pop()
        if fact in kept or fact not in world:
            continue
        kept.add(fact)
        if fact.kind == "manifest":
            todo += [Fact(kind, fact.repository, digest) for kind, digest in fact.references(world[fact])]
            todo += [it for it, value in world.items() if it.subject(value) == (fact.repository, fact.key)]
    return {fact: value for fact, value in world.items() if fact in kept}


def check_collected(server: Server) -> None:
    """When all was collected: see that the files are those that rows know, and nothing waits any more.

    Raises:
        Lost: it is not so.
    """
    collect_all(Recorder(Client(server.address)))
    wrong = _uncollected(server)
    if wrong:
        raise Lost(f"I5: after all was collected there are {wrong}")


def _uncollected(server: Server) -> str:
    """What is on the disk or in the database and has no reason to be there."""
    with closing(sqlite3.connect(f"file:{server.storage / 'registry.db'}?mode=ro", uri=True)) as database:
        blobs = {location for (location,) in database.execute("SELECT location FROM blobs")}
        uploads = {upload for (upload,) in database.execute("SELECT id FROM uploads")}
        waiting = database.execute("SELECT kind, repository, key FROM reviews").fetchall()
        trash = database.execute("SELECT location FROM trash").fetchall()
        loose = database.execute(
            "SELECT digest FROM blobs WHERE digest NOT IN (SELECT digest FROM repository_blobs)"
        ).fetchall()
    folder = server.storage / "blobs"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    staged = {path.name for path in (server.storage / "uploads").rglob("*") if path.is_file()}
    found = {
        "files without a row": files - blobs,
        "rows without a file": blobs - files,
        "staged bytes without a row": staged - uploads,
        "uploads": uploads,
        "reviews": waiting,
        "trash": trash,
        "blobs that nothing links": loose,
    }
    return "; ".join(f"{what}: {sorted(those)[:3]} ({len(those)})" for what, those in found.items() if those)
