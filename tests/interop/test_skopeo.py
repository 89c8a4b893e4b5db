"""skopeo: copies between archives, layouts and registries with one streamed PATCH for each layer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry

from .recorder import Recording

NOT_OFFERED = {"referrers": "skopeo neither lists nor copies them"}


@pytest.fixture(scope="module")
def skopeo(program: Callable[..., Client]) -> Client:
    return program("skopeo", "--insecure-policy")


def push(skopeo: Client, source: str, destination: str, *options: str) -> None:
    # Without --preserve-digests skopeo may rewrite what it copies.
    options = ("--preserve-digests", "--dest-tls-verify=false", "--src-tls-verify=false", *options)
    skopeo("copy", *options, source, destination)


@pytest.mark.operation("push")
def test_pushes_a_layout_with_its_digest(skopeo: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("skopeo push")
    push(skopeo, f"oci:{image.layout(tmp_path / 'layout')}:v1", f"docker://{registry.name(repository)}")
    assert registry.digest(repository) == image.digest
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{registry.name(repository)}"))
    assert inspected["Digest"] == image.digest
    assert inspected["Layers"] == [layer.digest for layer in image.layers]


@pytest.mark.operation("pull")
def test_pulls_the_same_bytes(skopeo: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("skopeo pull")
    push(skopeo, f"oci:{image.layout(tmp_path / 'layout')}:v1", f"docker://{registry.name(repository)}")
    push(skopeo, f"docker://{registry.name(repository)}", f"dir:{tmp_path / 'pulled'}")
    assert (tmp_path / "pulled" / "manifest.json").read_bytes() == image.manifest.content
    for blob in image.blobs():
        assert (tmp_path / "pulled" / blob.digest.removeprefix("sha256:")).read_bytes() == blob.content


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    skopeo: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("skopeo repush")
    source = f"oci:{image.layout(tmp_path / 'layout')}:v1"
    push(skopeo, source, f"docker://{registry.name(repository)}")
    recording.clear()
    push(skopeo, source, f"docker://{registry.name(repository)}")
    assert not recording.uploads(), recording
    assert registry.digest(repository) == image.digest


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    skopeo: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("skopeo copy")
    push(skopeo, f"oci:{image.layout(tmp_path / 'layout')}:v1", f"docker://{registry.name(repository)}")
    recording.clear()
    push(skopeo, f"docker://{registry.name(repository)}", f"docker://{registry.name(f'{repository}/copy')}")
    # The layers are mounted; the config is small and is always sent.
    assert len(recording.mounts()) == len(image.layers), recording
    assert registry.digest(f"{repository}/copy") == image.digest


@pytest.mark.operation("tags")
def test_lists_tags(skopeo: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    source = f"oci:{images.image('skopeo tags').layout(tmp_path / 'layout')}:v1"
    for tag in ("v1", "v2"):
        push(skopeo, source, f"docker://{registry.name(repository, tag)}")
    listed = skopeo("list-tags", "--tls-verify=false", f"docker://{registry.address}/{repository}")
    assert json.loads(listed)["Tags"] == ["v1", "v2"]


@pytest.mark.operation("delete")
def test_deletes_the_manifest_that_a_tag_names(
    skopeo: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    image = images.image("skopeo delete")
    push(skopeo, f"oci:{image.layout(tmp_path / 'layout')}:v1", f"docker://{registry.name(repository)}")
    skopeo("delete", "--tls-verify=false", f"docker://{registry.name(repository)}")
    assert registry.status(repository, image.digest) == 404
    assert registry.tags(repository) == []


@pytest.mark.operation("index")
def test_copies_an_index_with_all_its_images(
    skopeo: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    index = images.index("skopeo index")
    source = f"oci:{index.layout(tmp_path / 'layout')}:v1"
    push(skopeo, source, f"docker://{registry.name(repository)}", "--all")
    assert registry.digest(repository) == index.digest
    push(skopeo, f"docker://{registry.name(repository)}", f"dir:{tmp_path / 'pulled'}", "--all")
    assert (tmp_path / "pulled" / "manifest.json").read_bytes() == index.manifest.content


@pytest.mark.operation("large")
@pytest.mark.timeout(600)
def test_pushes_and_pulls_a_large_layer(
    skopeo: Client, registry: Registry, repository: str, large: Image, large_layout: Path, workspace: Path
) -> None:
    skopeo = skopeo.patient(300)
    with registry.bounded_memory():
        push(skopeo, f"oci:{large_layout}:v1", f"docker://{registry.name(repository)}")
        push(skopeo, f"docker://{registry.name(repository)}", f"dir:{workspace / 'skopeo-pulled'}")
    assert registry.digest(repository) == large.digest
    assert (workspace / "skopeo-pulled" / "manifest.json").read_bytes() == large.manifest.content


@pytest.mark.operation("schema2")
def test_converts_to_the_media_types_of_docker_and_back(
    skopeo: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    image = images.image("skopeo schema2", images.DOCKER)
    target = f"docker://{registry.name(repository)}"
    push(skopeo, f"docker-archive:{image.archive(tmp_path / 'image.tar', 'image:v1')}", target, "--format=v2s2")
    assert registry.manifest(repository).headers["Content-Type"] == image.media_type
    convert = ("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format=oci")
    skopeo(*convert, target, f"docker://{registry.name(repository, 'oci')}")
    oci_type = images.MEDIA_TYPES[images.OCI]["manifest"]
    assert registry.manifest(repository, "oci").headers["Content-Type"] == oci_type
    # Only the manifest is another: the layers are the same blobs.
    assert [layer["digest"] for layer in registry.content(repository, "oci")["layers"]] == [
        layer["digest"] for layer in registry.content(repository)["layers"]
    ]


@pytest.mark.operation("own")
def test_mirrors_a_whole_repository_into_a_folder(
    skopeo: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    source = f"oci:{images.image('skopeo own').layout(tmp_path / 'layout')}:v1"
    for tag in ("v1", "v2"):
        push(skopeo, source, f"docker://{registry.name(repository, tag)}")
    folder = tmp_path / "mirror"
    folder.mkdir()
    sync = ("sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir")
    skopeo(*sync, f"{registry.address}/{repository}", str(folder))
    assert sorted(path.name.rpartition(":")[2] for path in folder.iterdir()) == ["v1", "v2"]
