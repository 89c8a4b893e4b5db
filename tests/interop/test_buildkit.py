"""buildkit, the builder behind `docker build`: pushes what it builds, its provenance, and its cache."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import images
from support.process import Client, CommandFailed, daemon
from support.registry import Registry
from support.tools import clean_environment, require

from .recorder import Recording

NOT_OFFERED = {
    "tags": "buildctl has no command that lists a repository's tags",
    "delete": "buildctl has no command that deletes from a registry",
    "large": "the same code as containerd's",
    "referrers": "provenance is in the image's index; see `own`",
}
PLAIN = "registry.insecure=true"


@pytest.fixture(scope="module")
def buildctl(program: Callable[..., Client], home: Path) -> Iterator[Client]:
    """A client with a private builder."""
    socket = f"unix://{home}/buildkit.sock"
    client = program("buildctl", "--addr", socket)
    worker = ("--containerd-worker=false", "--oci-worker=true", "--oci-worker-snapshotter=native")
    network = ("--oci-worker-net=host", f"--oci-worker-binary={require('runc')}")
    argv = (require("buildkitd"), "--root", f"{home}/root", "--addr", socket, *worker, *network)

    def ready() -> bool:
        try:
            return bool(client("debug", "workers"))
        except CommandFailed:
            return False

    with daemon(argv, clean_environment(home), home / "buildkitd.log", ready):
        yield client


def build(buildctl: Client, folder: Path, name: str, *options: str, base: str = "scratch") -> str:
    """Build an image that holds one file, with the name that it is first built under, and push it; its digest."""
    if not folder.exists():
        folder.mkdir()
        (folder / "file").write_text(f"{name}\n" * 1000, encoding="ascii")
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY file /file\n", encoding="ascii")
    context = ("--local", f"context={folder}", "--local", f"dockerfile={folder}")
    report = folder / "report.json"
    output = ("--output", f"type=image,name={name},push=true,{PLAIN}", "--metadata-file", str(report))
    buildctl("build", "--progress=plain", "--frontend=dockerfile.v0", *context, *output, *options)
    return str(json.loads(report.read_bytes())["containerimage.digest"])


@pytest.mark.operation("push")
def test_builds_and_pushes_an_image(buildctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    digest = build(buildctl, tmp_path / "context", registry.name(repository))
    assert registry.digest(repository) == digest


@pytest.mark.operation("pull")
def test_builds_on_an_image_that_it_pulls(
    buildctl: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    base = images.image("buildkit pull")
    registry.push(f"{repository}/base", base)
    name = registry.name(repository)
    build(buildctl, tmp_path / "context", name, base=registry.name(f"{repository}/base"))
    layers = [layer["digest"] for layer in registry.content(repository)["layers"]]
    assert layers[:2] == [layer.digest for layer in base.layers]
    assert len(layers) == 3


@pytest.mark.operation("repush")
def test_uploads_nothing_the_second_time(
    buildctl: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    digest = build(buildctl, tmp_path / "context", registry.name(repository))
    recording.clear()
    assert build(buildctl, tmp_path / "context", registry.name(repository)) == digest
    assert not recording.uploads(), recording


@pytest.mark.operation("copy")
def test_mounts_the_layers_into_another_repository(
    buildctl: Client, recorded: tuple[Registry, Recording], repository: str, tmp_path: Path
) -> None:
    registry, recording = recorded
    name, copy = registry.name(repository), registry.name(f"{repository}/copy")
    digest = build(buildctl, tmp_path / "context", name)
    recording.clear()
    assert build(buildctl, tmp_path / "context", copy) == digest
    assert len(recording.mounts()) == 1, recording
    assert registry.digest(f"{repository}/copy") == digest


@pytest.mark.operation("index")
def test_builds_and_pushes_an_index(buildctl: Client, registry: Registry, repository: str, tmp_path: Path) -> None:
    platforms = ("--opt", "platform=linux/amd64,linux/arm64")
    digest = build(buildctl, tmp_path / "context", registry.name(repository), *platforms)
    assert registry.digest(repository) == digest
    children = registry.content(repository)["manifests"]
    assert [child["platform"]["architecture"] for child in children] == ["amd64", "arm64"]


@pytest.mark.operation("schema2")
def test_pushes_the_media_types_of_docker(
    buildctl: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    name = f"{registry.name(repository)},oci-mediatypes=false"
    build(buildctl, tmp_path / "context", name)
    types = images.MEDIA_TYPES[images.DOCKER]
    assert registry.manifest(repository).headers["Content-Type"] == types["manifest"]


@pytest.mark.operation("own")
def test_pushes_the_provenance_beside_the_image(
    buildctl: Client, registry: Registry, repository: str, tmp_path: Path
) -> None:
    digest = build(buildctl, tmp_path / "context", registry.name(repository), "--opt", "attest:provenance=mode=max")
    assert registry.digest(repository) == digest
    image, provenance = registry.content(repository)["manifests"]
    assert provenance["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert provenance["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    statement = registry.content(repository, provenance["digest"])["layers"][0]
    assert statement["mediaType"] == "application/vnd.in-toto+json"


@pytest.mark.operation("own")
@pytest.mark.parametrize("image_manifest", ["true", "false"])
def test_takes_up_the_cache_that_it_left_in_the_registry(
    buildctl: Client, registry: Registry, repository: str, tmp_path: Path, image_manifest: str
) -> None:
    name, cache = registry.name(repository), f"type=registry,ref={registry.name(repository, 'cache')},{PLAIN}"
    export = ("--export-cache", f"{cache},mode=max,image-manifest={image_manifest}")
    digest = build(buildctl, tmp_path / "context", name, *export)
    left = registry.content(repository, "cache")
    # Without `image-manifest` it is an index whose entries are layers, not manifests.
    kind = "manifest" if image_manifest == "true" else "index"
    assert left["mediaType"] == images.MEDIA_TYPES[images.OCI][kind]
    # Built anew, the image would carry another time.
    buildctl("prune", "--all")
    assert build(buildctl, tmp_path / "context", name, "--import-cache", cache) == digest
