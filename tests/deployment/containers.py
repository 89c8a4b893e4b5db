"""Images that are built and run here, with storage of their own and without any network but this machine's loopback."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.process import Client, answers, daemon
from support.registry import Registry
from support.tools import clean_environment, require

from .base_image import write_base_image
from .programs import DEPLOY, ROOT

STORAGE = "/var/lib/ferro-oci-server"

_BASE = "localhost/python-of-this-machine"
_IMAGE = "localhost/ferro-oci-server"
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
_BUILD_SECONDS = 300.0

# As Kubernetes and the compose files run it. That a root file system is read only leaves podman's own tmpfs writable.
_CONFINED = ("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "all")
_NO_NEW_PRIVILEGES = ("--security-opt", "no-new-privileges")
# What a machine that is itself confined allows: its own loopback, its own limits, no timers of systemd.
_HERE = ("--network", "host", "--cgroupns", "host", "--cgroups", "no-conmon", "--no-healthcheck")
_LIMITS = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")


@dataclass(frozen=True)
class Container:
    """One that runs."""

    name: str
    registry: Registry
    podman: Client

    def run(self, *command: str) -> str:
        return self.podman("exec", self.name, *command)

    def refuses(self, *command: str) -> str:
        return self.podman.refuses("exec", self.name, *command)

    def processes(self) -> list[dict[str, str]]:
        """What the system says of each of its processes."""
        first = self.podman("inspect", "--format", "{{.State.Pid}}", self.name)
        listed = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="ascii").split()
        return [
            dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines())
            for pid in (first, *listed)
        ]


class Image:
    """The image of deploy/Containerfile, on a base image out of this machine's files."""

    def __init__(self, home: Path) -> None:
        configuration = home / "config" / "containers"
        environment = clean_environment(home)
        configuration.mkdir(exist_ok=True)
        (configuration / "policy.json").write_text(_POLICY, encoding="ascii")
        (configuration / "registries.conf").write_text("unqualified-search-registries = []\n", encoding="ascii")
        folders = ("--root", f"{home}/storage", "--runroot", f"{home}/runroot")
        self.podman = Client((require("podman"), *folders, "--runtime", "runc"), environment, _BUILD_SECONDS)
        self._buildah = Client((require("buildah"), *folders), environment, _BUILD_SECONDS)
        self._home = home

    def build(self) -> None:
        archive = self._home / "base.tar"
        write_base_image(archive)
        self.podman("import", "--quiet", str(archive), _BASE)
        archive.unlink()
        # "chroot" is what works on a machine that is confined itself. The health check is Docker's format only.
        how = ("--isolation", "chroot", "--format", "docker", "--build-arg", f"PYTHON_IMAGE={_BASE}")
        self._buildah("bud", "--quiet", *how, "--file", str(DEPLOY / "Containerfile"), "--tag", _IMAGE, str(ROOT))

    def configuration(self) -> dict[str, Any]:
        """What the image says of itself."""
        text = self.podman("inspect", "--format", "{{json .Config}}", _IMAGE)
        return _json(text)

    def health_check(self) -> Sequence[str]:
        check = _json(self.podman("inspect", "--format", "{{json .HealthCheck}}", _IMAGE))
        kind, *command = map(str, check["Test"])
        assert kind == "CMD"
        return command

    @contextmanager
    def running(
        self, name: str, listen: str, log: Path, *options: str, settings: Mapping[str, str]
    ) -> Iterator[Container]:
        """Run it, confined, until the block ends; SIGTERM must then make it exit with 0."""
        variables = {"FERRO_OCI_LISTEN": listen, **settings}
        given = [part for variable, value in variables.items() for part in ("--env", f"{variable}={value}")]
        options = (*_CONFINED, *_NO_NEW_PRIVILEGES, *_HERE, *_LIMITS, *options)
        argv = (*self.podman.argv, "run", "--rm", "--name", name, *options, *given, _IMAGE)
        with daemon(argv, self.podman.env, log, lambda: answers(listen)) as process:
            yield Container(name, Registry(listen, process), self.podman)
        assert process.returncode == 0, log.read_text(errors="replace")[-4000:]

    def remove(self) -> None:
        """Leave nothing mounted: the folder can be removed then."""
        self.podman("rm", "--all", "--force", "--time", "1")
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        for mounted in sorted((line.split()[1] for line in mounts), key=len, reverse=True):
            if Path(mounted).is_relative_to(self._home):
                subprocess.run(["umount", mounted], check=True, timeout=60)


@contextmanager
def built(home: Path) -> Iterator[Image]:
    """The image, until the block ends."""
    with ExitStack() as stack:
        image = Image(home)
        stack.callback(image.remove)
        image.build()
        yield image


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
