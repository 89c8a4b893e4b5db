"""buildah: builds images from scratch, and pushes them as podman does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.process import Client
from support.registry import Registry

from .containers_storage import storage_client
from .recorder import Recording

NOT_OFFERED = {
    "tags": "buildah has no command that lists a repository's tags",
    "delete": "buildah has no command that deletes from a registry",
    "large": "the same code as podman's",
    "referrers": "buildah 1.28 has no command for them",
}
PLAIN = "--tls-verify=false"


@pytest.fixture(scope="module")
def buildah(program: Callable[..., Client], home: Path) -> Client:
    return storage_client(program, "buildah", home)


def build(buildah: Client, folder: Path, name: str, *options: str) -> str:
    """Build an image that holds one file with its own name in it; its id."""
    folder.mkdir(exist_ok=True)
    (folder / "Containerfile").write_text("FROM scratch\nCOPY file /file\n", encoding="ascii")
    (folder / "file").write_text(f"{name}\n" * 1000, encoding="ascii")
    # Only the last line: the id; --timestamp makes the layers the same on every run.
    built = buildah("bud", "--quiet", "--timestamp", "0", *options, "-t", name, str(folder))
    return f"sha256:{built.split()[-1].removeprefix('sha256:')}"


def push(buildah: Client, name: str, folder: Path, *options: str) -> str:
    report = folder / "digest"
    buildah("push", "--quiet", PLAIN, "--digestfile", str(report), *options, name)
    return report.read_text(encoding="ascii").strip()


def image_id(buildah: Client, name: str) -> str:
    return f"sha256:{buildah('images', '--quiet', '--no-trunc', name).split()[0].removeprefix('sha256:')}"


@pytest.mark.operation("push")
def test_builds_and_pushes_an_image(buildah: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    name = registry.name(repository)
    built = build(buildah, tmp_path / "context", name)
    assert push(buildah, name, tmp_path) == registry.digest(repository)
    assert registry.content(repository)["config"]["digest"] == built


@pytest.mark.operation("pull")
def test_pulls_the_same_image(buildah: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    name = registry.name(repository)
    built = build(buildah, tmp_path / "context", name)
    push(buildah, name, tmp_path)
    buildah("rmi", name)
    buildah("pull", "--quiet", PLAIN, name)
    assert image_id(buildah, name) == built


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    buildah: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    name = registry.name(repository)
    build(buildah, tmp_path / "context", name)
    digest = push(buildah, name, tmp_path)
    recording.clear()
    assert push(buildah, name, tmp_path) == digest
    assert not recording.uploads(), recording


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    buildah: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    name, copy = registry.name(repository), registry.name(f"{repository}/copy")
    build(buildah, tmp_path / "context", name)
    digest = push(buildah, name, tmp_path)
    buildah("tag", name, copy)
    recording.clear()
    assert push(buildah, copy, tmp_path) == digest
    assert len(recording.mounts()) == 1, recording


@pytest.mark.operation("index")
def test_builds_and_pushes_an_index_with_all_its_images(
    buildah: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    name = registry.name(repository)
    buildah("manifest", "create", name)
    for architecture in ("amd64", "arm64"):
        built = build(
            buildah, tmp_path / architecture, f"localhost/{repository}:{architecture}", "--arch", architecture
        )
        buildah("manifest", "add", name, f"containers-storage:{built.removeprefix('sha256:')}")
    buildah("manifest", "push", "--all", PLAIN, name, f"docker://{name}")
    children = registry.content(repository)["manifests"]
    assert sorted(child["platform"]["architecture"] for child in children) == ["amd64", "arm64"]
    for child in children:
        assert registry.digest(repository, child["digest"]) == child["digest"]


@pytest.mark.operation("schema2")
def test_pushes_the_media_types_of_docker(buildah: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    name = registry.name(repository)
    build(buildah, tmp_path / "context", name, "--format=docker")
    digest = push(buildah, name, tmp_path, "--format=v2s2")
    types = images.MEDIA_TYPES[images.DOCKER]
    assert registry.manifest(repository).headers["Content-Type"] == types["manifest"]
    assert registry.digest(repository) == digest


@pytest.mark.operation("own")
def test_builds_on_an_image_that_it_pulls(buildah: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    base = images.image("buildah own")
    container = buildah("from", "--quiet", PLAIN, registry.push(f"{repository}/base", base))
    (tmp_path / "added").write_text("added\n", encoding="ascii")
    buildah("copy", "--quiet", container, str(tmp_path / "added"), "/added")
    name = registry.name(repository)
    buildah("commit", "--quiet", "--rm", container, name)
    push(buildah, name, tmp_path)
    layers = [layer["digest"] for layer in registry.content(repository)["layers"]]
    assert len(layers) == 3
    config = registry.request("GET", f"/v2/{repository}/blobs/{registry.content(repository)['config']['digest']}")
    assert base.config is not None
    assert json.loads(base.config.read())["rootfs"]["diff_ids"] == json.loads(config.body)["rootfs"]["diff_ids"][:2]
