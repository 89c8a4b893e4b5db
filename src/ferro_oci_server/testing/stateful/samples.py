"""What the state machine pushes: small sets of names and content that are easily confused.

Content has a name here, so that the steps that led to a failure can be read.
"""

from dataclasses import replace

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import DOCKER_MANIFEST
from ferro_oci_server.testing.images import LAYER_TYPE, describe, image, index

__all__ = ["CHILDREN", "CHUNKS", "IMAGES", "REPOSITORIES", "SBOM_TYPE", "SIGNATURE_TYPE", "TAGS", "UNKNOWN"]

# As bytes they sort in this order, and in no other that is in use. The last holds words of the API.
REPOSITORIES = ("a", "a-b", "a/blobs/uploads")
TAGS = ("1", "10", "2", "V", "_", "v", "v-1", "v.1")

# Pieces of each other, the empty one, one that is hashed in a thread, and one that is more than one batch.
CHUNKS = {
    "nothing": b"",
    "brace": b"{",
    "braces": b"{}",
    "layer": b"layer",
    "medium": bytes(range(256)) * 160,
    "large": b"0123456789" * 30_000,
}

SIGNATURE_TYPE, SBOM_TYPE = "application/vnd.example.signature", "application/vnd.example.sbom+json"
_NOTES = {"org.example.note": "x < y & \u00e9"}
_PLAIN = image(b"layer")
_SHA512 = image(b"layer", algorithm=Algorithm.SHA512)
_SIGNED = image(config=b"", subject=_PLAIN.descriptor(), artifactType=SIGNATURE_TYPE, annotations=_NOTES)
_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_TYPE = b'"mediaType":"%b",' % _PLAIN.media_type.encode()
_UNTYPED = replace(_PLAIN, body=_PLAIN.body.replace(_TYPE, b"", 1))
_INDEX = index([_PLAIN, image(media_type=DOCKER_MANIFEST)])

IMAGES = {
    "plain": _PLAIN,
    "docker": image(media_type=DOCKER_MANIFEST),
    "sha512": _SHA512,
    "untyped": _UNTYPED,
    "untyped docker": replace(_UNTYPED, media_type=DOCKER_MANIFEST),
    "foreign": replace(image(b"elsewhere", layer_type=_FOREIGN), blobs=(b"{}",)),
    "signature": _SIGNED,
    "sbom": image(b"layer", config_type=SBOM_TYPE, subject=_PLAIN.descriptor()),
    "countersignature": image(subject=_SIGNED.descriptor(), artifactType=SIGNATURE_TYPE),
    "of sha512": image(b"layer", subject=_SHA512.descriptor(), annotations=_NOTES),
    "index": _INDEX,
    "nested": index([_INDEX, _SHA512]),
    "cache": replace(index([describe(b"layer", LAYER_TYPE)]), blobs=(b"layer",)),
    "index with subject": index([], subject=_PLAIN.descriptor()),
    "signed index": index([_PLAIN], subject=_PLAIN.descriptor(), artifactType=SIGNATURE_TYPE, annotations=_NOTES),
}
# What must be there before an index.
CHILDREN = {"index": ("plain", "docker"), "nested": ("index", "sha512"), "signed index": ("plain",)}

UNKNOWN = Digest.of(b"nobody has pushed this")
