"""Descriptors: what one document says of another. Spec: image-spec descriptor.md."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import DigestInvalid, ManifestInvalid
from ferro_oci_server.oci.media_types import is_nondistributable

__all__ = ["Descriptor", "check_spelling", "read_annotations", "read_type", "spellings"]

_MAX_SIZE = 2**63 - 1

_MAX_TYPE = 255


def spellings(*fields: str) -> Mapping[str, str]:
    """Fields as they are spelled, by that spelling and by their case-folded one: for ``check_spelling``."""
    return {field.casefold(): field for field in fields} | {field: field for field in fields}


_FIELDS = spellings("annotations", "artifactType", "data", "digest", "mediaType", "platform", "size", "urls")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The type, digest and size (in bytes) of some content, as the document that holds it claims."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] | None = None
    optional: bool = False
    """The content need not be here: it is inline, or its licence keeps it elsewhere."""

    @classmethod
    def read(cls, value: Any) -> Self:
        """Read a descriptor from parsed JSON; fields that the specification does not name may hold anything.

        Raises:
            ManifestInvalid: it is not an object, or a field that it must have is missing or of the wrong kind.
        """
        if not isinstance(value, dict):
            raise ManifestInvalid("a descriptor is an object")
        check_spelling(value, _FIELDS)
        media_type = read_type(value, "mediaType")
        if media_type is None:
            raise ManifestInvalid("a descriptor has a mediaType")
        size = value.get("size")
        if type(size) is not int or not 0 <= size <= _MAX_SIZE:
            raise ManifestInvalid("a descriptor has a size: a number of bytes")
        digest = _read_digest(value.get("digest"))
        return cls(
            media_type=media_type,
            digest=digest,
            size=size,
            artifact_type=read_type(value, "artifactType"),
            annotations=read_annotations(value),
            optional=_is_inline(value, digest) or is_nondistributable(media_type),
        )

    def as_json(self) -> dict[str, Any]:
        """The object that stands for it in an index."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = self.annotations
        return value


def _is_inline(value: Mapping[str, Any], digest: Digest) -> bool:
    """Whether ``data`` holds the content itself: then nobody need fetch it."""
    data = value.get("data")
    if data is None:
        return False
    if not isinstance(data, str):
        raise ManifestInvalid("the data of a descriptor is base64 text")
    try:
        return Digest.of(b64decode(data, validate=True), digest.algorithm) == digest
    except ValueError:
        raise ManifestInvalid("the data of a descriptor is base64 text") from None


def _read_digest(value: Any) -> Digest:
    if not isinstance(value, str):
        raise ManifestInvalid("a descriptor has a digest")
    try:
        return Digest.parse(value)
    except DigestInvalid as exc:
        raise ManifestInvalid(f"a descriptor names content by digest: {exc.message}") from None


def read_type(value: Mapping[str, Any], field: str) -> str | None:
    """Read ``mediaType`` or ``artifactType``; ``None`` where it is missing or empty.

    Raises:
        ManifestInvalid: it is not printable text of at most 255 characters.
    """
    text = value.get(field)
    if text is None or text == "":
        return None
    # Types of config and layers are carried, not understood: whatever can be printed on one line will do.
    if not isinstance(text, str) or len(text) > _MAX_TYPE or not (text.isascii() and text.isprintable()):
        raise ManifestInvalid(f"{field} is not a media type")
    return text


def read_annotations(value: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Read ``annotations``; ``None`` where there are none.

    Raises:
        ManifestInvalid: they are not a map of text to text.
    """
    annotations = value.get("annotations")
    if annotations is None:
        return None
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise ManifestInvalid("annotations map text to text")
    return annotations


def check_spelling(value: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    """Refuse ``MediaType`` beside or instead of ``mediaType``: Go's parser takes the one for the other, by Unicode's
    folding, in which a long s is an s.

    ``fields`` are ``spellings``.

    Raises:
        ManifestInvalid: a field is a known one in other letters.
    """
    for key in value:
        if fields.get(key) == key:
            continue
        folded = key.casefold()
        if folded in fields:
            raise ManifestInvalid(f"fields are spelled as specified: {fields[folded]}")
