"""What deploy/compose/scale-out.yaml describes, without Docker: containers of the image behind its balancer.

PostgreSQL and the S3 server are real; the balancer's configuration is made by the command that the file has, and it
follows a name server, as it does Docker's.
"""

import json
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ferro_oci_server.testing.images import image as sample_image
from support.object_store import CREDENTIALS, s3_server
from support.postgres import postgres_server
from support.process import daemon, free_port
from support.registry import Registry

from .containers import Container, Image
from .names import Names, name_server
from .programs import DEPLOY, checker, nginx

REPOSITORY = "team/app"
SAMPLE = sample_image(b"what all replicas have")
# How long the balancer goes on with an address that is not the name's any more, as the compose file says.
STALE_SECONDS = 1


@pytest.fixture(scope="module")
def settings() -> Iterator[Mapping[str, str]]:
    """What makes a container a replica."""
    with TemporaryDirectory(prefix="ferro-stores-") as path:
        folder = Path(path)
        # PostgreSQL runs as another user than we do.
        folder.chmod(0o711)
        with postgres_server(folder / "postgres") as postgres, s3_server(folder) as s3:
            postgres.make_registry()
            urls = {"FERRO_OCI_DATABASE_URL": postgres.url("registry"), "FERRO_OCI_STORAGE_URL": s3.url("replicas")}
            yield {**urls, **CREDENTIALS}


class Replicas:
    """Containers that come and go, each on a loopback address of its own, all on one port."""

    def __init__(self, image: Image, settings: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self._image, self._settings, self._folder = image, settings, folder
        socket_folder = settings["FERRO_OCI_DATABASE_URL"].partition("host=")[2]
        self._mount = f"--volume={socket_folder}:{socket_folder}"

    @contextmanager
    def one(self, number: int) -> Iterator[Container]:
        listen = f"127.0.0.{number}:{self.port}"
        name, log = f"replica-{number}", self._folder / f"replica-{number}.log"
        with self._image.running(name, listen, log, self._mount, settings=self._settings) as container:
            yield container


@contextmanager
def balancer(home: Path, names: Names, port: int) -> Iterator[Registry]:
    """nginx, set up by the command of the compose file: only its port and the name server's address are others."""
    secrets = {"POSTGRES_PASSWORD": "-", "S3_SECRET_KEY": "-"}
    program = checker("docker-compose", home)
    argv = (*program.argv, "--file", str(DEPLOY / "compose" / "scale-out.yaml"), "config", "--format", "json")
    read = subprocess.run(argv, env={**program.env, **secrets}, capture_output=True, check=True, timeout=60).stdout
    shell, option, script = json.loads(read)["services"]["balancer"]["command"]
    address = f"127.0.0.1:{free_port()}"
    for there, here in (
        ("LISTEN,8080", f"LISTEN,{address}"),
        ("registry:8080", f"registry:{port}"),
        ("127.0.0.11", names.at),
        ("/tmp/nginx.conf", f"{home}/nginx.conf"),
        ("FOLDER,/tmp", f"FOLDER,{home}"),
        ("/etc/nginx/registry.conf", str(DEPLOY / "nginx.conf")),
        ("exec nginx", f"exec {nginx()} -p {home} -e stderr"),
    ):
        assert there in script, f"{there} is not in the command any more: {script}"
        script = script.replace(there, here)
    front = Registry(address, None)  # type: ignore[arg-type]

    def ready() -> bool:
        try:
            return front.request("GET", "/v2/").status == 200
        except OSError:
            return False

    with daemon([shell, option, script], None, home / "nginx.log", ready) as process:
        yield Registry(address, process)


def push(registry: Registry, tag: str) -> None:
    for blob in SAMPLE.blobs:
        registry.push_blob(REPOSITORY, blob)
    registry.push_manifest(REPOSITORY, tag, SAMPLE.media_type, SAMPLE.body)


def pushing(registry: Registry, until: threading.Event) -> tuple[threading.Thread, list[str]]:
    """Push and pull all the time in a thread; what went wrong is in the list."""
    problems: list[str] = []

    def run() -> None:
        number = 0
        while not until.is_set():
            try:
                push(registry, f"v{number % 10}")
                assert registry.manifest(REPOSITORY, f"v{number % 10}").body == SAMPLE.body
            except (AssertionError, OSError) as exc:
                problems.append(repr(exc))
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    return thread, problems


def served(container: Container) -> float:
    """How many requests a replica has answered."""
    text = container.registry.request("GET", "/metrics").body.decode()
    return sum(float(count) for count in re.findall(r"^ferro_oci_requests_total\{.*?\} (\S+)$", text, re.MULTILINE))


def test_replicas_are_replaced_while_clients_push_and_pull(
    image: Image, settings: Mapping[str, str], tmp_path: Path
) -> None:
    replicas = Replicas(image, settings, tmp_path)
    ended = threading.Event()
    with ExitStack() as first, ExitStack() as second, ExitStack() as third, ExitStack() as rest:
        old = [first.enter_context(replicas.one(1)), second.enter_context(replicas.one(2))]
        names = rest.enter_context(name_server("127.0.0.1", "127.0.0.2"))
        front = rest.enter_context(balancer(tmp_path, names, replicas.port))
        push(front, "v1")
        client, problems = pushing(front, ended)
        try:
            new = third.enter_context(replicas.one(3))
            assert all(served(container) > 0 for container in old)
            for stack, left in ((first, ["127.0.0.2", "127.0.0.3"]), (second, ["127.0.0.3"])):
                names.addresses = left
                # In a cluster this is what drainSeconds is for.
                ended.wait(STALE_SECONDS + 0.5)
                stack.close()
            ended.wait(0.5)
        finally:
            ended.set()
            client.join()
        assert problems == []
        assert served(new) > 0
        assert front.tags(REPOSITORY) == sorted(f"v{number}" for number in range(10))
