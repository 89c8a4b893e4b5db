"""oras: artifacts of any type, and what is attached to them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.images import Image
from support.process import Client
from support.registry import Registry

from .recorder import Recording

NOT_OFFERED: dict[str, str] = {}
EXAMPLE = "application/vnd.example.thing"
REPORT = "application/vnd.example.report"
BOTH_PLAIN = ("--from-plain-http", "--to-plain-http")


@pytest.fixture(scope="module")
def oras(program: Callable[..., Client]) -> Client:
    return program("oras")


def push(oras: Client, registry: Registry, repository: str, folder: Path, *options: str) -> str:
    """Push one file as an artifact; its digest."""
    folder.mkdir(exist_ok=True)
    (folder / "thing.txt").write_text("a thing\n", encoding="ascii")
    target = registry.name(repository)
    command = ("push", "--plain-http", "--artifact-type", EXAMPLE, "--format", "json", *options, target)
    return str(json.loads(oras(*command, "thing.txt:text/plain", cwd=folder))["digest"])


@pytest.mark.operation("push")
def test_pushes_an_artifact_of_any_type(oras: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    digest = push(oras, registry, repository, tmp_path, "--annotation", "a=b")
    assert registry.digest(repository) == digest
    content = registry.content(repository)
    assert (content["artifactType"], content["annotations"]["a"]) == (EXAMPLE, "b")


@pytest.mark.operation("pull")
def test_pulls_the_same_files(oras: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    digest = push(oras, registry, repository, tmp_path / "pushed")
    command = ("pull", "--plain-http", "--format", "json", "-o", str(tmp_path / "pulled"))
    pulled = json.loads(oras(*command, registry.name(repository)))
    assert pulled["reference"].endswith(digest)
    assert (tmp_path / "pulled" / "thing.txt").read_text(encoding="ascii") == "a thing\n"


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    oras: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    # The manifest carries the time of the push, unless it is given.
    created = ("--annotation", f"org.opencontainers.image.created={images.CREATED}")
    digest = push(oras, registry, repository, tmp_path, *created)
    recording.clear()
    assert push(oras, registry, repository, tmp_path, *created) == digest
    assert not recording.uploads(), recording


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    oras: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    digest = push(oras, registry, repository, tmp_path)
    recording.clear()
    oras("cp", *BOTH_PLAIN, registry.name(repository), registry.name(f"{repository}/copy"))
    assert recording.mounts(), recording
    assert not recording.uploads(), recording
    assert registry.digest(f"{repository}/copy") == digest


@pytest.mark.operation("tags")
def test_lists_tags_and_repositories(oras: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    push(oras, registry, repository, tmp_path)
    oras("tag", "--plain-http", registry.name(repository), "v2", "v3")
    listed = oras("repo", "tags", "--plain-http", f"{registry.address}/{repository}").split()
    assert listed == ["v1", "v2", "v3"]
    later = oras("repo", "tags", "--plain-http", "--last", "v1", f"{registry.address}/{repository}")
    assert later.split() == ["v2", "v3"]
    assert repository in oras("repo", "ls", "--plain-http", registry.address).split()


@pytest.mark.operation("delete")
def test_deletes_a_manifest_and_a_blob(oras: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    digest = push(oras, registry, repository, tmp_path)
    layer = registry.content(repository)["layers"][0]["digest"]
    oras("manifest", "delete", "--plain-http", "--force", registry.name(repository))
    assert registry.status(repository, digest) == 404
    oras("blob", "delete", "--plain-http", "--force", registry.name(repository, layer))
    assert registry.request("HEAD", f"/v2/{repository}/blobs/{layer}").status == 404


@pytest.mark.operation("index")
def test_copies_an_index_and_makes_one(oras: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    index = images.index("oras index")
    layout = f"{index.layout(tmp_path / 'layout')}:v1"
    oras("cp", "--from-oci-layout", "--to-plain-http", layout, registry.name(repository))
    assert registry.digest(repository) == index.digest
    made = registry.name(repository, "made")
    oras("manifest", "index", "create", "--plain-http", made, *(child.digest for child in index.children))
    children = [child["digest"] for child in registry.content(repository, "made")["manifests"]]
    assert children == [child.digest for child in index.children]
    resolved = oras("resolve", "--plain-http", "--platform", "linux/arm64", registry.name(repository))
    assert resolved == index.children[1].digest


@pytest.mark.operation("large")
@pytest.mark.timeout(600)
def test_pushes_and_pulls_a_large_layer(
    oras: Client, registry: Registry, repository: str, large: Image, large_layout: Path, workspace: Path
) -> None:
    oras = oras.patient(300)
    pulled = f"{workspace / 'oras-pulled'}:v1"
    with registry.bounded_memory():
        oras("cp", "--from-oci-layout", "--to-plain-http", f"{large_layout}:v1", registry.name(repository))
        oras("cp", "--from-plain-http", "--to-oci-layout", registry.name(repository), pulled)
    assert registry.digest(repository) == oras("resolve", "--oci-layout", pulled) == large.digest


@pytest.mark.operation("schema2")
def test_keeps_the_media_types_of_docker(oras: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    index = images.index("oras schema2", images.DOCKER)
    layout = f"{index.layout(tmp_path / 'layout')}:v1"
    oras("cp", "--from-oci-layout", "--to-plain-http", layout, registry.name(repository))
    assert registry.manifest(repository).headers["Content-Type"] == index.media_type
    assert registry.digest(repository) == index.digest


@pytest.mark.operation("referrers")
def test_attaches_and_discovers(
    oras: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    subject = push(oras, registry, repository, tmp_path)
    attached = attach(oras, registry, repository, tmp_path)
    (found,) = registry.referrers(repository, subject)
    assert (found["digest"], found["artifactType"]) == (attached, REPORT)
    # Where the registry has the referrers API no fallback tag is written.
    assert registry.tags(repository) == ["v1"], recording
    discover = ("discover", "--plain-http", "--format", "json", registry.name(repository))
    assert [entry["digest"] for entry in json.loads(oras(*discover))["referrers"]] == [attached]
    other = json.loads(oras(*discover, "--artifact-type", "application/other"))
    assert not other["referrers"]


@pytest.mark.operation("referrers")
def test_copies_an_artifact_with_all_that_is_attached(
    oras: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    subject = push(oras, registry, repository, tmp_path)
    attached = attach(oras, registry, repository, tmp_path)
    oras("cp", "-r", *BOTH_PLAIN, registry.name(repository), registry.name(f"{repository}/copy"))
    assert registry.digest(f"{repository}/copy") == subject
    assert [entry["digest"] for entry in registry.referrers(f"{repository}/copy", subject)] == [attached]


def attach(oras: Client, registry: Registry, repository: str, folder: Path) -> str:
    (folder / "report.txt").write_text("all is well\n", encoding="ascii")
    command = ("attach", "--plain-http", "--artifact-type", REPORT, "--format", "json", registry.name(repository))
    return str(json.loads(oras(*command, "report.txt", cwd=folder))["digest"])


@pytest.mark.operation("own")
def test_pushes_and_fetches_single_blobs_and_manifests(
    oras: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    push(oras, registry, repository, tmp_path)
    descriptor = oras(
        "blob", "push", "--plain-http", "--descriptor", f"{registry.address}/{repository}", "thing.txt", cwd=tmp_path
    )
    blob = registry.name(repository, json.loads(descriptor)["digest"])
    assert oras.bytes("blob", "fetch", "--plain-http", "--output", "-", blob) == b"a thing\n"
    fetched = oras.bytes("manifest", "fetch", "--plain-http", registry.name(repository))
    assert fetched == registry.manifest(repository).body


@pytest.mark.operation("own")
def test_backs_up_and_restores_a_repository(oras: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    digest = push(oras, registry, repository, tmp_path)
    backup = str(tmp_path / "backup.tar")
    oras("backup", "--plain-http", "--include-referrers", "--output", backup, registry.name(repository))
    oras("restore", "--plain-http", "--input", backup, registry.name(f"{repository}/restored"))
    assert registry.digest(f"{repository}/restored") == digest
