"""An image of some hundred megabytes by real clients: skopeo, one docker engine, and many engines at once."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, turned
from benchmarks.image import layout
from benchmarks.results import Case, Sample
from benchmarks.subjects import Subject
from support.process import Client, CommandFailed, daemon
from support.tools import clean_environment, find

__all__ = ["NAME", "docker_pull", "docker_push", "run", "skopeo"]

NAME = "clients"
_PATIENCE = 300.0
_REPOSITORY = "bench/image"


def skopeo(way: str) -> Case:
    """``push`` or ``pull``."""
    return _case(f"{way} by skopeo")


def docker_push() -> Case:
    """The engine compresses what it pushes, which takes most of the time."""
    return _case("push by docker")


def docker_pull(engines: int = 1) -> Case:
    """Each engine is a host of its own."""
    title = "pull by docker"
    return Case(NAME, title, "s", "", engines, "at once", lower_is_better=True)


def _case(title: str) -> Case:
    return Case(NAME, title, "s", lower_is_better=True)


def run(bench: Bench) -> None:
    """A new server in each round, so that everything is pushed to it anew."""
    scale = bench.scale
    kinds = bench.kinds("files", "files x2", "distribution")
    if not kinds:
        return
    pulled, pushed = (layout(bench.stores.folder, seed, scale.layers, scale.layer) for seed in (1, 2))
    with _engines(scale.pullers) as engines:
        _load(engines[0], pushed)
        for number in range(min(scale.rounds, 2)):
            for kind in turned(kinds, number):
                with bench.stores.serve(kind) as subject, bench.stores.scratch() as scratch:
                    _skopeo(bench, subject, pulled, scratch)
                    _docker(bench, subject, engines)


def _skopeo(bench: Bench, subject: Subject, source: Path, scratch: Path) -> None:
    client = Client((find("skopeo"), "--insecure-policy"), clean_environment(scratch / "home"), _PATIENCE)
    name = f"docker://{subject.address}/{_REPOSITORY}:v1"
    # Else it would compress the layers first.
    copy = ("copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")

    def push() -> Sample:
        return _timed(lambda: client(*copy, f"oci:{source}:v1", name))

    def pull() -> Sample:
        return _timed(lambda: client(*copy, name, f"dir:{scratch}/pulled"))

    for way, once in (("push", push), ("pull", pull)):
        os.sync()
        bench.take(skopeo(way), subject.name, once)


def _docker(bench: Bench, subject: Subject, engines: Sequence[Client]) -> None:
    name = f"{subject.address}/{_REPOSITORY}:v1"
    for count in (1, len(engines)):
        os.sync()
        pull = partial(_at_once, engines[:count], "pull", name)
        bench.take(docker_pull(count), subject.name, partial(_timed, pull))
        _at_once(engines[:count], "image", "rm", name)
    other = f"{subject.address}/{_REPOSITORY}/pushed:v1"
    engines[0]("tag", "pushed:v1", other)
    os.sync()
    bench.take(docker_push(), subject.name, lambda: _timed(lambda: engines[0]("push", other)))
    engines[0]("image", "rm", other)


def _at_once(engines: Sequence[Client], *command: str) -> None:
    with ThreadPoolExecutor(len(engines)) as threads:
        for future in [threads.submit(engine, *command) for engine in engines]:
            future.result()


def _timed(work: Callable[[], object]) -> Sample:
    begin = time.monotonic()
    work()
    return Sample(time.monotonic() - begin)


@contextmanager
def _engines(count: int) -> Iterator[Sequence[Client]]:
    """Docker engines that have nothing to do with one another, in folders that go away."""
    with tempfile.TemporaryDirectory(prefix="ferro-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        yield [stack.enter_context(_engine(Path(name) / str(number))) for number in range(count)]


@contextmanager
def _engine(home: Path) -> Iterator[Client]:
    home.mkdir()
    environment = clean_environment(home)
    address = f"unix://{home}/docker.sock"
    client = Client((find("docker"), "--host", address), environment, _PATIENCE)
    folders = ("--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "--pidfile", f"{home}/docker.pid")
    network = ("--iptables=false", "--ip6tables=false", "--bridge=none")
    command = (find("dockerd"), "--host", address, *folders, *network, "--storage-driver=overlay2")

    def ready() -> bool:
        try:
            return bool(client("version", "--format", "{{.Server.Version}}"))
        except CommandFailed:
            return False

    with daemon(command, environment, home / "dockerd.log", ready):
        yield client
    shutil.rmtree(home, ignore_errors=True)


def _load(engine: Client, source: Path) -> None:
    """Give an engine an image that it has from nowhere, so that it must be pushed as a whole."""
    archive = source.with_name(f"{source.name}.tar")
    if not archive.exists():
        skopeo_client = Client((find("skopeo"), "--insecure-policy"), engine.env, _PATIENCE)
        skopeo_client("copy", f"oci:{source}:v1", f"docker-archive:{archive}:pushed:v1")
    engine("load", "--input", str(archive))
