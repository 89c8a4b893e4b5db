"""Several registries on one PostgreSQL and one bucket, behind nginx, which lets them take turns."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.nginx import proxied
from support.object_store import CREDENTIALS, S3Server, s3_server
from support.postgres import PostgresServer, postgres_server
from support.registry import Registry, Setup, serve

__all__ = ["Replicas", "replicas", "shared_stores"]


@dataclass(frozen=True)
class Replicas:
    """Where they are, one by one and as one, and what they stand on."""

    front: Registry
    servers: Sequence[Registry]
    postgres: PostgresServer
    s3: S3Server
    settings: Mapping[str, str]
    """What makes another one of them."""


@contextmanager
def shared_stores(folder: Path) -> Iterator[tuple[PostgresServer, S3Server, Mapping[str, str]]]:
    """PostgreSQL and an S3 server, and the settings of a registry on both, until the block ends.

    Another user, whom PostgreSQL runs as, must be able to enter ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    os.environ.update(CREDENTIALS)
    with postgres_server(folder / "postgres") as postgres, s3_server(folder / "s3") as s3:
        postgres.make_registry()
        urls = {"FERRO_OCI_DATABASE_URL": postgres.url("registry"), "FERRO_OCI_STORAGE_URL": s3.url("replicas")}
        yield postgres, s3, urls


@contextmanager
def replicas(folder: Path, count: int = 3, **settings: str) -> Iterator[Replicas]:
    """Run as many until the block ends, on stores in ``folder``: see ``shared_stores``."""
    with ExitStack() as stack:
        postgres, s3, urls = stack.enter_context(shared_stores(folder))
        shared = {**urls, **settings}
        servers = [
            stack.enter_context(serve(Setup(None, settings=shared), folder / f"replica-{number}.log"))
            for number in range(count)
        ]
        front = stack.enter_context(proxied(folder, *servers))
        yield Replicas(front, servers, postgres, s3, shared)
