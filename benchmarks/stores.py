"""Folders that hold much, made once and kept from run to run."""

import hashlib
import inspect
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import content
from benchmarks.load import Load
from benchmarks.pushing import push_blobs
from benchmarks.subjects import Holdings, Kind, Subject, running
from ferro_oci_server.backends.meta import schema

__all__ = ["Stores"]

_PIECE = 1024 * 1024


class Stores:
    """What is kept in ``folder``, and what is served from it or from copies."""

    def __init__(self, folder: Path, load: Load) -> None:
        self.folder = folder.absolute()
        self._load = load
        self._scratch = self.folder / "scratch"
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        self._count = 0

    def digests(self, count: int) -> Path:
        """A file of the digests of that many tagged manifests."""
        return content.write_digests(count, self.folder / f"digests-{content.VERSION}-{count}")

    def blob_digests(self) -> Path:
        """A file of the digests of the small blobs."""
        return content.write_blob_digests(self.folder / f"blob-digests-{content.VERSION}")

    @contextmanager
    def serve(self, kind: Kind, holdings: Holdings | None = None, *, copy: bool = True) -> Iterator[Subject]:
        """Start a server that holds something. Where nothing is changed, it need not be a copy."""
        if holdings is not None and kind.store and not copy:
            storage = self.prepared(kind, holdings)
            _read(storage)
            with running(kind, storage, self._log()) as subject:
                yield subject
            return
        with self.scratch() as storage:
            if holdings is not None and kind.store:
                shutil.rmtree(storage)
                shutil.copytree(self.prepared(kind, holdings), storage)
            with running(kind, storage, self._log()) as subject:
                if holdings is not None and not kind.store:
                    push_blobs(subject.address)
                    self.push_tags(subject, holdings.tags)
                yield subject

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder that goes away."""
        self._count += 1
        folder = self._scratch / str(self._count)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _log(self) -> Path:
        return self.folder / "server.log"

    def prepared(self, kind: Kind, holdings: Holdings) -> Path:
        """The folder of a store, made now if it is not there."""
        listed = "-listed" if holdings.listed else ""
        final = self.folder / "stores" / f"{kind.store}-{holdings.tags}{listed}-{_fingerprint(kind)}"
        if not final.exists():
            begin = time.monotonic()
            # Made under another name: what has the final one is whole.
            folder = final.with_name(f"{final.name}.making")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if kind.name != "nginx":
                with running(kind, folder, self._log()) as subject:
                    push_blobs(subject.address)
            kind.fill(folder, holdings)
            folder.rename(final)
            took = time.monotonic() - begin
            print(f"  made a store of {kind.store} with {holdings.tags:,} tags in {took:.0f} s", file=sys.stderr)
        return final

    def push_tags(self, subject: Subject, tags: int) -> None:
        """Push so many manifests, each with a tag; the blobs that they refer to are there."""
        if tags:
            job = {
                "address": subject.address,
                "method": "PUT",
                "path": f"/v2/{content.REPOSITORY}/manifests/t{{n}}",
                "fields": {"Content-Type": content.MANIFEST_TYPE},
                "body": content.template("tags"),
                "sequence": True,
                "limit": tags,
                "connections": 16,
                "seconds": 300,
                "expect": [201],
            }
            self._load.run("requests", job)


def _read(folder: Path) -> None:
    """Let the system have a store in memory, as it has one that has been asked for all of it for a while."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(_PIECE):
                    pass


def _fingerprint(kind: Kind) -> str:
    """What must be the same for a folder that was made before to be of use now."""
    sources = [
        inspect.getsource(content),
        inspect.getsource(sys.modules[type(kind).__module__]),
        inspect.getsource(schema),
    ]
    return hashlib.sha256("".join(sources).encode()).hexdigest()[:8]
