"""containerd, driven by its own client ctr: pushes each layer with one POST and one PUT."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry

from .containerd_daemon import containerd
from .recorder import Recording

NOT_OFFERED = {
    "tags": "ctr has no command that lists a repository's tags",
    "delete": "ctr has no command that deletes from a registry",
    "referrers": "ctr has no command for them",
}


@pytest.fixture(scope="module")
def ctr(program: Callable[..., Client], home: Path) -> Iterator[Client]:
    with containerd(program, home) as client:
        yield client


def load(ctr: Client, image: Image, folder: Path, name: str) -> None:
    archive = image.archive(folder / "image.tar", name)
    ctr("images", "import", "--all-platforms", "--snapshotter", "native", "--no-unpack", str(archive))


def push(ctr: Client, name: str) -> None:
    ctr("images", "push", "--plain-http", name)


def pull(ctr: Client, name: str, *options: str) -> None:
    ctr("images", "pull", "--plain-http", "--snapshotter", "native", *options, name)


def forget(ctr: Client, *names: str) -> None:
    """Remove images and every blob that only they used."""
    ctr("images", "rm", "--sync", *names)


def digest(ctr: Client, name: str) -> str:
    (line,) = ctr("images", "ls", f"name=={name}").splitlines()[1:]
    return line.split()[2]


def content(ctr: Client) -> set[str]:
    return set(ctr("content", "ls", "--quiet").split())


@pytest.mark.operation("push")
def test_pushes_an_image_with_its_digest(ctr: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("ctr push")
    load(ctr, image, tmp_path, registry.name(repository))
    push(ctr, registry.name(repository))
    assert registry.digest(repository) == image.digest


@pytest.mark.operation("pull")
def test_pulls_the_same_bytes(ctr: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("ctr pull")
    name = registry.name(repository)
    load(ctr, image, tmp_path, name)
    push(ctr, name)
    forget(ctr, name)
    assert image.digest not in content(ctr)
    pull(ctr, name)
    assert digest(ctr, name) == image.digest
    for blob in image.blobs():
        assert ctr.bytes("content", "get", blob.digest) == blob.content


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    ctr: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("ctr repush")
    load(ctr, image, tmp_path, registry.name(repository))
    push(ctr, registry.name(repository))
    recording.clear()
    push(ctr, registry.name(repository))
    assert not recording.uploads(), recording
    assert registry.digest(repository) == image.digest


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    ctr: Client, recorded: tuple[Registry, Recording], repository: str
) -> None:
    registry, recording = recorded
    image = images.image("ctr copy")
    registry.push(repository, image)
    # containerd learns where a blob can be mounted from when it pulls it.
    pull(ctr, registry.name(repository))
    ctr("images", "tag", registry.name(repository), registry.name(f"{repository}/copy"))
    recording.clear()
    push(ctr, registry.name(f"{repository}/copy"))
    assert len(recording.mounts()) == len(image.blobs()), recording
    assert not recording.uploads(), recording
    assert registry.digest(f"{repository}/copy") == image.digest


@pytest.mark.operation("index")
def test_pushes_and_pulls_an_index_with_all_its_images(
    ctr: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    index = images.index("ctr index")
    name = registry.name(repository)
    load(ctr, index, tmp_path, name)
    push(ctr, name)
    assert registry.digest(repository) == index.digest
    forget(ctr, name)
    pull(ctr, name, "--all-platforms")
    assert digest(ctr, name) == index.digest
    assert {child.digest for child in index.children} <= content(ctr)


@pytest.mark.operation("large")
@pytest.mark.timeout(600)
def test_pushes_and_pulls_a_large_layer(
    ctr: Client, registry: Registry, repository: str, large: Image, large_archive: Path
) -> None:
    ctr = ctr.patient(300)
    name = registry.name(repository)
    ctr("images", "import", "--no-unpack", str(large_archive))
    with registry.bounded_memory():
        ctr("images", "push", "--plain-http", name, "large:v1")
        forget(ctr, "large:v1")
        pull(ctr, name)
    assert digest(ctr, name) == registry.digest(repository) == large.digest
    forget(ctr, name)


@pytest.mark.operation("schema2")
def test_keeps_the_media_types_of_docker(ctr: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("ctr schema2", images.DOCKER)
    name = registry.name(repository)
    load(ctr, image, tmp_path, name)
    push(ctr, name)
    assert registry.manifest(repository).headers["Content-Type"] == image.media_type
    forget(ctr, name)
    pull(ctr, name)
    assert digest(ctr, name) == registry.digest(repository) == image.digest


@pytest.mark.operation("own")
def test_pulls_an_image_of_docker_hub_from_its_mirror(
    ctr: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("ctr mirror")
    registry.push(repository, image)
    hosts = tmp_path / "docker.io" / "hosts.toml"
    hosts.parent.mkdir()
    hosts.write_text(f'[host."http://{registry.address}"]\ncapabilities = ["pull", "resolve"]\n', encoding="ascii")
    recording.clear()
    pull_through = ("images", "pull", "--snapshotter", "native", "--hosts-dir", str(tmp_path))
    ctr(*pull_through, f"docker.io/{repository}:v1")
    assert digest(ctr, f"docker.io/{repository}:v1") == image.digest
    # A mirror is told which registry it stands for.
    assert {tuple(exchange.query["ns"]) for exchange in recording.exchanges} == {("docker.io",)}, recording


@pytest.mark.operation("own")
def test_pushes_the_same_layers_to_many_repositories_at_once(
    ctr: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    image = images.image("ctr at once", layer_count=8)
    names = [f"{repository}/{number}" for number in range(8)]
    load(ctr, image, tmp_path, registry.name(repository))
    for name in names:
        ctr("images", "tag", registry.name(repository), registry.name(name))
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: push(ctr, registry.name(name)), names))
    assert {registry.digest(name) for name in names} == {image.digest}
