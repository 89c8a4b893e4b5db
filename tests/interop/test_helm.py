"""helm: charts as artifacts, found by their version among the tags."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.process import Client
from support.registry import Registry

from .recorder import Recording

NOT_OFFERED = {
    "copy": "helm has no command that copies between repositories",
    "delete": "helm has no command that deletes from a registry",
    "index": "a chart has no platforms",
    "large": "a chart is kilobytes, and helm reads it into memory",
    "schema2": "a chart has its own media types",
    "referrers": "helm has no command for them",
}


@pytest.fixture(scope="module")
def helm(program: Callable[..., Client]) -> Client:
    return program("helm")


def package(helm: Client, folder: Path, version: str) -> Path:
    helm("create", "demo", cwd=folder)
    helm("package", "demo", "--version", version, cwd=folder)
    return folder / f"demo-{version}.tgz"


def push(helm: Client, registry: Registry, repository: str, chart: Path) -> str:
    """Push a chart, as `<repository>/demo`; its digest."""
    return digest_in(helm("push", "--plain-http", str(chart), f"oci://{registry.address}/{repository}"))


def digest_in(output: str) -> str:
    found = re.search(r"Digest: (sha256:[0-9a-f]{64})", output)
    assert found, output
    return found.group(1)


def pull(helm: Client, registry: Registry, repository: str, version: str, folder: Path) -> str:
    folder.mkdir()
    source = f"oci://{registry.address}/{repository}/demo"
    return digest_in(helm("pull", "--plain-http", source, "--version", version, "-d", str(folder)))


@pytest.mark.operation("push")
def test_pushes_a_chart(helm: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    chart = package(helm, tmp_path, "1.2.3")
    digest = push(helm, registry, repository, chart)
    assert registry.digest(f"{repository}/demo", "1.2.3") == digest
    content = registry.content(f"{repository}/demo", "1.2.3")
    assert content["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    assert content["layers"][0]["digest"] == f"sha256:{hashlib.sha256(chart.read_bytes()).hexdigest()}"


@pytest.mark.operation("pull")
def test_pulls_the_same_chart(helm: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    chart = package(helm, tmp_path, "1.2.3")
    digest = push(helm, registry, repository, chart)
    assert pull(helm, registry, repository, "1.2.3", tmp_path / "pulled") == digest
    assert (tmp_path / "pulled" / chart.name).read_bytes() == chart.read_bytes()
    source = f"oci://{registry.address}/{repository}/demo"
    assert "version: 1.2.3" in helm("show", "chart", "--plain-http", source, "--version", "1.2.3")


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    helm: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    chart = package(helm, tmp_path, "1.2.3")
    digest = push(helm, registry, repository, chart)
    recording.clear()
    assert push(helm, registry, repository, chart) == digest
    assert not recording.uploads(), recording


@pytest.mark.operation("tags")
def test_finds_the_newest_version_in_a_range(helm: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    digests = {
        version: push(helm, registry, repository, package(helm, tmp_path, version))
        for version in ("1.2.3", "1.10.0", "2.0.0")
    }
    assert pull(helm, registry, repository, "^1.0.0", tmp_path / "pulled") == digests["1.10.0"]


@pytest.mark.operation("own")
def test_keeps_versions_with_a_plus_as_tags_with_an_underscore(
    helm: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    chart = package(helm, tmp_path, "1.2.3+build.5")
    digest = push(helm, registry, repository, chart)
    assert registry.tags(f"{repository}/demo") == ["1.2.3_build.5"]
    assert pull(helm, registry, repository, "1.2.3+build.5", tmp_path / "pulled") == digest
    assert (tmp_path / "pulled" / chart.name).read_bytes() == chart.read_bytes()


@pytest.mark.operation("own")
def test_renders_a_chart_straight_from_the_registry(
    helm: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    push(helm, registry, repository, package(helm, tmp_path, "1.2.3"))
    source = f"oci://{registry.address}/{repository}/demo"
    assert "kind: Deployment" in helm("template", "release", source, "--plain-http", "--version", "1.2.3")
