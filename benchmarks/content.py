"""What every registry holds: the same manifests, the same blobs, made from numbers."""

import hashlib
import json
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "CATALOG",
    "MANIFEST_TYPE",
    "REFERRERS",
    "REPOSITORY",
    "VERSION",
    "blobs",
    "digest_of",
    "document",
    "manifest",
    "references",
    "referrer",
    "repository",
    "tag",
    "template",
    "write_blob_digests",
    "write_digests",
]

VERSION = 2
"""Goes up when anything here changes, so that stores are filled anew."""

REPOSITORY = "bench/tags"
"""Has the manifests, each with a tag."""
REFERRERS = "bench/referrers"
"""Has manifests that all have the same subject."""
CATALOG = "bench/catalog"
"""What the names of many repositories begin with."""

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_ARTIFACT_TYPE = "application/vnd.example.signature"

_BLOBS = 256
_BLOB_SIZE = 4096


@cache
def blobs() -> tuple[bytes, ...]:
    """Small blobs: the first is the config of all manifests, and some of the others are layers."""
    chance = random.Random(VERSION)
    return tuple(chance.randbytes(_BLOB_SIZE) for _ in range(_BLOBS))


def digest_of(content: bytes) -> str:
    """As registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@cache
def references() -> tuple[str, ...]:
    """The digests of the blobs that manifests refer to."""
    return tuple(digest_of(blob) for blob in blobs()[:3])


def document(**more: Any) -> Mapping[str, Any]:
    """A manifest of the shape that they all have."""
    config, *layers = (
        {"mediaType": kind, "digest": digest, "size": _BLOB_SIZE}
        for kind, digest in zip((_CONFIG_TYPE, _LAYER_TYPE, _LAYER_TYPE), references(), strict=True)
    )
    return {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers, **more}


def template(series: str) -> str:
    """The text of the manifests of a series; each has its number, of seven digits, where ``{n}`` stands."""
    return _text(document(annotations={"series": series, "number": "{n}"}))


@cache
def _tagged() -> tuple[str, str]:
    before, after = template("tags").split("{n}")
    return before, after


def manifest(number: int) -> bytes:
    """One of the tagged manifests."""
    before, after = _tagged()
    return f"{before}{number:07}{after}".encode("ascii")


def tag(number: int) -> str:
    """Its tag."""
    return f"t{number:07}"


def repository(number: int) -> str:
    """One of many repositories."""
    return f"{CATALOG}/{number:07}"


def referrer(number: int) -> bytes:
    """One of the manifests whose subject is the first of the tagged ones."""
    subject = manifest(0)
    descriptor = {"mediaType": MANIFEST_TYPE, "digest": digest_of(subject), "size": len(subject)}
    more = {"artifactType": _ARTIFACT_TYPE, "subject": descriptor, "annotations": {"number": f"{number:07}"}}
    return _text(document(**more)).encode("ascii")


def write_digests(count: int, path: Path) -> Path:
    """Write the digests of the tagged manifests to a file, 32 bytes each, for the generator of load."""
    if not path.exists():
        path.write_bytes(b"".join(hashlib.sha256(manifest(number)).digest() for number in range(count)))
    return path


def write_blob_digests(path: Path) -> Path:
    """The same of the blobs."""
    if not path.exists():
        path.write_bytes(b"".join(hashlib.sha256(blob).digest() for blob in blobs()))
    return path


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
