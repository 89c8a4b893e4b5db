"""A real S3 server on a free port, which keeps its buckets as folders."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from support.process import daemon, free_port, listens
from support.tools import require

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret-of-tester"}

_BUCKET = "registry"


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and the folder that is its bucket."""

    address: str
    folder: Path

    def url(self, prefix: str | None = None, address: str | None = None, **options: str) -> str:
        """The URL of a prefix, by default one that nobody else uses; ``address`` is that of a proxy."""
        query = {"endpoint": f"http://{address or self.address}", **options}
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return f"s3://{_BUCKET}/{prefix or uuid4()}?{text}"

    def objects(self, prefix: str) -> dict[str, bytes]:
        """All objects below a prefix, by what follows it."""
        root = self.folder / prefix
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def unfinished(self) -> list[Path]:
        """The parts of objects that are not whole yet, or never will be."""
        return [path for path in self.folder.glob(".sgwtmp/**/*") if path.is_file()]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run the server until the block ends; whoever uses it has ``CREDENTIALS`` in the environment."""
    address = f"127.0.0.1:{free_port()}"
    bucket = folder / "buckets" / _BUCKET
    bucket.mkdir(parents=True)
    environment = {
        **os.environ,
        "ROOT_ACCESS_KEY": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_KEY": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    }
    command = [require("versitygw"), "--port", address, "--quiet", "--keep-alive", "posix", str(bucket.parent)]

    with daemon(command, environment, folder / "versitygw.log", lambda: listens(address)):
        yield S3Server(address, bucket)
