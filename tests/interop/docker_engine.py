"""A private engine of docker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.process import Client, CommandFailed, daemon
from support.tools import require


@contextmanager
def docker_engine(program: Callable[..., Client], home: Path, *flags: str) -> Iterator[Client]:
    """A client with an engine of its own, which trusts any registry on 127.0.0.1 without TLS."""
    socket = f"unix://{home}/docker.sock"
    client = program("docker", "--host", socket)
    folders = ("--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "--pidfile", f"{home}/docker.pid")
    network = ("--iptables=false", "--ip6tables=false", "--bridge=none")
    argv = (require("dockerd"), "--host", socket, *folders, *network, "--storage-driver=vfs", *flags)
    require("containerd")
    require("runc")

    def ready() -> bool:
        try:
            return bool(client("version", "--format", "{{.Server.Version}}"))
        except CommandFailed:
            return False

    with daemon(argv, client.env, home / "dockerd.log", ready):
        yield client
