"""The container image: linted, built, and run as confined as it can be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferro_oci_server.testing.images import Content
from ferro_oci_server.testing.images import image as sample_image
from support.process import free_port
from support.registry import Registry

from .containers import STORAGE, Container, Image
from .programs import DEPLOY, checker

NOBODY = 65532
REPOSITORY = "team/app"
SAMPLE = sample_image(b"what is kept")


def volume(folder: Path) -> str:
    """The option that mounts a folder which belongs to the image's user, as a volume does."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, NOBODY, NOBODY)
    return f"--volume={folder}:{STORAGE}"


@pytest.fixture(scope="module")
def container(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Confined, with two workers, which share more than one has: their numbers are in /tmp."""
    folder = tmp_path_factory.mktemp("container")
    listen = f"127.0.0.1:{free_port()}"
    mounted = volume(folder / "storage")
    with image.running("registry", listen, folder / "log", mounted, settings={"FERRO_OCI_WORKERS": "2"}) as it:
        yield it


def push(registry: Registry, content: Content) -> None:
    for blob in content.blobs:
        registry.push_blob(REPOSITORY, blob)
    registry.push_manifest(REPOSITORY, "v1", content.media_type, content.body)


def test_the_linter_finds_nothing(tmp_path: Path) -> None:
    assert checker("hadolint", tmp_path)("--failure-threshold", "style", str(DEPLOY / "Containerfile")) == ""


def test_the_image_says_what_it_is(image: Image) -> None:
    configuration = image.configuration()
    assert configuration["User"] == f"{NOBODY}:{NOBODY}"
    assert configuration["Entrypoint"] == ["ferro-oci-server"]
    assert list(configuration["Volumes"]) == [STORAGE]
    assert list(configuration["ExposedPorts"]) == ["8080/tcp"]
    assert configuration["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_it_serves_on_a_root_that_is_read_only(container: Container) -> None:
    push(container.registry, SAMPLE)
    assert container.registry.manifest(REPOSITORY).body == SAMPLE.body
    for place in ("/opt", "/etc", "/opt/ferro-oci-server/bin", "/var/lib", "/"):
        assert "Read-only file system" in container.refuses("touch", f"{place}/something")


def test_it_is_nobody_without_any_right(container: Container) -> None:
    processes = container.processes()
    assert len(processes) > 1
    for status in processes:
        assert status["Uid"].split() == status["Gid"].split() == [str(NOBODY)] * 4
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"


def test_the_health_check_sees_whether_it_is_ready(image: Image, container: Container) -> None:
    command = image.health_check()
    assert container.run(*command) == "200 ready"
    assert "no answer" in container.refuses("env", "FERRO_OCI_LISTEN=127.0.0.1:1", *command)


def test_numbers_of_all_workers_are_counted(container: Container) -> None:
    assert container.registry.request("GET", "/metrics").status == 200
    assert "ferro-oci-metrics" in container.run("ls", "/tmp")


def test_what_was_pushed_outlives_the_container(image: Image, tmp_path: Path) -> None:
    mounted = volume(tmp_path / "storage")
    for name in ("first", "second"):
        listen = f"127.0.0.1:{free_port()}"
        with image.running(name, listen, tmp_path / name, mounted, settings={}) as container:
            if name == "first":
                push(container.registry, SAMPLE)
            assert container.registry.manifest(REPOSITORY).body == SAMPLE.body


def test_nothing_that_only_builds_is_left(container: Container) -> None:
    names = container.run("ls", "/opt/ferro-oci-server/bin").split()
    assert "ferro-oci-server" in names
    assert not {"pip", "hatchling"} & set(names)
