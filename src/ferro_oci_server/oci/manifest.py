"""Manifests: read once, when they are pushed, for what they refer to; never written again.

1. Two parsers must not be able to read two things: no duplicate keys, no known key in other letters, one encoding,
   a type that agrees with the Content-Type, and layers or manifests, not both (CVE-2021-41190).
2. What the specification does not name is not looked at, and kept.

Spec: image-spec manifest.md and image-index.md; Docker image manifest version 2, schema 2.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ferro_oci_server.oci.descriptor import Descriptor, check_spelling, read_annotations, read_type, spellings
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import ManifestInvalid
from ferro_oci_server.oci.media_types import IMAGE_MANIFEST_TYPES, INDEX_TYPES

__all__ = ["Manifest", "parse_manifest"]

_TYPES = IMAGE_MANIFEST_TYPES | INDEX_TYPES

_MAX_DESCRIPTORS = 10_000
_MAX_DEPTH = 64
_MAX_DIGITS = 20

_FIELDS = spellings(
    "annotations", "artifactType", "config", "layers", "manifests", "mediaType", "schemaVersion", "subject"
)

# A text, closed or not, or a bracket outside texts. Possessive, so that hostile input is read in linear time.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a registry must know of a manifest besides its bytes."""

    media_type: str
    blobs: tuple[Digest, ...]
    """Config and layers that must be in the repository."""
    children: tuple[Digest, ...]
    """Entries of an index; manifests as a rule, and blobs in BuildKit's cache."""
    optional: tuple[Digest, ...]
    """Content that is referred to and may be elsewhere."""
    subject: Digest | None
    artifact_type: str | None
    annotations: Mapping[str, str] | None


def parse_manifest(content: bytes, content_type: str | None) -> Manifest:
    """Read an image manifest or an index.

    ``content_type`` is the request's, without parameters; ``None`` leaves the word to the ``mediaType`` inside.

    Raises:
        ManifestInvalid: no client should trust it; the message says why.
    """
    document = _parse_json(content)
    if not isinstance(document, dict):
        raise ManifestInvalid("a manifest is an object")
    check_spelling(document, _FIELDS)
    if type(document.get("schemaVersion")) is not int or document["schemaVersion"] != 2:
        raise ManifestInvalid("schemaVersion must be 2")
    media_type = _media_type(document, content_type)
    config, entries = _entries(document, media_type)
    required = [entry.digest for entry in entries if not entry.optional]
    is_index = media_type in INDEX_TYPES
    return Manifest(
        media_type=media_type,
        blobs=() if is_index else _unique(required),
        children=_unique(required) if is_index else (),
        optional=_unique([entry.digest for entry in entries if entry.optional]),
        subject=Descriptor.read(document["subject"]).digest if document.get("subject") is not None else None,
        artifact_type=read_type(document, "artifactType") or (config.media_type if config else None),
        annotations=read_annotations(document),
    )


def _media_type(document: Mapping[str, Any], content_type: str | None) -> str:
    inside = document.get("mediaType")
    if inside is not None and content_type is not None and inside != content_type:
        raise ManifestInvalid("mediaType must equal the Content-Type")
    media_type = content_type if content_type is not None else inside
    if not isinstance(media_type, str) or media_type not in _TYPES:
        # What an unknown type refers to cannot be told, so its content could not be kept from the collector.
        raise ManifestInvalid("this type of manifest is not known")
    return media_type


def _entries(document: Mapping[str, Any], media_type: str) -> tuple[Descriptor | None, list[Descriptor]]:
    """The config, where there is one, and all that the manifest refers to, the config included."""
    if media_type in INDEX_TYPES:
        if "layers" in document or "config" in document:
            raise ManifestInvalid("an index has no config and no layers")
        return None, list(_descriptors(document, "manifests"))
    if "manifests" in document:
        raise ManifestInvalid("an image manifest has no manifests")
    config = Descriptor.read(document.get("config"))
    return config, [config, *_descriptors(document, "layers")]


def _descriptors(document: Mapping[str, Any], field: str) -> Iterator[Descriptor]:
    values = document.get(field)
    if not isinstance(values, list):
        raise ManifestInvalid(f"{field} is a list of descriptors")
    if len(values) > _MAX_DESCRIPTORS:
        raise ManifestInvalid(f"{field} has more than {_MAX_DESCRIPTORS} descriptors")
    return map(Descriptor.read, values)


def _unique(digests: list[Digest]) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(digests))


def _parse_json(content: bytes) -> Any:
    """Parse strict JSON in UTF-8 without a byte-order mark."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ManifestInvalid("a manifest is UTF-8") from None
    _check_depth(content)
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise ManifestInvalid("a manifest is JSON") from None


def _check_depth(content: bytes) -> None:
    # The parser recurses on the C stack, so the depth is looked at before it is called.
    if content.count(b"[") + content.count(b"{") <= _MAX_DEPTH:
        return
    depth = 0
    for token in _TOKENS.finditer(content):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ManifestInvalid(f"a manifest is nested no deeper than {_MAX_DEPTH}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ManifestInvalid("a manifest names no key twice")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ManifestInvalid("a manifest has no numbers of more than 20 digits")
    return int(text)


def _refuse_constant(_: str) -> NoReturn:
    raise ManifestInvalid("NaN and Infinity are not JSON")


# Made once: that takes as long as reading a small manifest.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_refuse_constant)
