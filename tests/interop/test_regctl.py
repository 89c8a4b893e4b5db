"""regctl: checks what it needs before it sends it, splits large blobs into chunks, and knows referrers and sha512."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry

from .recorder import Recording

NOT_OFFERED: dict[str, str] = {}
EXAMPLE = "application/vnd.example.report+json"


@pytest.fixture(scope="module")
def regctl(program: Callable[..., Client], registry: Registry) -> Client:
    client = program("regctl")
    client("registry", "set", "--tls", "disabled", registry.address)
    return client


def push(regctl: Client, registry: Registry, repository: str, image: Image, folder: Path) -> None:
    regctl("image", "copy", f"ocidir://{image.layout(folder)}:v1", registry.name(repository))


@pytest.mark.operation("push")
def test_pushes_a_layout_with_its_digest(regctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("regctl push")
    push(regctl, registry, repository, image, tmp_path / "layout")
    assert registry.digest(repository) == image.digest
    assert regctl("image", "digest", registry.name(repository)) == image.digest


@pytest.mark.operation("pull")
def test_pulls_the_same_bytes(regctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    image = images.image("regctl pull")
    push(regctl, registry, repository, image, tmp_path / "layout")
    regctl("image", "copy", registry.name(repository), f"ocidir://{tmp_path / 'pulled'}:v1")
    assert regctl("image", "digest", f"ocidir://{tmp_path / 'pulled'}:v1") == image.digest
    for blob in image.blobs():
        assert regctl.bytes("blob", "get", registry.name(repository), blob.digest) == blob.content


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    regctl: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    regctl("registry", "set", "--tls", "disabled", registry.address)
    image = images.image("regctl repush")
    push(regctl, registry, repository, image, tmp_path / "layout")
    recording.clear()
    regctl("image", "copy", "--force-recursive", f"ocidir://{tmp_path / 'layout'}:v1", registry.name(repository))
    assert not recording.uploads(), recording
    assert registry.digest(repository) == image.digest


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    regctl: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    regctl("registry", "set", "--tls", "disabled", registry.address)
    image = images.image("regctl copy")
    push(regctl, registry, repository, image, tmp_path / "layout")
    recording.clear()
    regctl("image", "copy", registry.name(repository), registry.name(f"{repository}/copy"))
    assert len(recording.mounts()) == len(image.blobs()), recording
    assert not recording.uploads(), recording
    assert registry.digest(f"{repository}/copy") == image.digest


@pytest.mark.operation("tags")
def test_lists_tags_and_repositories(regctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    push(regctl, registry, repository, images.image("regctl tags"), tmp_path / "layout")
    for tag in ("v2", "v3"):
        regctl("image", "copy", registry.name(repository), registry.name(repository, tag))
    assert regctl("tag", "ls", registry.name(repository).removesuffix(":v1")).split() == ["v1", "v2", "v3"]
    last = ("--limit", "1", "--last", "v1")
    assert regctl("tag", "ls", *last, registry.name(repository).removesuffix(":v1")).split() == ["v2"]
    assert repository in regctl("repo", "ls", registry.address).split()


@pytest.mark.operation("delete")
def test_deletes_a_tag_then_the_manifest_then_a_blob(
    regctl: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    image = images.image("regctl delete")
    push(regctl, registry, repository, image, tmp_path / "layout")
    regctl("image", "copy", registry.name(repository), registry.name(repository, "v2"))
    regctl("tag", "delete", registry.name(repository, "v2"))
    assert registry.tags(repository) == ["v1"]
    regctl("manifest", "delete", registry.name(repository, image.digest))
    assert registry.status(repository, image.digest) == 404
    regctl("blob", "delete", registry.name(repository), image.layers[0].digest)
    assert registry.request("HEAD", f"/v2/{repository}/blobs/{image.layers[0].digest}").status == 404


@pytest.mark.operation("index")
def test_copies_an_index_and_makes_one(regctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    index = images.index("regctl index")
    push(regctl, registry, repository, index, tmp_path / "layout")
    assert registry.digest(repository) == index.digest
    assert regctl("image", "digest", "-p", "linux/arm64", registry.name(repository)) == index.children[1].digest
    made = registry.name(repository, "made")
    regctl("index", "create", "--ref", registry.name(repository, index.children[0].digest), made)
    regctl("index", "add", "--ref", registry.name(repository, index.children[1].digest), made)
    children = [child["digest"] for child in registry.content(repository, "made")["manifests"]]
    assert children == [child.digest for child in index.children]


@pytest.mark.operation("large")
@pytest.mark.timeout(600)
def test_pushes_and_pulls_a_large_layer(
    regctl: Client, registry: Registry, repository: str, large: Image, large_layout: Path, workspace: Path
) -> None:
    regctl = regctl.patient(300)
    pulled = f"ocidir://{workspace / 'regctl-pulled'}:v1"
    with registry.bounded_memory():
        regctl("image", "copy", f"ocidir://{large_layout}:v1", registry.name(repository))
        regctl("image", "copy", registry.name(repository), pulled)
    assert registry.digest(repository) == regctl("image", "digest", pulled) == large.digest


@pytest.mark.operation("schema2")
def test_keeps_the_media_types_of_docker(regctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    index = images.index("regctl schema2", images.DOCKER)
    push(regctl, registry, repository, index, tmp_path / "layout")
    assert registry.manifest(repository).headers["Content-Type"] == index.media_type
    assert registry.digest(repository) == index.digest


@pytest.mark.operation("referrers")
def test_attaches_lists_and_copies_artifacts(
    regctl: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    image = images.image("regctl referrers")
    push(regctl, registry, repository, image, tmp_path / "layout")
    attach = ("artifact", "put", "--artifact-type", EXAMPLE, "--annotation", "a=b")
    regctl(*attach, "--subject", registry.name(repository), stdin=b"{}")
    (found,) = registry.referrers(repository, image.digest)
    assert (found["artifactType"], found["annotations"]) == (EXAMPLE, {"a": "b"})
    # Where the registry has the referrers API no fallback tag is written.
    assert registry.tags(repository) == ["v1"]
    assert found["digest"] in regctl("artifact", "list", registry.name(repository))
    listed = regctl("artifact", "list", "--filter-artifact-type", "application/other", registry.name(repository))
    assert found["digest"] not in listed
    assert found["digest"] in regctl("artifact", "tree", registry.name(repository))
    assert regctl("artifact", "get", "--subject", registry.name(repository)) == "{}"
    regctl("image", "copy", "--referrers", registry.name(repository), registry.name(f"{repository}/copy"))
    assert registry.referrers(f"{repository}/copy", image.digest) == [found]


@pytest.mark.operation("own")
def test_uploads_a_blob_in_chunks(regctl: Client, recorded: tuple[Registry, Recording], repository: str) -> None:
    registry, recording = recorded
    regctl("registry", "set", "--tls", "disabled", "--blob-chunk", "65536", "--blob-max", "65536", registry.address)
    blob = random.Random(2).randbytes(300_000)
    digest = regctl("blob", "put", registry.name(repository), stdin=blob)
    assert digest == f"sha256:{hashlib.sha256(blob).hexdigest()}"
    assert [e.sent for e in recording.uploads() if e.method == "PATCH"] == [65536] * 4 + [37856], recording
    assert regctl.bytes("blob", "get", registry.name(repository), digest) == blob


@pytest.mark.operation("own")
def test_pushes_and_pulls_with_sha512(regctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    push(regctl, registry, repository, images.index("regctl sha512"), tmp_path / "layout")
    other = registry.name(repository, "sha512")
    regctl("image", "mod", registry.name(repository), "--digest-algo", "sha512", "--create", other)
    digest = registry.digest(repository, "sha512")
    assert digest.startswith("sha512:")
    regctl("image", "copy", other, f"ocidir://{tmp_path / 'pulled'}:v1")
    assert regctl("image", "digest", f"ocidir://{tmp_path / 'pulled'}:v1") == digest
    (child, _) = json.loads(regctl("manifest", "get", "--format", "raw-body", other))["manifests"]
    assert child["digest"].startswith("sha512:")
