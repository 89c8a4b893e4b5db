"""podman: no daemon; compresses and pushes each layer with one streamed PATCH."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry

from .containers_storage import storage_client
from .recorder import Recording

NOT_OFFERED = {
    "delete": "podman has no command that deletes from a registry",
    "referrers": "podman 4 has no command for them",
}
PLAIN = "--tls-verify=false"


@pytest.fixture(scope="module")
def podman(program: Callable[..., Client], home: Path) -> Client:
    return storage_client(program, "podman", home, "--tmpdir", f"{home}/libpod")


def load(podman: Client, image: Image, folder: Path, name: str) -> str:
    """Put an image into podman's storage under that name; its id, which is its config's digest."""
    podman("load", "--quiet", "--input", str(image.archive(folder / "image.tar", name)))
    return image_id(podman, name)


def image_id(podman: Client, name: str) -> str:
    return f"sha256:{podman('image', 'inspect', '--format', '{{.Id}}', name)}"


def push(podman: Client, name: str, folder: Path, *options: str) -> str:
    """Push it; the digest that podman reports."""
    report = folder / "digest"
    podman("push", PLAIN, "--digestfile", str(report), *options, name)
    return report.read_text(encoding="ascii").strip()


@pytest.mark.operation("push")
def test_pushes_an_image(podman: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("podman push")
    name = registry.name(repository)
    assert load(podman, image, tmp_path, name) == image.image_id
    assert push(podman, name, tmp_path, "--format=oci") == registry.digest(repository)
    assert registry.content(repository)["config"]["digest"] == image.image_id


@pytest.mark.operation("pull")
def test_pulls_the_same_image(podman: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    name = registry.name(repository)
    loaded = load(podman, images.image("podman pull"), tmp_path, name)
    digest = push(podman, name, tmp_path)
    podman("rmi", name)
    podman("pull", "--quiet", PLAIN, name)
    assert image_id(podman, name) == loaded
    assert podman("image", "inspect", "--format", "{{.Digest}}", name) == digest


@pytest.mark.operation("pull")
def test_pulls_by_digest_what_another_client_pushed(podman: Client, registry: Registry, repository: str) -> None:
    image = images.image("podman pull digest")
    podman("pull", "--quiet", PLAIN, registry.push(repository, image))
    assert image_id(podman, registry.name(repository, image.digest)) == image.image_id


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    podman: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    name = registry.name(repository)
    load(podman, images.image("podman repush"), tmp_path, name)
    digest = push(podman, name, tmp_path)
    recording.clear()
    assert push(podman, name, tmp_path) == digest
    assert not recording.uploads(), recording


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    podman: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("podman copy")
    load(podman, image, tmp_path, registry.name(repository))
    digest = push(podman, registry.name(repository), tmp_path)
    podman("tag", registry.name(repository), registry.name(f"{repository}/copy"))
    recording.clear()
    assert push(podman, registry.name(f"{repository}/copy"), tmp_path) == digest
    assert len(recording.mounts()) == len(image.layers), recording
    assert registry.digest(f"{repository}/copy") == digest


@pytest.mark.operation("tags")
def test_lists_tags(podman: Client, registry: Registry, repository: str) -> None:
    image = images.image("podman tags")
    for tag in ("v1", "v2"):
        registry.push(repository, image, tag)
    _, *lines = podman("search", "--list-tags", PLAIN, f"{registry.address}/{repository}").splitlines()
    assert [line.split()[1] for line in lines] == ["v1", "v2"]


@pytest.mark.operation("index")
def test_makes_and_pushes_an_index_with_all_its_images(
    podman: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    index = images.index("podman index")
    registry.push(f"{repository}/source", index)
    name = registry.name(repository)
    podman("manifest", "create", name)
    podman("manifest", "add", "--all", PLAIN, name, f"docker://{registry.name(f'{repository}/source')}")
    podman("manifest", "push", "--all", PLAIN, "--format=oci", name, f"docker://{name}")
    children = {child["digest"] for child in registry.content(repository)["manifests"]}
    assert children == {child.digest for child in index.children}
    podman("manifest", "rm", name)
    podman("pull", "--quiet", PLAIN, "--arch", "arm64", name)
    assert image_id(podman, name) == index.children[1].image_id


@pytest.mark.operation("large")
@pytest.mark.timeout(900)
def test_pushes_and_pulls_a_large_layer(
    podman: Client, registry: Registry, repository: str, large: Image, large_archive: Path, tmp_path: Path
) -> None:
    podman = podman.patient(400)
    name = registry.name(repository)
    podman("load", "--quiet", "--input", str(large_archive))
    podman("tag", "localhost/large:v1", name)
    with registry.bounded_memory():
        digest = push(podman, name, tmp_path)
        podman("rmi", name, "localhost/large:v1")
        podman("pull", "--quiet", PLAIN, name)
    assert podman("image", "inspect", "--format", "{{.Digest}}", name) == registry.digest(repository) == digest
    assert image_id(podman, name) == large.image_id
    podman("rmi", name)


@pytest.mark.operation("schema2")
def test_pushes_the_media_types_of_docker(podman: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    name = registry.name(repository)
    load(podman, images.image("podman schema2"), tmp_path, name)
    digest = push(podman, name, tmp_path, "--format=v2s2")
    types = images.MEDIA_TYPES[images.DOCKER]
    assert registry.manifest(repository).headers["Content-Type"] == types["manifest"]
    assert registry.digest(repository) == digest
    podman("rmi", name)
    podman("pull", "--quiet", PLAIN, name)
    inspected = json.loads(podman("image", "inspect", name))
    assert (inspected[0]["ManifestType"], inspected[0]["Digest"]) == (types["manifest"], digest)


@pytest.mark.operation("own")
def test_pulls_an_image_of_docker_hub_from_its_mirror(
    podman: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    image = images.image("podman mirror")
    registry.push(repository, image)
    mirrors = tmp_path / "registries.conf"
    mirrors.write_text(
        f'[[registry]]\nlocation = "docker.io"\n'
        f'[[registry.mirror]]\nlocation = "{registry.address}"\ninsecure = true\n',
        encoding="ascii",
    )
    mirrored = Client(podman.argv, {**podman.env, "CONTAINERS_REGISTRIES_CONF": str(mirrors)})
    mirrored("pull", "--quiet", f"docker.io/{repository}:v1")
    assert image_id(podman, f"docker.io/{repository}:v1") == image.image_id


@pytest.mark.operation("own")
def test_pushes_layers_that_can_be_pulled_in_parts(
    podman: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    name = registry.name(repository)
    loaded = load(podman, images.image("podman chunked"), tmp_path, name)
    push(podman, name, tmp_path, "--format=oci", "--compression-format=zstd:chunked")
    layers = registry.content(repository)["layers"]
    assert {layer["mediaType"] for layer in layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    # Where in the layer a client finds the table of what to ask for.
    assert all("zstd-chunked.manifest-position" in str(layer["annotations"]) for layer in layers)
    podman("rmi", name)
    podman("pull", "--quiet", PLAIN, name)
    assert image_id(podman, name) == loaded
