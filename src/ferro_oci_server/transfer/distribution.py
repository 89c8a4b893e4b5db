"""The files that the registry ``distribution`` keeps, of its versions 2 and 3, below ``docker/registry/v2``.

    blobs/<algorithm>/<two digits>/<digits>/data            the bytes of blobs and of manifests
    repositories/<name>/_layers/<algorithm>/<digits>/link             a blob is in the repository
    repositories/<name>/_manifests/revisions/<algorithm>/<digits>/link   a manifest is in the repository
    repositories/<name>/_manifests/tags/<tag>/current/link            holds the digest that a tag points at
    repositories/<name>/_uploads/...                                   not looked at

1. A link counts by its name: what is in it is the same digest, except where a tag points.
2. Media types of manifests are not kept. They are found in the content as distribution finds them.
3. A link of a blob whose bytes are gone is common: its garbage collector leaves them. There is no such blob.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence

from ferro_oci_server.core.ports import BlobReader, StoreCorrupted, StoreUnavailable
from ferro_oci_server.core.records import StoredManifest
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import OciError
from ferro_oci_server.oci.media_types import OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.transfer.report import Report
from ferro_oci_server.transfer.tree import Tree, read_whole
from ferro_oci_server.transfer.walking import patiently

__all__ = ["ROOT", "DistributionSource"]

ROOT = "docker/registry/v2"
"""What distribution makes in the folder that its settings call ``rootdirectory``."""

_REPOSITORIES = f"{ROOT}/repositories"
_LINK = re.compile(r"(sha256|sha512)/([0-9a-f]+)/link", re.ASCII)
_MAX_LINK = 1024
# distribution takes no larger ones.
_MAX_MANIFEST = 4 * 1024 * 1024
# Of a bucket, each is a request of its own.
_LINKS_AT_A_TIME = 16
_MAX_NAME = 255


class DistributionSource:
    """What distribution keeps on a tree, which somebody else owns. ``report`` is told of what has no place here."""

    def __init__(self, tree: Tree, report: Report | None = None) -> None:
        self._tree = tree
        self._report = report or Report()

    async def repositories(self) -> AsyncIterator[tuple[RepositoryName, str]]:
        """The names of all folders that have blobs or manifests in them."""
        names: list[RepositoryName] = []
        waiting = [""]
        while waiting:
            path = waiting.pop()
            inside = await patiently(self._tree.folders, f"{_REPOSITORIES}/{path}".rstrip("/"))
            if not {"_layers", "_manifests"}.isdisjoint(inside):
                if RepositoryName.is_valid(path):
                    names.append(RepositoryName(path))
                else:
                    self._report.problem(f"repository {path!r}: a repository cannot have this name here")
            if len(path) <= _MAX_NAME:
                # No part of a name begins with what marks the folders inside a repository.
                waiting += [f"{path}/{name}".lstrip("/") for name in inside if not name.startswith("_")]
        await self._see_root(names)
        for name in sorted(names):
            yield name, ""

    async def blobs(self, name: RepositoryName) -> AsyncIterator[tuple[Digest, str]]:
        """The digests of the links of a repository, whether their bytes are there or not."""
        for digest in await self._links(f"{_REPOSITORIES}/{name}/_layers"):
            yield digest, ""

    async def manifests(self, name: RepositoryName) -> AsyncIterator[tuple[Digest, str]]:
        """The digests of the manifests of a repository; their media types are not known before they are read."""
        for digest in await self._links(f"{_REPOSITORIES}/{name}/_manifests/revisions"):
            yield digest, ""

    async def tags(self, name: RepositoryName) -> AsyncIterator[tuple[Tag, str]]:
        """The tags of a repository, with the digests that they point at; an empty text where it cannot be read."""
        folder = f"{_REPOSITORIES}/{name}/_manifests/tags"
        tags = sorted(await patiently(self._tree.folders, folder))
        await self._see_root(tags)
        for start in range(0, len(tags), _LINKS_AT_A_TIME):
            some = tags[start : start + _LINKS_AT_A_TIME]
            links = [patiently(self._read, f"{folder}/{tag}/current/link", _MAX_LINK) for tag in some]
            for tag, link in zip(some, await asyncio.gather(*links), strict=True):
                # A tag without a link is one that is just being made or removed.
                if link is not None and (found := self._tag(name, tag, link)) is not None:
                    yield found

    def _tag(self, name: RepositoryName, tag: str, link: bytes) -> tuple[Tag, str] | None:
        try:
            parsed = Tag.parse(tag)
        except OciError:
            self._report.problem(f"tag {tag!r} in {name}: a tag cannot have this name here")
            return None
        try:
            return parsed, Digest.parse(link.decode("ascii", "replace").strip())
        except OciError:
            return parsed, ""

    async def open_blob(self, name: RepositoryName, digest: Digest) -> BlobReader | None:
        """Open a blob; ``None`` where its bytes are not there."""
        return await self._tree.open(_data(digest))

    async def owes_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Whether there are bytes: a link without them is not served."""
        reader = await patiently(self._tree.open, _data(digest))
        if reader is None:
            return False
        await reader.close()
        return True

    async def read_manifest(self, name: RepositoryName, digest: Digest) -> StoredManifest | None:
        """A manifest of a repository; ``None`` where it is not there.

        Raises:
            StoreCorrupted: it is larger than a manifest can be, or the disk does not give it back.
        """
        link = f"{_REPOSITORIES}/{name}/_manifests/revisions/{_path(digest)}/link"
        if await read_whole(self._tree, link, _MAX_LINK) is None:
            return None
        content = await read_whole(self._tree, _data(digest), _MAX_MANIFEST)
        return None if content is None else StoredManifest(digest, _media_type(content), content)

    async def _links(self, path: str) -> Iterable[Digest]:
        files = await patiently(self._tree.files, path)
        await self._see_root(files)
        found = (_LINK.fullmatch(file) for file in files)
        texts = (f"{match[1]}:{match[2]}" for match in found if match is not None)
        return sorted(Digest(text) for text in texts if _is_digest(text))

    async def _see_root(self, listed: Sequence[str]) -> None:
        """See that the files are there at all, if a list is empty: a disk may be gone, and nothing must follow from it.

        Raises:
            StoreUnavailable: they are not.
        """
        if not listed and "repositories" not in await patiently(self._tree.folders, ROOT):
            raise StoreUnavailable(f"there is no {_REPOSITORIES}")

    async def _read(self, path: str, most: int) -> bytes | None:
        try:
            return await read_whole(self._tree, path, most)
        except StoreCorrupted:
            return b""


def _path(digest: Digest) -> str:
    return f"{digest.algorithm}/{digest.encoded}"


def _data(digest: Digest) -> str:
    return f"{ROOT}/blobs/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}/data"


def _is_digest(text: str) -> bool:
    try:
        Digest.parse(text)
    except OciError:
        return False
    return True


def _media_type(content: bytes) -> str:
    """The type that distribution serves it with: what it says of itself, or else what it looks like."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return ""
    inside = document.get("mediaType")
    if isinstance(inside, str) and inside:
        return inside
    if document.get("schemaVersion") == 1:
        return "schema version 1"
    return OCI_IMAGE_MANIFEST if document.get("manifests") is None else OCI_IMAGE_INDEX
