"""One repository in memory, and the lists that it keeps in order."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from ferro_oci_server.core.inspection import InspectedManifest
from ferro_oci_server.core.records import ManifestRecord, StoredManifest
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Reference, Tag

__all__ = ["Repository", "SortedSet", "references"]

Text = TypeVar("Text", bound=str)


class SortedSet(Generic[Text]):
    """Names in the order of their bytes: they are ASCII, so that it is the order of Python's text."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: list[Text] = []

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: Text) -> None:
        """Put a name in its place."""
        if not self._has(bisect_left(self._names, name), name):
            insort(self._names, name)

    def discard(self, name: Text) -> None:
        """Take a name out."""
        index = bisect_left(self._names, name)
        if self._has(index, name):
            del self._names[index]

    def page(self, after: str, limit: int) -> list[Text]:
        """The names behind one."""
        start = bisect_right(self._names, after)
        return self._names[start : start + limit]

    def _has(self, index: int, name: Text) -> bool:
        return index < len(self._names) and self._names[index] == name


@dataclass(slots=True)
class Repository:
    """What a repository holds."""

    manifests: dict[Digest, ManifestRecord] = field(default_factory=dict)
    tags: dict[Tag, Digest] = field(default_factory=dict)
    tag_names: SortedSet[Tag] = field(default_factory=SortedSet)
    tags_of: dict[Digest, set[Tag]] = field(default_factory=dict)
    referred_to: Counter[Digest] = field(default_factory=Counter)
    """How many manifests refer to a digest."""
    referrers: dict[tuple[Digest, str | None], SortedSet[Digest]] = field(default_factory=dict)
    """By subject and artifact type; all of a subject's under no type."""
    blobs: set[Digest] = field(default_factory=set)

    def resolve(self, reference: Reference) -> Digest | None:
        """The digest that a reference stands for."""
        if isinstance(reference, Digest):
            return reference if reference in self.manifests else None
        return self.tags.get(reference)

    def missing(self, manifest: ManifestRecord) -> set[Digest]:
        """What the manifest needs and this repository does not hold."""
        blobs = {digest for digest in manifest.blobs if digest not in self.blobs}
        children = {digest for digest in manifest.children if digest not in self.blobs}
        return blobs | {digest for digest in children if digest not in self.manifests}

    def put_manifest(self, manifest: ManifestRecord) -> None:
        """Keep a manifest, or its type anew."""
        known = self.manifests.get(manifest.digest)
        if known is not None:
            # The content should be what is there: if that is damaged, this repairs it.
            self.manifests[manifest.digest] = replace(known, media_type=manifest.media_type, content=manifest.content)
            return
        self.manifests[manifest.digest] = manifest
        self.referred_to.update(references(manifest))
        for key in _referrer_keys(manifest):
            self.referrers.setdefault(key, SortedSet()).add(manifest.digest)

    def delete_manifest(self, digest: Digest) -> bool:
        """Remove a manifest with its tags."""
        manifest = self.manifests.pop(digest, None)
        if manifest is None:
            return False
        self.referred_to -= Counter(references(manifest))
        for tag in tuple(self.tags_of.get(digest, ())):
            self.delete_tag(tag)
        for key in _referrer_keys(manifest):
            referrers = self.referrers[key]
            referrers.discard(digest)
            if not len(referrers):
                del self.referrers[key]
        return True

    def keeps(self, manifest: ManifestRecord) -> str | None:
        """What keeps a manifest; ``None`` where nothing does."""
        if manifest.digest in self.tags_of:
            return "a tag points at it"
        if self.referred_to[manifest.digest]:
            return "an index refers to it"
        return "its subject is there" if manifest.subject in self.manifests else None

    def inspect(self, name: RepositoryName, digest: Digest) -> InspectedManifest:
        """All that is known of a manifest."""
        manifest = self.manifests[digest]
        referred_to = frozenset(references(manifest))
        return InspectedManifest(
            repository=name,
            stored=StoredManifest(digest, manifest.media_type, manifest.content),
            size=len(manifest.content),
            subject=manifest.subject,
            artifact_type=manifest.artifact_type,
            references=referred_to,
            linked=referred_to & self.blobs,
            held=referred_to & self.manifests.keys(),
        )

    def put_tag(self, tag: Tag, digest: Digest) -> None:
        """Point a tag at a manifest."""
        self.delete_tag(tag)
        self.tags[tag] = digest
        self.tag_names.add(tag)
        self.tags_of.setdefault(digest, set()).add(tag)

    def delete_tag(self, tag: Tag) -> bool:
        """Remove a tag."""
        digest = self.tags.pop(tag, None)
        if digest is None:
            return False
        self.tag_names.discard(tag)
        tags = self.tags_of[digest]
        tags.discard(tag)
        if not tags:
            del self.tags_of[digest]
        return True


def references(manifest: ManifestRecord) -> set[Digest]:
    """All that a manifest refers to, its subject aside."""
    return {*manifest.blobs, *manifest.children, *manifest.optional}


def _referrer_keys(manifest: ManifestRecord) -> Iterator[tuple[Digest, str | None]]:
    if manifest.subject is not None:
        yield manifest.subject, None
        if manifest.artifact_type is not None:
            yield manifest.subject, manifest.artifact_type
