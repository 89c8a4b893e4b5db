"""The files of a registry of distribution, written by hand: what a real one leaves after years."""

from pathlib import Path

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.images import Content


class DistributionFiles:
    """A folder that is distribution's ``rootdirectory``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "docker" / "registry" / "v2"
        (self.root / "repositories").mkdir(parents=True)

    def data(self, digest: str) -> Path:
        """Where the bytes of a blob or a manifest are."""
        algorithm, encoded = digest.split(":")
        return self.root / "blobs" / algorithm / encoded[:2] / encoded / "data"

    def link(self, name: str, *path: str, digest: str) -> Path:
        """Write a link; its path ends in the digest, unless it is that of a tag."""
        folder = self.root.joinpath("repositories", name, *path)
        target = folder / "link" if "tags" in path else folder.joinpath(*digest.split(":"), "link")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(digest, encoding="ascii")
        return target

    def blob(self, name: str, content: bytes) -> Digest:
        """Put a blob into a repository."""
        digest = Digest.of(content)
        self._write(digest, content)
        self.link(name, "_layers", digest=digest)
        return digest

    def push(self, name: str, content: Content, *tags: str) -> Digest:
        """Put a manifest with its blobs into a repository."""
        for blob in content.blobs:
            self.blob(name, blob)
        self._write(content.digest, content.body)
        self.link(name, "_manifests", "revisions", digest=content.digest)
        for tag in tags:
            self.link(name, "_manifests", "tags", tag, "current", digest=content.digest)
            self.link(name, "_manifests", "tags", tag, "index", *content.digest.split(":"), digest=content.digest)
        return content.digest

    def _write(self, digest: str, content: bytes) -> None:
        path = self.data(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
