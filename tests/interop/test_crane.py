"""crane: pushes an OCI layout or a tar archive, with one POST and one streamed PATCH for each layer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry

from .recorder import Recording

NOT_OFFERED = {"referrers": "crane has no command for them"}


@pytest.fixture(scope="module")
def crane(program: Callable[..., Client]) -> Client:
    return program("crane")


def layout_digest(folder: Path) -> str:
    """The digest of the only manifest in an OCI layout."""
    (manifest,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    return str(manifest["digest"])


@pytest.mark.operation("push")
def test_pushes_a_layout_with_its_digest(crane: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("crane push")
    pushed = crane("push", str(image.layout(tmp_path / "layout")), registry.name(repository))
    assert pushed.endswith(image.digest)
    assert registry.digest(repository) == image.digest
    crane("validate", "--remote", registry.name(repository))


@pytest.mark.operation("pull")
def test_pulls_the_same_bytes(crane: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("crane pull")
    crane("push", str(image.layout(tmp_path / "layout")), registry.name(repository))
    crane("pull", "--format=oci", registry.name(repository), str(tmp_path / "pulled"))
    assert layout_digest(tmp_path / "pulled") == image.digest
    for blob in image.blobs():
        assert (tmp_path / "pulled" / "blobs" / blob.digest.replace(":", "/")).read_bytes() == blob.content


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    crane: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("crane repush")
    layout = str(image.layout(tmp_path / "layout"))
    crane("push", layout, registry.name(repository))
    recording.clear()
    crane("push", layout, registry.name(repository))
    assert not recording.uploads(), recording
    assert registry.digest(repository) == image.digest


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    crane: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    image = images.image("crane copy")
    crane("push", str(image.layout(tmp_path / "layout")), registry.name(repository))
    recording.clear()
    crane("copy", registry.name(repository), registry.name(f"{repository}/copy"))
    assert len(recording.mounts()) == len(image.blobs()), recording
    assert not recording.uploads(), recording
    assert registry.digest(f"{repository}/copy") == image.digest


@pytest.mark.operation("tags")
def test_lists_tags_and_repositories(crane: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    crane("push", str(images.image("crane tags").layout(tmp_path / "layout")), registry.name(repository))
    for tag in ("v2", "v3-rc.1", "latest"):
        crane("tag", registry.name(repository), tag)
    assert sorted(crane("ls", registry.name(repository).removesuffix(":v1")).split()) == [
        "latest",
        "v1",
        "v2",
        "v3-rc.1",
    ]
    assert repository in crane("catalog", registry.address).split()


@pytest.mark.operation("delete")
def test_deletes_a_tag_and_then_the_manifest(
    crane: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    image = images.image("crane delete")
    crane("push", str(image.layout(tmp_path / "layout")), registry.name(repository))
    crane("tag", registry.name(repository), "v2")
    crane("delete", registry.name(repository, "v2"))
    assert registry.tags(repository) == ["v1"]
    crane("delete", registry.name(repository, image.digest))
    assert registry.tags(repository) == []
    assert registry.status(repository, image.digest) == 404


@pytest.mark.operation("index")
def test_pushes_and_pulls_an_index(crane: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    index = images.index("crane index")
    crane("push", "--index", str(index.layout(tmp_path / "layout")), registry.name(repository))
    # crane takes the layout's own index for the image; what was pushed holds ours.
    assert [child["digest"] for child in registry.content(repository)["manifests"]] == [index.digest]
    by_digest = registry.name(repository, index.digest)
    crane("validate", "--remote", by_digest)
    for child, platform in zip(index.children, ("linux/amd64", "linux/arm64"), strict=True):
        assert crane("digest", "--platform", platform, by_digest) == child.digest


@pytest.mark.operation("large")
@pytest.mark.timeout(600)
def test_pushes_and_pulls_a_large_layer(
    crane: Client, registry: Registry, repository: str, large: Image, large_layout: Path, tmp_path: Path
) -> None:
    crane = crane.patient(300)
    with registry.bounded_memory():
        crane("push", str(large_layout), registry.name(repository))
        crane("validate", "--remote", registry.name(repository))
    assert registry.digest(repository) == large.digest


@pytest.mark.operation("schema2")
def test_keeps_the_media_types_of_docker(crane: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("crane schema2", images.DOCKER)
    crane("push", str(image.layout(tmp_path / "layout")), registry.name(repository))
    assert registry.manifest(repository).headers["Content-Type"] == image.media_type
    assert crane("digest", registry.name(repository)) == image.digest


@pytest.mark.operation("own")
def test_appends_a_layer_and_changes_labels(crane: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("crane own")
    crane("push", str(image.layout(tmp_path / "layout")), registry.name(repository))
    layer = tmp_path / "layer.tar.gz"
    layer.write_bytes(images.image("crane appended").layers[0].read())
    crane("append", "-b", registry.name(repository), "-f", str(layer), "-t", registry.name(repository, "appended"))
    assert len(registry.content(repository, "appended")["layers"]) == 3
    crane("mutate", registry.name(repository), "--label", "a=b", "-t", registry.name(repository, "labelled"))
    assert json.loads(crane("config", registry.name(repository, "labelled")))["config"]["Labels"] == {"a": "b"}
