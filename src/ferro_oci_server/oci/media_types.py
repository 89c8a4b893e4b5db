"""Media types that a registry must understand. All others are carried as they are.

Spec: image-spec media-types.md; Docker image manifest version 2, schema 2.
"""

import re

__all__ = [
    "DOCKER_MANIFEST",
    "DOCKER_MANIFEST_LIST",
    "IMAGE_MANIFEST_TYPES",
    "INDEX_TYPES",
    "OCI_IMAGE_INDEX",
    "OCI_IMAGE_MANIFEST",
    "OCTET_STREAM",
    "is_media_type",
    "is_nondistributable",
]

OCI_IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCTET_STREAM = "application/octet-stream"

IMAGE_MANIFEST_TYPES = frozenset({OCI_IMAGE_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES = frozenset({OCI_IMAGE_INDEX, DOCKER_MANIFEST_LIST})

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_GRAMMAR = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)


def is_media_type(text: str) -> bool:
    """Whether ``text`` is a type and a subtype as RFC 6838 section 4.2 writes them, without parameters."""
    return _GRAMMAR.fullmatch(text) is not None


def is_nondistributable(media_type: str) -> bool:
    """Whether layers of this type are kept away from registries by their licence, so that they may be missing."""
    return ".layer.nondistributable." in media_type or ".rootfs.foreign." in media_type
