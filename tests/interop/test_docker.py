"""docker with its own engine: pushes each layer with one PATCH of unknown length, and makes manifests of its own.

The engine takes an image apart when it is loaded and compresses it again when it is pushed, so the digest in the
registry is the engine's, and the image's id, the digest of its config, is what must come back.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry

from .docker_engine import docker_engine
from .recorder import Recording

NOT_OFFERED = {
    "tags": "docker has no command that lists a repository's tags",
    "delete": "docker has no command that deletes from a registry",
    "referrers": "docker has no command for them",
}


@pytest.fixture(scope="module")
def docker(program: Callable[..., Client], home: Path, registry: Registry) -> Iterator[Client]:
    """A client with a private engine; our registry is its mirror of docker.io too."""
    with docker_engine(program, home, f"--registry-mirror=http://{registry.address}") as client:
        yield client


def load(docker: Client, image: Image, folder: Path, name: str) -> str:
    """Give the engine an image under that name; its id."""
    docker("image", "load", "--input", str(image.archive(folder / "image.tar", name)))
    return docker("image", "inspect", "--format", "{{.Id}}", name)


def pushed_digest(docker: Client, name: str) -> str:
    """The digest that the engine remembers from the last push or pull of that name."""
    repository = name.rpartition(":")[0]
    digests = json.loads(docker("image", "inspect", "--format", "{{json .RepoDigests}}", name))
    (digest,) = (entry.partition("@")[2] for entry in digests if entry.startswith(f"{repository}@"))
    return str(digest)


@pytest.mark.operation("push")
def test_pushes_an_image(docker: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("docker push")
    assert load(docker, image, tmp_path, registry.name(repository)) == image.image_id
    docker("push", registry.name(repository))
    assert registry.digest(repository) == pushed_digest(docker, registry.name(repository))
    assert registry.content(repository)["config"]["digest"] == image.image_id


@pytest.mark.operation("pull")
def test_pulls_the_same_image(docker: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    name = registry.name(repository)
    image_id = load(docker, images.image("docker pull"), tmp_path, name)
    docker("push", name)
    docker("image", "rm", name)
    assert image_id not in docker("image", "ls", "--all", "--quiet", "--no-trunc").split()
    docker("pull", name)
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == image_id
    assert pushed_digest(docker, name) == registry.digest(repository)


@pytest.mark.operation("pull")
def test_pulls_an_image_of_oci_types_by_digest(docker: Client, registry: Registry, repository: str) -> None:
    image = images.image("docker pull oci")
    registry.push(repository, image)
    name = registry.name(repository, image.digest)
    docker("pull", name)
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == image.image_id


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    docker: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    name = registry.name(repository)
    load(docker, images.image("docker repush"), tmp_path, name)
    docker("push", name)
    digest = registry.digest(repository)
    recording.clear()
    docker("push", name)
    assert not recording.uploads(), recording
    assert registry.digest(repository) == digest


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    docker: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("docker copy")
    load(docker, image, tmp_path, registry.name(repository))
    docker("push", registry.name(repository))
    docker("tag", registry.name(repository), registry.name(f"{repository}/copy"))
    recording.clear()
    docker("push", registry.name(f"{repository}/copy"))
    assert len(recording.mounts()) == len(image.layers), recording
    assert registry.digest(f"{repository}/copy") == registry.digest(repository)


@pytest.mark.operation("index")
def test_makes_an_index_and_pulls_the_engines_platform(docker: Client, registry: Registry, repository: str) -> None:
    index = images.index("docker index", images.DOCKER)
    for child, tag in zip(index.children, ("amd64", "arm64"), strict=True):
        registry.push(repository, child, tag)
    parts = [registry.name(repository, tag) for tag in ("amd64", "arm64")]
    docker("manifest", "create", "--insecure", registry.name(repository), *parts)
    docker("manifest", "push", "--insecure", registry.name(repository))
    listed = registry.content(repository)
    assert listed["mediaType"] == index.media_type
    assert {child["digest"] for child in listed["manifests"]} == {child.digest for child in index.children}
    docker("pull", "--platform", "linux/arm64", registry.name(repository))
    pulled = docker("image", "inspect", "--format", "{{.Id}}", registry.name(repository))
    assert pulled == index.children[1].image_id


@pytest.mark.operation("large")
@pytest.mark.timeout(900)
def test_pushes_and_pulls_a_large_layer(
    docker: Client, registry: Registry, repository: str, large: Image, large_archive: Path
) -> None:
    docker = docker.patient(400)
    name = registry.name(repository)
    docker("image", "load", "--input", str(large_archive))
    docker("tag", "large:v1", name)
    with registry.bounded_memory():
        docker("push", name)
        docker("image", "rm", name, "large:v1")
        docker("pull", name)
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == large.image_id
    assert registry.content(repository)["layers"][0]["size"] >= large.layers[0].size // 2
    docker("image", "rm", name)


@pytest.mark.operation("schema2")
def test_pushes_the_media_types_of_docker(docker: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    load(docker, images.image("docker schema2"), tmp_path, registry.name(repository))
    docker("push", registry.name(repository))
    types = images.MEDIA_TYPES[images.DOCKER]
    assert registry.manifest(repository).headers["Content-Type"] == types["manifest"]
    content = registry.content(repository)
    assert content["config"]["mediaType"] == types["config"]
    assert {layer["mediaType"] for layer in content["layers"]} == {types["layer"]}


@pytest.mark.operation("own")
def test_pulls_an_image_of_docker_hub_from_its_mirror(docker: Client, registry: Registry, repository: str) -> None:
    image = images.image("docker mirror")
    registry.push(repository, image)
    docker("pull", f"{repository}:v1")
    assert docker("image", "inspect", "--format", "{{.Id}}", f"{repository}:v1") == image.image_id


@pytest.mark.operation("own")
def test_pushes_an_image_of_many_layers_which_are_sent_at_once(
    docker: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    name = registry.name(repository)
    image_id = load(docker, images.image("docker layers", layer_count=20), tmp_path, name)
    docker("push", name)
    docker("image", "rm", name)
    docker("pull", name)
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == image_id
