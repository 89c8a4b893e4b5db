"""Opens what a loss of power has left, and looks for what must not be.

I1  What was acknowledged is there, and what was not is there whole or not at all; an open session goes on from the
    offset it reports, and ends with the right digest.
I2  Every blob that can be read has the bytes of its digest.
I3  A tag is what it was, or what it was becoming.
I4  What a manifest needs is in its repository; no row without its bytes.
I5  Files without rows do no harm: what was not answered can be done again.
F20 So does a session whose closing request was cut off: the blob may have its name already, and no row.
I7  The stores open without help, and the database is sound.
"""

import asyncio
import hashlib
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.powerloss.disk import Tree
from faults.powerloss.promises import Key, Promises
from faults.powerloss.workloads import bytes_of, pieces, retry
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.ports import BlobStore, RegistryMeta, StoreError
from ferro_oci_server.core.records import UploadId
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest, Hasher
from ferro_oci_server.oci.errors import BlobUnknown, OciError, UploadUnknown
from ferro_oci_server.oci.manifest import parse_manifest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["check", "check_tree", "contents_of"]

_MEMORY = Path("/dev/shm")
_INDEX_OF_LOG = "registry.db-shm"
_ALL = 1000


class _Opened:
    """A registry on what was left."""

    def __init__(self, folder: Path) -> None:
        self.store = FsBlobStore(folder)
        self.database = folder / "registry.db"
        self.meta = SqliteRegistryMeta(self.database)
        self.state = AppState(self.store, self.meta)

    async def check(self, promises: Promises) -> list[str]:
        """Look what is wrong, go on with what was open, and do again what was not answered."""
        async with self.state:
            wrong = [*await _kept(self.meta, promises), *await _whole(self), *await _continued(self, promises)]
            for how in promises.retries():
                try:
                    await retry(self.state, how)
                except (OciError, StoreError) as error:
                    wrong.append(f"I5: cannot be done again: {how}: {error}")
            return [*wrong, *[f"{text} (when done again)" for text in await _whole(self)]]


def contents_of(tree: Tree) -> bytes:
    """Tells trees apart."""
    whole = hashlib.blake2b()
    for path, content in tree.items():
        inner = b"" if content is None else hashlib.blake2b(content).digest()
        whole.update(f"{path}\0{content is None}\0".encode() + inner)
    return whole.digest()


def check_tree(tree: Tree, promises: Promises) -> list[str]:
    """Put what was left into a folder, and look what is wrong with it."""
    with TemporaryDirectory(prefix="ferro-state-", dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        folder = Path(path)
        _write(folder, tree)
        return check(folder, promises)


def check(folder: Path, promises: Promises) -> list[str]:
    """Open a registry, and look what is wrong with it. It is changed: what was not answered is done again."""
    try:
        opened = _Opened(folder)
    except (StoreError, OSError) as error:
        return [f"I7: it does not open: {error}"]
    try:
        wrong = _unsound(folder / "registry.db")
        return [*wrong, *asyncio.run(opened.check(promises))]
    except (StoreError, OSError, sqlite3.Error) as error:
        return [f"I7: it does not work: {type(error).__name__}: {error}"]


def _write(folder: Path, tree: Tree) -> None:
    for name, content in tree.items():
        path = folder / name
        if content is None:
            path.mkdir()
        elif name == _INDEX_OF_LOG:
            # It is never synced, so it may hold anything.
            path.write_bytes(random.Random(name).randbytes(32768))
        else:
            path.write_bytes(content)


def _unsound(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        keys = connection.execute("PRAGMA foreign_key_check").fetchall()
    wrong = [] if said == ["ok"] else [f"I7: integrity_check says {said[:3]}"]
    return [*wrong, f"I7: foreign_key_check says {keys[:3]}"] if keys else wrong


async def _kept(meta: RegistryMeta, promises: Promises) -> list[str]:
    found = {key: await _find(meta, key) for key in promises.allowed}
    wrong = [
        f"{'I3' if key[0] == 'tag' else 'I1'}: {' '.join(key)} is {found[key]}, and may be {sorted(map(str, allowed))}"
        for key, allowed in promises.allowed.items()
        if found[key] not in allowed
    ]
    return [*wrong, *[f"I3: a part of operation {name} is seen" for name in promises.torn(found)]]


async def _find(meta: RegistryMeta, key: Key) -> object:
    kind, repository, *rest = key
    name = RepositoryName(repository)
    match kind:
        case "blob":
            return await meta.get_blob(name, Digest(rest[0])) and True
        case "tag":
            info = await meta.stat_manifest(name, Tag(rest[0]))
            return info and str(info.digest)
        case "manifest":
            return await meta.stat_manifest(name, Digest(rest[0])) and True
        case "upload":
            session = await meta.get_upload(name, UploadId(rest[0]))
            return None if session is None else session.offset
        case _:
            listed = await meta.list_referrers(name, Digest(rest[0]), None, "", _ALL)
            return any(descriptor.digest == rest[1] for descriptor in listed) or None


async def _whole(opened: _Opened) -> list[str]:
    """Read every blob as a client would, and look up what every manifest needs."""
    with _rows(opened.database) as connection:
        links = connection.execute(
            "SELECT name, digest FROM repository_blobs JOIN repositories ON id = repository_id"
        ).fetchall()
        rows = connection.execute("SELECT digest, location FROM blobs").fetchall()
        manifests = connection.execute(
            "SELECT name, digest, media_type, content FROM manifests JOIN repositories r ON r.id = repository_id"
        ).fetchall()
    held = {(name, digest) for name, digest, *_ in [*links, *manifests]}
    wrong = [
        f"I4: the row of {digest} has no file"
        for digest, location in rows
        if not await _is_there(opened.store, location)
    ]
    for name, digest in links:
        wrong += await _unreadable(opened.state, RepositoryName(name), Digest(digest))
    for name, digest, media_type, content in manifests:
        manifest = parse_manifest(content, media_type)
        if Digest.of(content) != digest:
            wrong.append(f"I2: manifest {digest} has other bytes")
        needed = {*manifest.blobs, *manifest.children}
        wrong += [f"I4: {name} lacks {missing}, for {digest}" for missing in needed if (name, missing) not in held]
    return wrong


async def _is_there(store: BlobStore, location: str) -> bool:
    reader = await store.open(location)
    if reader is not None:
        await reader.close()
    return reader is not None


async def _unreadable(state: AppState, name: RepositoryName, digest: Digest) -> list[str]:
    try:
        blob = await state.blobs.stat(name, digest)
        reader = await state.blobs.open(blob)
    except BlobUnknown:
        return [f"I1: {digest} has no bytes, or not all"]
    hasher = Hasher(digest.algorithm)
    try:
        async for piece in reader.pieces(0, reader.size):
            hasher.update(piece)
    finally:
        await reader.close()
    return [] if hasher.digest() == digest else [f"I2: {digest} has other bytes"]


async def _continued(opened: _Opened, promises: Promises) -> list[str]:
    """Go on with every open session from where it says it is."""
    with _rows(opened.database) as connection:
        sessions = connection.execute("SELECT id, repository, algorithm, offset FROM uploads").fetchall()
    wrong = []
    for upload, repository, algorithm, offset in sessions:
        if upload not in promises.contents:
            continue
        label, size = promises.contents[upload]
        whole = bytes_of(label, size)
        digest = Digest.of(whole, Algorithm(algorithm))
        rest = pieces(whole[offset:])
        try:
            await opened.state.uploads.complete(RepositoryName(repository), UploadId(upload), digest, rest)
        except (OciError, StoreError) as error:
            if isinstance(error, UploadUnknown) and promises.is_given_up(upload):
                continue
            rule = "F20" if promises.is_ending(upload) else "I1"
            wrong.append(f"{rule}: a session cannot go on from {offset}: {error}")
    return wrong


@contextmanager
def _rows(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database)) as connection:
        yield connection
