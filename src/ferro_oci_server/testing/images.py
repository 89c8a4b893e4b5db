"""Small content to push: manifests and indexes, with the blobs that they refer to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST

__all__ = ["CONFIG_TYPE", "LAYER_TYPE", "Content", "describe", "image", "index"]

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Content:
    """A manifest, its media type, and the blobs to push before it."""

    media_type: str
    body: bytes
    blobs: tuple[bytes, ...] = ()
    algorithm: Algorithm = Algorithm.SHA256

    @property
    def digest(self) -> Digest:
        """The digest of the manifest."""
        return Digest.of(self.body, self.algorithm)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """A descriptor of the manifest, for an index or as a subject."""
        return describe(self.body, self.media_type, self.algorithm, **more)


def describe(content: bytes, media_type: str, algorithm: Algorithm = Algorithm.SHA256, **more: Any) -> dict[str, Any]:
    """A descriptor of ``content``, with whatever other fields are given."""
    return {
        "mediaType": media_type,
        "digest": Digest.of(content, algorithm),
        "size": len(content),
        **more,
    }


def image(
    *layers: bytes,
    config: bytes = b"{}",
    media_type: str = OCI_IMAGE_MANIFEST,
    algorithm: Algorithm = Algorithm.SHA256,
    config_type: str = CONFIG_TYPE,
    layer_type: str = LAYER_TYPE,
    **more: Any,
) -> Content:
    """An image manifest of these layers; ``more`` are further fields, such as ``subject``."""
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": describe(config, config_type, algorithm),
        "layers": [describe(layer, layer_type, algorithm) for layer in layers],
        **more,
    }
    return Content(media_type, _json(document), (config, *layers), algorithm)


def index(
    entries: Sequence[Content | Mapping[str, Any]],
    *,
    media_type: str = OCI_IMAGE_INDEX,
    algorithm: Algorithm = Algorithm.SHA256,
    **more: Any,
) -> Content:
    """An index of manifests, or of whatever the descriptors among its entries describe."""
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [entry.descriptor() if isinstance(entry, Content) else dict(entry) for entry in entries],
        **more,
    }
    return Content(media_type, _json(document), (), algorithm)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")
