"""An operation that meets a refusal, and what must hold then.

    python -m faults.powerloss.enduring OPERATION...

Runs each operation again and again, each time with the next call of a kind refused, until it gets through: with EIO
once, and with ENOSPC from then on. Prints one line of JSON for each run.

1. An operation that was refused something is refused, or has done all that it says.
2. What was there before can be read meanwhile, and afterwards.
3. Once nothing is refused any more, the same process does the same operation.
"""

import asyncio
import errno
import json
import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.powerloss.checking import check
from faults.powerloss.promises import Key, Promises
from faults.powerloss.refusing import KINDS, Refusal, RefusingMissing, install, supervise
from faults.powerloss.workloads import bytes_of, image_of, open_registry, pieces, push, put
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import OciError
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["OPERATIONS"]

_MEMORY = Path("/dev/shm")
_NAME = RepositoryName("a")
_CHUNKED = bytes_of("in chunks", 300_000)
_WHOLE = bytes_of("whole", 600_123)
_MOST = 500


async def _push(state: AppState) -> None:
    await push(state, _NAME, _WHOLE)


async def _chunks(state: AppState) -> None:
    session = await state.uploads.start(_NAME)
    await state.uploads.append(_NAME, session.id, pieces(_CHUNKED[:200_000]))
    await state.uploads.complete(_NAME, session.id, Digest.of(_CHUNKED), pieces(_CHUNKED[200_000:]))


async def _put(state: AppState) -> None:
    await put(state, _NAME, ["latest", "v2"], image_of("new"))


async def _image(state: AppState) -> None:
    for content in image_of("third").blobs:
        await push(state, _NAME, content)
    await put(state, _NAME, ["latest"], image_of("third"))


@dataclass(frozen=True, slots=True)
class _Operation:
    work: Callable[[AppState], Awaitable[None]]
    effects: dict[Key, object]


def _manifest(label: str, *tags: str) -> dict[Key, object]:
    digest = image_of(label).digest
    return {("manifest", _NAME, digest): True, **{("tag", _NAME, tag): digest for tag in tags}}


OPERATIONS = {
    "push": _Operation(_push, {("blob", _NAME, Digest.of(_WHOLE)): True}),
    "chunks": _Operation(_chunks, {("blob", _NAME, Digest.of(_CHUNKED)): True}),
    "put": _Operation(_put, _manifest("new", "latest", "v2")),
    "image": _Operation(_image, _manifest("third", "latest")),
}
_BEFORE = _manifest("old", "latest", "v1")


def prepare(folder: Path) -> None:
    """A registry with two images, one of them without its manifest."""

    async def fill(state: AppState) -> None:
        async with state:
            for label in ("old", "new"):
                for content in image_of(label).blobs:
                    await push(state, _NAME, content)
            await put(state, _NAME, ["latest", "v1"], image_of("old"))

    asyncio.run(fill(open_registry(folder)))


def _promises(effects: dict[Key, object], *, done: bool) -> Promises:
    """What was there before, and an operation that is answered or not."""
    promises = Promises().heard({"operation": "before", "answered": True, "effects": list(_BEFORE.items())}, 0)
    more = {"operation": "it", "answered": False, "effects": list(effects.items())}
    promises = promises.heard(more, 1)
    return promises.heard({"operation": "it", "answered": True}, 2) if done else promises


async def _reads(state: AppState) -> list[str]:
    """Read what was there before."""
    try:
        await state.manifests.get(_NAME, Tag("v1"))
        for content in image_of("old").blobs:
            reader = await state.blobs.open(await state.blobs.stat(_NAME, Digest.of(content)))
            await reader.close()
    except (OciError, StoreError) as error:
        return [f"cannot be read: {error!r}"]
    return []


async def _attempt(work: Awaitable[None]) -> tuple[bool, list[str]]:
    """Whether it was done, and what is wrong with the way in which it was not."""
    try:
        await work
    except StoreError:
        return False, []
    except OciError as error:
        # The client is not to blame; only what it goes on with may be gone.
        return False, [] if error.code == "BLOB_UPLOAD_UNKNOWN" else [f"blames the client: {error!r}"]
    return True, []


async def _endure(state: AppState, operation: _Operation, kind: str, channel: socket.socket) -> tuple[bool, list[str]]:
    async with state:
        await asyncio.to_thread(_begin, kind, channel)
        done, wrong = await _attempt(operation.work(state))
        # Reading opens files, too.
        wrong += [] if kind == "open" else await _reads(state)
        await asyncio.to_thread(_end, channel)
        again, said = await _attempt(operation.work(state))
        wrong += said if again else [*said, "cannot be done again"]
        return done, wrong


def _begin(kind: str, channel: socket.socket) -> None:
    listener = install(kind)
    socket.send_fds(channel, [b"begin"], [listener])
    os.close(listener)


def _end(channel: socket.socket) -> None:
    channel.send(b"end")
    channel.recv(16)


def _child(folder: Path, operation: _Operation, kind: str, channel: socket.socket) -> None:
    """Meet the refusal, then look at the folder anew, and report."""
    done, wrong = asyncio.run(_endure(open_registry(folder), operation, kind, channel))
    wrong += check(folder, _promises(operation.effects, done=True))
    channel.send(json.dumps({"done": done, "wrong": wrong}).encode())


def _run(folder: Path, operation: _Operation, refusal: Refusal) -> dict[str, object]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = os.fork()
    if process == 0:
        status = 1
        try:
            ours.close()
            _child(folder, operation, refusal.kind, theirs)
            status = 0
        except RefusingMissing as missing:
            theirs.send(json.dumps({"missing": str(missing)}).encode())
        finally:
            os._exit(status)
    theirs.close()
    try:
        return _attend(ours, refusal)
    finally:
        os.waitpid(process, 0)
        ours.close()


def _attend(channel: socket.socket, refusal: Refusal) -> dict[str, object]:
    said, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, 1)
    if not descriptors:
        return dict(json.loads(said or b'{"wrong": ["it has died"]}'))
    report: dict[str, object] = {}

    def over() -> bool:
        text = channel.recv(1 << 16)
        if text == b"end":
            refusal.is_over = True
            channel.send(b"ended")
            return False
        report.update(json.loads(text or b'{"wrong": ["it has died"]}'))
        return True

    try:
        supervise(descriptors[0], refusal, channel.fileno(), over)
    finally:
        os.close(descriptors[0])
    return {**report, "nth": refusal.nth, "seen": refusal.seen, "refused": refusal.refused}


def _runs(base: Path, copy: Path, name: str, refusals: Callable[[int], Refusal]) -> None:
    for nth in range(1, _MOST):
        shutil.copytree(base, copy)
        refusal = refusals(nth)
        report = _run(copy, OPERATIONS[name], refusal)
        shutil.rmtree(copy)
        about = {"operation": name, "kind": refusal.kind, "error": errno.errorcode[refusal.error]}
        print(json.dumps({**about, **report}), flush=True)
        if not refusal.refused:
            return


def _main(names: list[str]) -> None:
    with TemporaryDirectory(prefix="ferro-refuse-", dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        base, copy = Path(path).resolve() / "base", Path(path).resolve() / "copy"
        base.mkdir()
        prepare(base)
        for name, kind in product(names, KINDS):
            for error, lasts in ((errno.EIO, False), (errno.ENOSPC, True)):
                _runs(base, copy, name, partial(Refusal, kind, error, str(copy), lasts))


if __name__ == "__main__":
    _main(sys.argv[1:])
