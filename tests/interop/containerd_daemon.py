"""A private containerd, and its own client."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.process import Client, CommandFailed, daemon
from support.tools import require

_CONFIG = """
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
"""


@contextmanager
def containerd(program: Callable[..., Client], home: Path) -> Iterator[Client]:
    """ctr, with a containerd of its own."""
    socket = f"{home}/containerd.sock"
    client = program("ctr", "--address", socket, "--namespace", "interop")
    (home / "config.toml").write_text(_CONFIG, encoding="ascii")
    folders = ("--root", f"{home}/root", "--state", f"{home}/state", "--address", socket)
    argv = (require("containerd"), "--config", f"{home}/config.toml", *folders)

    def ready() -> bool:
        try:
            return bool(client("version"))
        except CommandFailed:
            return False

    with daemon(argv, client.env, home / "containerd.log", ready):
        yield client
