"""distribution 3, the registry that most others are compared with; with files, and its example's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import content
from benchmarks.subjects import Holdings
from support.tools import find

__all__ = ["Distribution"]

_SETTINGS = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  delete:
    enabled: true
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: {storage}
  tag:
    concurrencylimit: 8
http:
  addr: {address}
  secret: benchmark
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""


@dataclass(frozen=True, slots=True)
class Distribution:
    """It uses all processors there are."""

    name: str = "distribution"
    title: str = "distribution 3, files"
    store: str = "distribution"
    ready: str = "/v2/"

    def command(self, address: str, storage: Path) -> Sequence[str]:
        """How to start it."""
        settings = storage / "settings.yml"
        settings.write_text(_SETTINGS.format(address=address, storage=storage), encoding="utf-8")
        return [find("distribution"), "serve", str(settings)]

    def environment(self) -> Mapping[str, str]:
        """Its settings: else it looks for somebody who collects its traces."""
        return {"OTEL_TRACES_EXPORTER": "none"}

    def fill(self, storage: Path, holdings: Holdings) -> None:
        """Write the files that pushes of manifests write: the content, and links to it."""
        root = storage / "docker" / "registry" / "v2"
        manifests = root / "repositories" / content.REPOSITORY / "_manifests"
        for number in range(holdings.tags):
            body = content.manifest(number)
            digest = content.digest_of(body)
            encoded = digest.removeprefix("sha256:")
            tag = manifests / "tags" / content.tag(number)
            _write(root / "blobs" / "sha256" / encoded[:2] / encoded / "data", body)
            _write(manifests / "revisions" / "sha256" / encoded / "link", digest.encode("ascii"))
            _write(tag / "current" / "link", digest.encode("ascii"))
            _write(tag / "index" / "sha256" / encoded / "link", digest.encode("ascii"))


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
