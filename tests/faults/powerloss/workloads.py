"""What is recorded: a registry on files at work, each time in a new folder.

    python -m faults.powerloss.workloads FOLDER WORKLOAD...

Marks go to ``FOLDER/marks``: see ``promises``. What happens before the mark ``begin`` counts as long ago.
"""

import asyncio
import json
import os
import random
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from faults.powerloss.promises import Effects, Key
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.records import UploadSession
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import DigestInvalid
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.images import Content, image

__all__ = ["WORKLOADS", "bytes_of", "image_of", "open_registry", "pieces", "push", "put", "retry"]

_PIECE = 100_000
# More than two batches of the store, and not a whole number of sectors.
_LARGE = 600_123
_CONCURRENT = 16
_ROUNDS = 2
_ATTEMPTS = 20


def open_registry(folder: Path) -> AppState:
    """A registry on files. Call it outside the event loop."""
    store = FsBlobStore(folder)
    return AppState(store, SqliteRegistryMeta(folder / "registry.db"))


def bytes_of(label: str, size: int) -> bytes:
    """Bytes that look like nothing, and are the same for the same label."""
    return random.Random(label).randbytes(size)


def image_of(label: str, subject: Content | None = None) -> Content:
    """An image with two small blobs."""
    more: dict[str, Any] = {} if subject is None else {"subject": subject.descriptor()}
    return image(bytes_of(f"{label} layer", 1500), config=f'{{"label":"{label}"}}'.encode(), **more)


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    """Bytes as they would arrive."""
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]


async def push(state: AppState, name: RepositoryName, content: bytes, algorithm: Algorithm = Algorithm.SHA256) -> None:
    """Push a blob in one request."""
    await state.uploads.push(name, Digest.of(content, algorithm), pieces(content))


async def put(state: AppState, name: RepositoryName, tags: Sequence[str], pushed: Content) -> None:
    """Put a manifest under several tags at once."""
    await state.manifests.put(name, pushed.digest, pushed.body, pushed.media_type, tags=[Tag(tag) for tag in tags])


async def retry(state: AppState, how: Sequence[Any]) -> None:
    """Do again what a client has had no answer to."""
    if how[0] == "push":
        _, name, label, size = how
        await push(state, RepositoryName(name), bytes_of(label, size))
    else:
        _, name, tags, label, about = how
        subject = image_of(about) if about else None
        await put(state, RepositoryName(name), tags, image_of(label, subject))


class Run:
    """One workload in its folder."""

    def __init__(self, folder: Path, marks: int) -> None:
        self.folder = folder
        self._marks = marks
        self._count = 0

    def begin(self) -> None:
        """Say that what was done so far was done long ago."""
        self._mark("begin", {}, answered=True)

    async def do(
        self, work: Awaitable[Any], effects: Effects | None = None, how: Iterable[object] = (), **contents: object
    ) -> Any:
        """Do something, and tell before and after."""
        self._count += 1
        name = str(self._count)
        self._mark(name, effects or {}, answered=False, retry=list(how), contents=contents)
        result = await work
        self._mark(name, {}, answered=True)
        return result

    async def push(self, state: AppState, repository: str, label: str, size: int) -> None:
        """Push a blob in one request."""
        content, name = bytes_of(label, size), RepositoryName(repository)
        effects: dict[Key, object] = {("blob", repository, Digest.of(content)): True}
        await self.do(push(state, name, content), effects, ("push", repository, label, size))

    async def put(self, state: AppState, repository: str, tags: Sequence[str], label: str, about: str = "") -> None:
        """Put a manifest whose blobs are there."""
        subject = image_of(about) if about else None
        pushed = image_of(label, subject)
        effects: dict[Key, object] = {("manifest", repository, pushed.digest): True}
        effects |= {("tag", repository, tag): pushed.digest for tag in tags}
        if subject:
            effects["referrer", repository, subject.digest, pushed.digest] = True
        work = put(state, RepositoryName(repository), tags, pushed)
        await self.do(work, effects, ("put", repository, list(tags), label, about))

    async def push_blobs(self, state: AppState, repository: str, pushed: Content) -> None:
        """Push what a manifest needs."""
        for content in pushed.blobs:
            await self.push_content(state, repository, content)

    async def push_content(self, state: AppState, repository: str, content: bytes) -> None:
        """Push a blob in one request, which is not repeated."""
        effects: dict[Key, object] = {("blob", repository, Digest.of(content)): True}
        await self.do(push(state, RepositoryName(repository), content), effects)

    async def start(
        self, state: AppState, repository: str, label: str, size: int, **options: Algorithm
    ) -> UploadSession:
        """Open a session in which ``bytes_of(label, size)`` will be uploaded."""
        session = await state.uploads.start(RepositoryName(repository), **options)
        self._count += 1
        effects: dict[Key, object] = {("upload", repository, session.id): 0}
        self._mark(str(self._count), effects, answered=True, contents={session.id: [label, size]})
        return session

    async def append(self, state: AppState, session: UploadSession, chunk: bytes) -> UploadSession:
        """Send a chunk."""
        offset = session.offset + len(chunk)
        effects: dict[Key, object] = {("upload", session.repository, session.id): offset}
        work = state.uploads.append(session.repository, session.id, pieces(chunk))
        advanced: UploadSession = await self.do(work, effects)
        return advanced

    async def complete(self, state: AppState, session: UploadSession, whole: bytes, algorithm: Algorithm) -> None:
        """Send what is missing, and end the session."""
        digest = Digest.of(whole, algorithm)
        effects: dict[Key, object] = {
            ("upload", session.repository, session.id): None,
            ("blob", session.repository, digest): True,
        }
        rest = pieces(whole[session.offset :])
        await self.do(state.uploads.complete(session.repository, session.id, digest, rest), effects)

    def _mark(self, operation: str, effects: Effects, **more: object) -> None:
        mark = {"operation": operation, "effects": [[list(key), value] for key, value in effects.items()], **more}
        os.write(self._marks, json.dumps(mark).encode())


async def new(run: Run) -> None:
    """A registry is opened for the first time, which makes its folders and its tables."""
    run.begin()
    opening = asyncio.to_thread(open_registry, run.folder)
    async with await run.do(opening) as state:
        await run.push(state, "a", "first", 10)


async def blob(run: Run) -> None:
    """A blob is pushed in one request; then the empty one."""
    async with open_registry(run.folder) as state:
        run.begin()
        await run.push(state, "a", "large", _LARGE)
        await run.push(state, "a", "nothing", 0)


async def chunks(run: Run) -> None:
    """Blobs are pushed in several chunks, the closing request with and without bytes, and with another algorithm."""
    async with open_registry(run.folder) as state:
        run.begin()
        whole = bytes_of("chunks", 1000)
        session = await run.start(state, "a", "chunks", 1000)
        for stop in (300, 812, 1000):
            session = await run.append(state, session, whole[session.offset : stop])
        await run.complete(state, session, whole, Algorithm.SHA256)
        whole = bytes_of("more chunks", 5000)
        session = await run.start(state, "a", "more chunks", 5000, algorithm=Algorithm.SHA512)
        session = await run.append(state, session, whole[:4096])
        await run.complete(state, session, whole, Algorithm.SHA512)


async def manifests(run: Run) -> None:
    """An image is pushed under two tags, both are moved to another, and one image refers to the other."""
    async with open_registry(run.folder) as state:
        await run.push_blobs(state, "a", image_of("old"))
        run.begin()
        await run.put(state, "a", ["v1", "latest"], "old")
        await run.push_blobs(state, "a", image_of("new"))
        await run.put(state, "a", ["v1", "latest"], "new")
        await run.push_blobs(state, "a", image_of("signature"))
        await run.put(state, "a", ["signature"], "signature", about="new")


async def links(run: Run) -> None:
    """A blob is mounted and taken out again; a tag goes, then a manifest with its tags."""
    async with open_registry(run.folder) as state:
        here, there = RepositoryName("a"), RepositoryName("b")
        await run.push_blobs(state, "a", image_of("old"))
        await run.put(state, "a", ["v1", "latest"], "old")
        await run.push(state, "a", "single", 100)
        single, old = Digest.of(bytes_of("single", 100)), image_of("old").digest
        run.begin()
        await run.do(state.blobs.mount(there, single, here), {("blob", "b", single): True})
        await run.do(state.blobs.delete(here, single), {("blob", "a", single): None})
        await run.do(state.manifests.delete(here, Tag("v1")), {("tag", "a", "v1"): None})
        gone: dict[Key, object] = {("manifest", "a", old): None, ("tag", "a", "latest"): None}
        await run.do(state.manifests.delete(here, old), gone)


async def ends(run: Run) -> None:
    """A session is cancelled, and one ends with the wrong digest."""
    async with open_registry(run.folder) as state:
        run.begin()
        session = await run.start(state, "a", "cancelled", 900)
        session = await run.append(state, session, bytes_of("cancelled", 900)[:600])
        over: Key = ("upload", "a", session.id)
        await run.do(state.uploads.cancel(session.repository, session.id), {over: None})
        session = await run.start(state, "a", "wrong", 900)
        over = ("upload", "a", session.id)
        await run.do(_refused(state, session), {over: None})


async def _refused(state: AppState, session: UploadSession) -> None:
    try:
        await state.uploads.complete(session.repository, session.id, Digest.of(b"other"), pieces(b"bytes"))
    except DigestInvalid:
        return
    raise AssertionError("a wrong digest was taken")


async def again(run: Run) -> None:
    """The same blob is pushed twice, at the same time and later, into two repositories."""
    async with open_registry(run.folder) as state:
        run.begin()
        await asyncio.gather(run.push(state, "a", "same", 3000), run.push(state, "b", "same", 3000))
        await run.push(state, "a", "same", 3000)


async def group(run: Run) -> None:
    """Sixteen blobs are pushed at the same time, then sixteen manifests: the writer commits them in groups."""
    labels = [f"group {number}" for number in range(_CONCURRENT)]
    async with open_registry(run.folder) as state:
        run.begin()
        await asyncio.gather(*[run.push(state, "a", label, 700) for label in labels])


async def manifest_group(run: Run) -> None:
    """Sixteen manifests are put at the same time: one waits for the other fifteen, and these are one commit."""
    labels = [f"member {number}" for number in range(_CONCURRENT)]
    async with open_registry(run.folder) as state:
        for label in labels:
            await run.push_blobs(state, "a", image_of(label))
        run.begin()
        await asyncio.gather(*[run.put(state, "a", ["last", label.replace(" ", "-")], label) for label in labels])


async def checkpoint(run: Run) -> None:
    """The log is copied into the database between pushes, so that it starts over, and is cut to nothing."""
    async with open_registry(run.folder) as state:
        await run.push(state, "a", "before", 100)
        run.begin()
        await run.push(state, "a", "logged", 100)
        _checkpoint(run.folder, "PASSIVE")
        await run.push(state, "a", "over", 100)
        await run.push(state, "a", "over and over", 100)
        _checkpoint(run.folder, "TRUNCATE")
        await run.push(state, "a", "cut", 100)


def _checkpoint(folder: Path, mode: str) -> None:
    with closing(sqlite3.connect(folder / "registry.db")) as connection:
        busy, *_ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    if busy:
        raise AssertionError("the checkpoint was kept waiting")


async def reopened(run: Run) -> None:
    """A registry is closed, which removes the log, opened anew, and goes on with a session."""
    async with open_registry(run.folder) as state:
        run.begin()
        await run.push(state, "a", "kept", 100)
        whole = bytes_of("continued", 2000)
        session = await run.start(state, "a", "continued", 2000)
        session = await run.append(state, session, whole[:1000])
    async with open_registry(run.folder) as state:
        session = await run.append(state, session, whole[1000:1500])
        await run.complete(state, session, whole, Algorithm.SHA256)


async def refused(run: Run) -> None:
    """Some syncs fail (see ``recording``), and what they were for may be lost; clients try again until it works."""
    run.begin()
    for number in range(_ROUNDS):
        async with await _at_last(lambda: asyncio.to_thread(open_registry, run.folder)) as state:
            label = f"round {number}"
            await _at_last(lambda: run.push(state, "a", label, 5000))  # noqa: B023
            pushed = image_of(label)
            for content in pushed.blobs:
                await _at_last(lambda: run.push_content(state, "a", content))  # noqa: B023
            await _at_last(lambda: run.put(state, "a", ["latest"], label))  # noqa: B023


async def _at_last(work: Callable[[], Awaitable[Any]]) -> Any:
    for _ in range(_ATTEMPTS):
        with suppress(StoreError):
            return await work()
    raise AssertionError("it does not work in the end")


WORKLOADS: dict[str, Callable[[Run], Awaitable[None]]] = {
    "new": new,
    "blob": blob,
    "chunks": chunks,
    "manifests": manifests,
    "links": links,
    "ends": ends,
    "again": again,
    "group": group,
    "manifest-group": manifest_group,
    "checkpoint": checkpoint,
    "reopened": reopened,
    "refused": refused,
}


async def _main(root: Path, names: Sequence[str]) -> None:
    for name in names:
        folder = root / name
        folder.mkdir()
        marks = os.open(root / f"{name}.marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            await WORKLOADS[name](Run(folder, marks))
        finally:
            os.close(marks)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2:]))
