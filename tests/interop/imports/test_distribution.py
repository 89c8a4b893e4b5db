"""A registry of distribution, filled by real clients, becomes one of ours: from its files and from its bucket."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from interop.docker_engine import docker_engine
from support import images
from support.distribution import distribution, in_bucket, in_folder
from support.images import DOCKER
from support.object_store import CREDENTIALS, S3Server
from support.process import Client
from support.registry import Registry, Setup, serve

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
REPORT = "application/vnd.example.report"
LEGACY = ("--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false", "--yes")

Manifests = dict[tuple[str, str], tuple[str, bytes]]


@dataclass(frozen=True)
class Moved:
    """What distribution served, and the registry that has it now."""

    manifests: Manifests
    """The type and the content, by repository and by tag or digest."""
    deleted: tuple[str, str]
    keys: Path
    registry: Registry
    said: str


def run(*arguments: str | Path) -> str:
    """Run the command, which must end well; what it says."""
    environment = {**os.environ, **CREDENTIALS}
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == 0, done
    return done.stdout


class Filler:
    """Fills a registry of distribution with what its users push."""

    def __init__(self, registry: Registry, program: Callable[..., Client], folder: Path) -> None:
        self.registry = registry
        self.crane = program("crane")
        self.skopeo = program("skopeo", "--insecure-policy")
        self.oras = program("oras")
        plain = program("cosign")
        self.cosign = Client(plain.argv, {**plain.env, "COSIGN_PASSWORD": "secret"})
        self.folder = folder
        self.keys = folder / "keys"
        self.keys.mkdir(parents=True)

    def fill(self) -> tuple[str, str]:
        """Push everything; what was deleted again, by repository and digest."""
        self.push_images()
        self.attach()
        self.sign()
        return self.delete()

    def push_images(self) -> None:
        """Images and an index, in OCI's and Docker's types, in several repositories that share layers."""
        image, schema2 = images.image("import"), images.image("import docker", DOCKER)
        self.crane("push", str(image.layout(self.folder / "image")), self.registry.name("team/app"))
        self.crane("tag", self.registry.name("team/app"), "latest")
        self.crane("copy", self.registry.name("team/app"), self.registry.name("team/app/copy", "v2"))
        options = ("--preserve-digests", "--dest-tls-verify=false")
        archive = f"docker-archive:{schema2.archive(self.folder / 'schema2.tar', 'schema2:v1')}"
        self.skopeo("copy", "--dest-tls-verify=false", "--format", "v2s2", archive, self.docker("schema2"))
        index = images.index("import index").layout(self.folder / "index")
        self.skopeo("copy", "--all", *options, f"oci:{index}:v1", self.docker("multi"))
        self.registry.push("list", images.index("import list", DOCKER))
        # Untagged, and a tag that has moved.
        self.registry.push("team/app", images.image("import untagged"), "moving")
        self.registry.push("team/app", images.image("import moved"), "moving")

    def docker(self, repository: str) -> str:
        return f"docker://{self.registry.name(repository)}"

    def attach(self) -> None:
        """An artifact, and a report on it, which distribution lists under a fallback tag only."""
        (self.folder / "thing.txt").write_text("a thing\n", encoding="ascii")
        name = self.registry.name("thing")
        kind = ("--plain-http", "--artifact-type", REPORT)
        self.oras("push", *kind, name, "thing.txt:text/plain", cwd=self.folder)
        self.oras("attach", *kind, "--distribution-spec", "v1.1-referrers-tag", name, "thing.txt", cwd=self.folder)

    def sign(self) -> None:
        """Signatures: as a bundle that refers to the image, and as a tag named after it."""
        name = self.registry.name("team/app", images.image("import").digest)
        self.cosign("generate-key-pair", cwd=self.keys)
        self.cosign("signing-config", "create", "--out", str(self.keys / "signing-config.json"))
        self.cosign("trusted-root", "create", "--out", str(self.keys / "trusted-root.json"))
        key = ("--key", str(self.keys / "cosign.key"))
        files = (
            *("--trusted-root", str(self.keys / "trusted-root.json")),
            *("--signing-config", str(self.keys / "signing-config.json")),
        )
        self.cosign("sign", *key, *files, "--yes", name)
        self.cosign("sign", *key, *LEGACY, name)

    def delete(self) -> tuple[str, str]:
        """An image that was deleted."""
        gone = images.image("import deleted")
        self.registry.push("team/app", gone, "gone")
        path = f"/v2/team/app/manifests/{gone.digest}"
        assert self.registry.request("DELETE", path).status == 202
        return "team/app", gone.digest


def manifests_of(registry: Registry) -> Manifests:
    """Everything that can be found: all tags, and what indexes refer to."""
    found: Manifests = {}

    def add(repository: str, reference: str) -> None:
        reply = registry.manifest(repository, reference)
        kind = reply.headers["Content-Type"]
        found[repository, reference] = (kind, reply.body)
        found[repository, reply.headers["Docker-Content-Digest"]] = (kind, reply.body)
        for child in json.loads(reply.body).get("manifests", []):
            add(repository, child["digest"])

    for repository in json.loads(registry.request("GET", "/v2/_catalog?n=100").body)["repositories"]:
        for tag in registry.tags(repository):
            add(repository, tag)
    return found


@pytest.fixture(scope="module", params=["files", "bucket"])
def moved(
    request: pytest.FixtureRequest, program: Callable[..., Client], workspace: Path, running_s3: S3Server
) -> Iterator[Moved]:
    """Run distribution, fill it, move it while it serves, and serve what came of it."""
    folder = workspace / f"distribution-{request.param}"
    files = folder / "files"
    if request.param == "files":
        storage, place = in_folder(files), str(files)
    else:
        storage, place = in_bucket(running_s3, "old/registry"), running_s3.url("old/registry", region="us-east-1")
    with distribution(storage, folder / "distribution") as old:
        filler = Filler(old, program, folder)
        deleted = filler.fill()
        said = run("transfer", "--from-distribution", place, "--to", folder / "new")
        manifests = manifests_of(old)
    again = run("transfer", "--from-distribution", place, "--to", folder / "new", "--exact")
    assert "copied: nothing (0 bytes); linked: 0 blobs; removed: nothing" in again
    assert run("verify", "--storage-dir", folder / "new") == ""
    with serve(Setup(folder / "new"), folder / "log") as new:
        yield Moved(manifests, deleted, filler.keys, new, said)


def test_everything_is_served_as_it_was_by_tag_and_by_digest(moved: Moved) -> None:
    tagged = {where for where in moved.manifests if ":" not in where[1]}
    assert len(tagged) > 10
    assert manifests_of(moved.registry) == moved.manifests
    assert moved.said.endswith("missing in the destination: nothing; only there: nothing\n")


def test_what_has_no_tag_came_and_what_was_deleted_did_not(moved: Moved) -> None:
    untagged = images.image("import untagged").digest
    assert moved.registry.digest("team/app", untagged) == untagged
    assert moved.registry.status(*moved.deleted) == 404


def test_bytes_that_repositories_share_came_once(moved: Moved) -> None:
    assert "linked: 0 blobs" not in moved.said


def test_crane_finds_every_image_whole(moved: Moved, program: Callable[..., Client]) -> None:
    crane = program("crane")
    for repository in ("team/app", "schema2", "multi", "list"):
        crane("validate", "--remote", moved.registry.name(repository))
    crane("validate", "--remote", moved.registry.name("team/app/copy", "v2"))


def test_docker_pulls_from_it(moved: Moved, program: Callable[..., Client], tmp_path: Path) -> None:
    with docker_engine(program, tmp_path) as docker:
        for repository, image in (("team/app", images.image("import")), ("schema2", images.image("import docker"))):
            docker("pull", moved.registry.name(repository))
            found = docker("image", "inspect", "--format", "{{.RootFS.Layers}}", moved.registry.name(repository))
            assert len(found.split()) == len(image.layers)


def test_what_was_attached_is_among_the_referrers(moved: Moved, program: Callable[..., Client]) -> None:
    oras = program("oras")
    subject = moved.registry.digest("thing")
    (found,) = moved.registry.referrers("thing", subject)
    assert found["artifactType"] == REPORT
    command = ("discover", "--plain-http", "--format", "json", moved.registry.name("thing"))
    assert [entry["digest"] for entry in json.loads(oras(*command))["referrers"]] == [found["digest"]]


def test_signatures_are_verified_there(moved: Moved, program: Callable[..., Client]) -> None:
    plain = program("cosign")
    cosign = Client(plain.argv, {**plain.env, "COSIGN_PASSWORD": "secret"})
    name = moved.registry.name("team/app", images.image("import").digest)
    key = ("--key", str(moved.keys / "cosign.pub"), "--insecure-ignore-tlog")
    cosign("verify", *key, "--trusted-root", str(moved.keys / "trusted-root.json"), name)
    cosign("verify", *key, "--new-bundle-format=false", name)
