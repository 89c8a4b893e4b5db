"""What the stories ask of a client, and how each does it: log in, push, pull, copy, log out.

All of them believe the authority by the environment of ``World.client``. What a client has no notion of stands in its
docstring.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

from interop.containerd_daemon import containerd
from interop.containers_storage import storage_client
from interop.docker_engine import docker_engine
from support.images import Image
from support.process import Client, CommandFailed

from .world import World


class RegistryClient:
    """One client, and a folder of its own. What is pushed was given to it as an image in a layout or an archive."""

    keeps_images = False
    """Whether it pushes copies from a store of its own, and not from where they are in the registry."""

    def __init__(self, run: Client, world: World, home: Path) -> None:
        self.run = run
        self.address = world.address
        self.registry = world.registry
        self.home = home

    def login(self, user: str, password: str) -> None:
        self.run("login", "-u", user, "--password-stdin", self.address, stdin=password.encode())

    def logout(self) -> None:
        self.run("logout", self.address)

    def push(self, name: str, image: Image) -> None:
        raise NotImplementedError

    def pull(self, name: str) -> None:
        """Pull it all, whatever was pulled before."""
        raise NotImplementedError

    def copy(self, source: str, target: str) -> None:
        """Copy what it has pushed to another repository."""
        raise NotImplementedError

    def publish(self, source: str, target: str) -> None:
        """Push what it keeps under another name, where it keeps images."""
        raise NotImplementedError

    def folder(self) -> Path:
        """A new one."""
        return Path(tempfile.mkdtemp(dir=self.home))

    def layout(self, image: Image) -> str:
        return f"{image.layout(self.folder())}"


class Docker(RegistryClient):
    keeps_images = True

    def push(self, name: str, image: Image) -> None:
        self.load(name, image)
        self.run("push", name)

    def load(self, name: str, image: Image) -> None:
        self.run("load", "--input", str(image.archive(self.folder() / "image.tar", name)))

    def pull(self, name: str) -> None:
        # It need not be there.
        with suppress(CommandFailed):
            self.run("rmi", "--force", name)
        self.run("pull", name)

    def copy(self, source: str, target: str) -> None:
        self.publish(source, target)

    def publish(self, source: str, target: str) -> None:
        self.run("tag", source, target)
        self.run("push", target)


class Podman(Docker):
    pass


class Buildah(Docker):
    def load(self, name: str, image: Image) -> None:
        self.run("pull", "--quiet", f"docker-archive:{image.archive(self.folder() / 'image.tar', name)}")


class Ctr(RegistryClient):
    """Knows no login: each command is told whose it is."""

    keeps_images = True
    user: tuple[str, ...] = ()

    def login(self, user: str, password: str) -> None:
        self.user = ("--user", f"{user}:{password}")

    def logout(self) -> None:
        self.user = ()

    def push(self, name: str, image: Image) -> None:
        archive = image.archive(self.folder() / "image.tar", name)
        self.run("images", "import", "--all-platforms", "--snapshotter", "native", "--no-unpack", str(archive))
        self.run("images", "push", *self.user, name)

    def pull(self, name: str) -> None:
        if self.run("images", "ls", "--quiet", f"name=={name}"):
            self.run("images", "rm", "--sync", name)
        self.fetch(name)

    def fetch(self, name: str) -> None:
        self.run("images", "pull", "--snapshotter", "native", *self.user, name)

    def copy(self, source: str, target: str) -> None:
        # containerd learns where a blob can be mounted from when it pulls it.
        self.fetch(source)
        self.publish(source, target)

    def publish(self, source: str, target: str) -> None:
        self.run("images", "tag", "--force", source, target)
        self.run("images", "push", *self.user, target)


class Skopeo(RegistryClient):
    def push(self, name: str, image: Image) -> None:
        self.run("copy", f"oci:{self.layout(image)}:v1", f"docker://{name}")

    def pull(self, name: str) -> None:
        self.run("copy", f"docker://{name}", f"dir:{self.folder()}")

    def copy(self, source: str, target: str) -> None:
        self.run("copy", f"docker://{source}", f"docker://{target}")


class Crane(RegistryClient):
    def login(self, user: str, password: str) -> None:
        self.run("auth", "login", self.address, "-u", user, "--password-stdin", stdin=password.encode())

    def logout(self) -> None:
        self.run("auth", "logout", self.address)

    def push(self, name: str, image: Image) -> None:
        self.run("push", self.layout(image), name)

    def pull(self, name: str) -> None:
        # A tar archive: it gets one layer after the other, not all at once.
        self.run("pull", name, str(self.folder() / "image.tar"))

    def copy(self, source: str, target: str) -> None:
        self.run("copy", source, target)


class Regctl(RegistryClient):
    def login(self, user: str, password: str) -> None:
        self.run("registry", "login", self.address, "-u", user, "--pass-stdin", stdin=password.encode())

    def logout(self) -> None:
        self.run("registry", "logout", self.address)

    def push(self, name: str, image: Image) -> None:
        self.run("image", "copy", f"ocidir://{self.layout(image)}:v1", name)

    def pull(self, name: str) -> None:
        self.run("image", "copy", name, f"ocidir://{self.folder()}:v1")

    def copy(self, source: str, target: str) -> None:
        self.run("image", "copy", source, target)


class Oras(RegistryClient):
    def push(self, name: str, image: Image) -> None:
        self.run("cp", "--from-oci-layout", f"{self.layout(image)}:v1", name)

    def pull(self, name: str) -> None:
        self.run("cp", "--to-oci-layout", name, f"{self.folder()}:v1")

    def copy(self, source: str, target: str) -> None:
        self.run("cp", source, target)


class Helm(RegistryClient):
    """Pushes charts, to the repository that a name has before its last part; it copies nothing."""

    def login(self, user: str, password: str) -> None:
        self.run("registry", "login", self.address, "-u", user, "--password-stdin", stdin=password.encode())

    def logout(self) -> None:
        self.run("registry", "logout", self.address)

    def push(self, name: str, image: Image) -> None:
        folder, (parent, chart) = self.folder(), self.parts(name)
        self.run("create", chart, cwd=folder)
        self.run("package", chart, "--version", "1.0.0", cwd=folder)
        self.run("push", str(folder / f"{chart}-1.0.0.tgz"), f"oci://{parent}")

    def pull(self, name: str) -> None:
        self.run("pull", f"oci://{'/'.join(self.parts(name))}", "--version", "1.0.0", "-d", str(self.folder()))

    def parts(self, name: str) -> tuple[str, str]:
        parent, _, chart = name.removesuffix(":v1").rpartition("/")
        return parent, chart


class Cosign(RegistryClient):
    """Signs what the administrator has pushed, and verifies it. It logs in where docker does, and has no logout."""

    def __init__(self, run: Client, world: World, home: Path) -> None:
        super().__init__(Client(run.argv, {**run.env, "COSIGN_PASSWORD": "secret"}), world, home)
        if not (home / "cosign.key").exists():
            self.run("generate-key-pair", cwd=home)
        self.run("signing-config", "create", "--out", str(home / "config.json"))
        self.run("trusted-root", "create", "--out", str(home / "root.json"))
        self.root = ("--trusted-root", str(home / "root.json"))

    def logout(self) -> None:
        (self.home / ".docker" / "config.json").write_text("{}", encoding="ascii")

    def push(self, name: str, image: Image) -> None:
        repository = name.removesuffix(":v1").partition("/")[2]
        key = ("--key", str(self.home / "cosign.key"), *self.root)
        config = ("--signing-config", str(self.home / "config.json"))
        self.run("sign", *key, *config, "--yes", self.registry.push(repository, image))

    def pull(self, name: str) -> None:
        self.run("verify", "--key", str(self.home / "cosign.pub"), *self.root, "--insecure-ignore-tlog", name)

    def copy(self, source: str, target: str) -> None:
        self.run("copy", source, target)


Started = AbstractContextManager[RegistryClient]


def _command(kind: type[RegistryClient], *argv: str) -> Callable[[World, Path], Started]:
    @contextmanager
    def start(world: World, home: Path) -> Iterator[RegistryClient]:
        yield kind(world.client(home, *argv), world, home)

    return start


def _storage(kind: type[RegistryClient], name: str, *options: str) -> Callable[[World, Path], Started]:
    @contextmanager
    def start(world: World, home: Path) -> Iterator[RegistryClient]:
        options_here = [option.format(home=home) for option in options]
        yield kind(storage_client(partial(world.client, home), name, home, *options_here), world, home)

    return start


@contextmanager
def _docker(world: World, home: Path) -> Iterator[RegistryClient]:
    with docker_engine(partial(world.client, home), home) as run:
        yield Docker(run, world, home)


@contextmanager
def _ctr(world: World, home: Path) -> Iterator[RegistryClient]:
    with containerd(partial(world.client, home), home) as run:
        yield Ctr(run, world, home)


CLIENTS: Mapping[str, Callable[[World, Path], Started]] = {
    "docker": _docker,
    "containerd": _ctr,
    "podman": _storage(Podman, "podman", "--tmpdir={home}/libpod"),
    "buildah": _storage(Buildah, "buildah"),
    "skopeo": _command(Skopeo, "skopeo", "--insecure-policy"),
    "crane": _command(Crane, "crane"),
    "regctl": _command(Regctl, "regctl"),
    "oras": _command(Oras, "oras"),
    "helm": _command(Helm, "helm"),
    "cosign": _command(Cosign, "cosign"),
}
COPYING = [name for name in CLIENTS if name != "helm"]
