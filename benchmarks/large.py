"""A blob too large for memory: a file that is made once, and put into every registry."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks import content
from benchmarks.pushing import push_blob
from benchmarks.subjects import Subject

__all__ = ["LargeBlob"]


@dataclass(frozen=True, slots=True)
class LargeBlob:
    """A file, and the digest of what is in it."""

    path: Path
    digest: str

    @classmethod
    def make(cls, folder: Path, size: int) -> "LargeBlob":
        """Write it, unless it is there."""
        path = folder / f"blob-{content.VERSION}-{size}"
        pattern = bytearray(b"".join(content.blobs()))
        hasher = hashlib.sha256()
        with (Path(os.devnull) if path.exists() else path).open("wb") as file:
            for number in range(size // len(pattern)):
                pattern[:8] = number.to_bytes(8, "big")
                file.write(pattern)
                hasher.update(pattern)
        return cls(path, f"sha256:{hasher.hexdigest()}")

    def put_into(self, subject: Subject, repository: str) -> str:
        """Let a server have it; the path to ask for."""
        path = f"/v2/{repository}/blobs/{self.digest}"
        if subject.name == "nginx":
            file = subject.storage / "files" / path.removeprefix("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.hardlink_to(self.path)
        else:
            push_blob(subject.address, repository, self.digest, self.path)
        return path
