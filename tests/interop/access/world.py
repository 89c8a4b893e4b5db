"""A registry behind TLS with users and rights, as clients meet one: its certificate is from an authority of its own."""

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bcrypt

from support.certificates import Authority
from support.process import Client
from support.registry import Registry, Setup, serve
from support.tools import clean_environment, require

POLICY = """
[[rules]]
name = "anonymous read"
who = ["everyone"]
actions = ["pull"]
repositories = ["public/*"]

[[rules]]
name = "admins"
who = ["user:admin"]
actions = ["*"]
repositories = ["*"]

[[rules]]
name = "pushers"
who = ["user:pusher"]
actions = ["pull", "push", "create-tag", "overwrite-tag"]
repositories = ["private/*", "public/*"]

[[rules]]
name = "readers"
who = ["user:reader"]
actions = ["pull"]
repositories = ["private/*"]

[[rules]]
name = "outsiders"
who = ["user:outsider"]
actions = ["pull", "push", "create-tag", "overwrite-tag"]
repositories = ["outside/*"]
"""
USERS = ("admin", "pusher", "reader", "outsider")


def password(user: str) -> str:
    return f"the password of {user}"


@dataclass(frozen=True)
class World:
    """A guarded registry, and what is known of it beside its answers."""

    registry: Registry
    """As its administrator sees it."""
    authority: Path
    folder: Path

    @property
    def address(self) -> str:
        return self.registry.address

    def environment(self, home: Path) -> dict[str, str]:
        """A clean environment in which a client believes the authority, as it does one of the system's."""
        return {**clean_environment(home), "SSL_CERT_FILE": str(self.authority)}

    def client(self, home: Path, name: str, *options: str) -> Client:
        return Client((require(name), *options), self.environment(home))

    def mounts(self, repository: str) -> int:
        """How many blobs a repository has taken from another, without their bytes."""
        return sum(
            (event["event"], event["method"], event["status"]) == ("change", "POST", 201)
            for event in _lines(self.folder / "audit.log")
            if event.get("repository") == repository
        )

    def denied(self, repository: str) -> set[str]:
        """Who was refused something there."""
        events = [event for event in _lines(self.folder / "audit.log") if event.get("repository") == repository]
        return {event["principal"] for event in events if event["event"] == "denial"}

    def requests(self, path: str) -> list[dict[str, Any]]:
        """What the access log has of what begins with a path."""
        return [line for line in _lines(self.folder / "log") if str(line.get("path", "")).startswith(path)]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines() if line.startswith("{")]


@contextmanager
def guarded(folder: Path, policy: str = POLICY, **settings: str) -> Iterator[World]:
    """Serve until the block ends."""
    host = own_address()
    authority = Authority.new()
    authority.write(folder / "ca.crt")
    authority.give(folder / "server", address=host)
    users = [f"{user}:{bcrypt.hashpw(password(user).encode(), bcrypt.gensalt(10)).decode()}" for user in USERS]
    (folder / "htpasswd").write_text("\n".join(users), encoding="ascii")
    (folder / "policy.toml").write_text(policy, encoding="ascii")
    given = {
        "tls_cert": folder / "server.crt",
        "tls_key": folder / "server.key",
        "htpasswd": folder / "htpasswd",
        "policy": folder / "policy.toml",
        "audit_log": folder / "audit.log",
        **settings,
    }
    setup = Setup(
        folder / "storage",
        settings={f"FERRO_OCI_{name.upper()}": str(value) for name, value in given.items()},
        tls=ssl.create_default_context(cafile=folder / "ca.crt"),
        host=host,
    )
    admin = base64.b64encode(f"admin:{password('admin')}".encode()).decode()
    with serve(setup, folder / "log") as registry:
        yield World(replace(registry, shown={"Authorization": f"Basic {admin}"}), folder / "ca.crt", folder)


def own_address() -> str:
    """This machine's address: to 127.0.0.1 docker and containerd speak without looking at certificates."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: this only asks which address would be written on it.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
