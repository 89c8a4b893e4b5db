"""What podman and buildah have in common: a private storage, and no trust in anybody's registries."""

from collections.abc import Callable
from pathlib import Path

from support.process import Client

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def storage_client(program: Callable[..., Client], name: str, home: Path, *options: str) -> Client:
    """The program with its own folders, on the plain `vfs` driver."""
    folders = ("--root", f"{home}/storage", "--runroot", f"{home}/runroot")
    client = program(name, *folders, "--storage-driver", "vfs", *options)
    # HOME is the client's own: this is where it looks for the policy and for the short names it may complete.
    configuration = home / ".config" / "containers"
    configuration.mkdir(parents=True, exist_ok=True)
    (configuration / "policy.json").write_text(POLICY, encoding="ascii")
    (configuration / "registries.conf").write_text("unqualified-search-registries = []\n", encoding="ascii")
    return Client(client.argv, {**client.env, "XDG_CONFIG_HOME": str(home / ".config")})
