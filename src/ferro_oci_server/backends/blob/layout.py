"""Where a root folder has its blobs. Everything here blocks.

    <root>/blobs/sha256/ab/abcdef....<upload id>    a blob, under its digest and the upload that it was; its location is
    <root>/blobs/sha512/...                         the path behind "blobs/"

No path is built from text that was not matched as a whole.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ferro_oci_server.backends.blob.folders import sync_folder
from ferro_oci_server.oci.digest import Algorithm, Digest

__all__ = ["UPLOAD_ID", "BlobFolder", "digest_of", "location_of"]

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LOCATION = re.compile(
    rf"(?:sha256/([0-9a-f]{{2}})/\1[0-9a-f]{{62}}|sha512/([0-9a-f]{{2}})/\2[0-9a-f]{{126}})\.{_UUID}",
    re.ASCII,
)
_PREFIX = re.compile(r"[0-9a-f]{2}", re.ASCII)

UPLOAD_ID = re.compile(_UUID, re.ASCII)
"""The form of an upload's id."""


def location_of(digest: Digest, upload: str) -> str:
    """Where an upload puts the blob that it has become."""
    return f"{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}.{upload}"


def digest_of(location: str) -> Digest:
    """The digest of the blob at a location."""
    algorithm, _, name = location.split("/")
    return Digest(f"{algorithm}:{name.partition('.')[0]}")


class BlobFolder:
    """The blobs below a root, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self.path = root / "blobs"

    def find(self, location: str) -> Path | None:
        """The path of a location, whether anything is there or not; ``None`` for text that is none."""
        return None if _LOCATION.fullmatch(location) is None else self.path / location

    def prefixes(self) -> Sequence[str]:
        """The folders that have blobs in them, as ``locations`` takes them."""
        return [
            f"{algorithm}/{prefix}"
            for algorithm in Algorithm
            for prefix in _names(self.path / algorithm)
            if _PREFIX.fullmatch(prefix)
        ]

    def locations(self, prefix: str) -> Sequence[str]:
        """The locations in one folder; files that have no such name are passed over."""
        locations = (f"{prefix}/{name}" for name in _names(self.path / prefix))
        return [location for location in locations if _LOCATION.fullmatch(location)]

    def all_locations(self) -> Iterator[str]:
        """The locations in all folders, one folder at a time."""
        for prefix in self.prefixes():
            yield from self.locations(prefix)

    def sync(self) -> None:
        """Make the entries of all folders survive a loss of power."""
        prefixes = self.prefixes()
        for folder in {self.path, *(self.path / prefix.partition("/")[0] for prefix in prefixes)}:
            sync_folder(folder)
        for prefix in prefixes:
            sync_folder(self.path / prefix)


def _names(folder: Path) -> Sequence[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
