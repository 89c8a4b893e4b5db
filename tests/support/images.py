"""Images made here, byte for byte the same on every run: no client and no network is needed to have one.

An `Image` is written as an OCI layout, or as one tar archive that is an OCI layout and what `docker save` writes at
the same time: every client reads one of the two.
"""

import gzip
import hashlib
import io
import json
import random
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OCI = "oci"
DOCKER = "docker"

MEDIA_TYPES = {
    OCI: {
        "manifest": "application/vnd.oci.image.manifest.v1+json",
        "index": "application/vnd.oci.image.index.v1+json",
        "config": "application/vnd.oci.image.config.v1+json",
        "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
    },
    DOCKER: {
        "manifest": "application/vnd.docker.distribution.manifest.v2+json",
        "index": "application/vnd.docker.distribution.manifest.list.v2+json",
        "config": "application/vnd.docker.container.image.v1+json",
        "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    },
}
CREATED = "2026-01-01T00:00:00Z"
PIECE = 1 << 20

Descriptor = dict[str, Any]


@dataclass
class Blob:
    """Bytes in memory, or in a file when they are many."""

    digest: str
    size: int
    content: bytes | Path

    @classmethod
    def of(cls, content: bytes) -> "Blob":
        return cls(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def descriptor(self, media_type: str, **more: Any) -> Descriptor:
        return {"mediaType": media_type, "digest": self.digest, "size": self.size, **more}


@dataclass
class Image:
    """An image or an index: the manifest that names it, and all that hangs below."""

    manifest: Blob
    media_type: str
    config: Blob | None
    layers: list[Blob]
    children: list["Image"] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def image_id(self) -> str:
        """What docker and podman call an image by: the digest of its config."""
        assert self.config is not None
        return self.config.digest

    def blobs(self) -> list[Blob]:
        """Configs and layers, of the children too."""
        own = [self.config, *self.layers] if self.config else self.layers
        return [*own, *(blob for child in self.children for blob in child.blobs())]

    def archive(self, path: Path, name: str = "") -> Path:
        """Write the image as a tar archive; `name` is what clients call it after reading the archive."""
        with tarfile.open(path, "w") as tar:
            for member, content in self._files(name).items():
                _add(tar, member, content)
        return path

    def layout(self, folder: Path, tag: str = "v1") -> Path:
        """Write the image as an OCI layout, in which it has that tag."""
        for member, content in self._files(f"layout:{tag}").items():
            path = folder / member
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.hardlink_to(content)
        return folder

    def _files(self, name: str) -> dict[str, bytes | Path]:
        annotations = {
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
            "io.containerd.image.name": name,
        }
        more = {"annotations": annotations} if name else {}
        saved = [
            {
                "Config": _blob_path(image.config.digest),
                "RepoTags": [name] if name else [],
                "Layers": [_blob_path(layer.digest) for layer in image.layers],
            }
            for image in (self.children or [self])
            if image.config
        ]
        index = {"schemaVersion": 2, "manifests": [self.manifest.descriptor(self.media_type, **more)]}
        blobs = [self.manifest, *(child.manifest for child in self.children), *self.blobs()]
        return {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": _json(index),
            "manifest.json": _json(saved),
            **{_blob_path(blob.digest): blob.content for blob in blobs},
        }


def image(
    seed: str, dialect: str = OCI, architecture: str = "amd64", layer_count: int = 2, random_bytes: int = 0
) -> Image:
    """A small image; another seed gives other layers, and so another digest."""
    more = random.Random(seed).randbytes(random_bytes)
    contents = [
        _tar(f"{seed}-{number}.txt", f"{seed} {number}\n".encode() * 512 + more) for number in range(layer_count)
    ]
    layers = [Blob.of(gzip.compress(content, mtime=0)) for content in contents]
    diff_ids = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents]
    return _assemble(dialect, architecture, layers, diff_ids)


def index(seed: str, dialect: str = OCI) -> Image:
    """One image for each of two platforms, and the index over them."""
    architectures = ("amd64", "arm64")
    children = [image(f"{seed}-{architecture}", dialect, architecture) for architecture in architectures]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPES[dialect]["index"],
        "manifests": [
            child.manifest.descriptor(child.media_type, platform={"os": "linux", "architecture": architecture})
            for child, architecture in zip(children, architectures, strict=True)
        ],
    }
    return Image(Blob.of(_json(manifest)), MEDIA_TYPES[dialect]["index"], None, [], children)


def large_image(folder: Path, mebibytes: int) -> Image:
    """An image whose one layer has that size on the wire: random bytes in a gzip that only stores them."""
    path = folder / "large-layer.tar.gz"
    compressed, plain = hashlib.sha256(), hashlib.sha256()
    with path.open("wb") as out:
        for piece in _stored_gzip(_large_tar(mebibytes), plain):
            compressed.update(piece)
            out.write(piece)
    layer = Blob(f"sha256:{compressed.hexdigest()}", path.stat().st_size, path)
    return _assemble(OCI, "amd64", [layer], [f"sha256:{plain.hexdigest()}"])


def _assemble(dialect: str, architecture: str, layers: Sequence[Blob], diff_ids: Sequence[str]) -> Image:
    types = MEDIA_TYPES[dialect]
    config = Blob.of(
        _json(
            {
                "architecture": architecture,
                "os": "linux",
                "created": CREATED,
                "config": {"Cmd": ["/none"]},
                "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
                "history": [{"created": CREATED, "created_by": "tests/interop"} for _ in diff_ids],
            }
        )
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": config.descriptor(types["config"]),
        "layers": [layer.descriptor(types["layer"]) for layer in layers],
    }
    return Image(Blob.of(_json(manifest)), types["manifest"], config, list(layers))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    if isinstance(content, bytes):
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        return
    member.size = content.stat().st_size
    with content.open("rb") as source:
        tar.addfile(member, source)


def _tar(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, name, content)
    return out.getvalue()


def _large_tar(mebibytes: int) -> Iterator[bytes]:
    header = tarfile.TarInfo("random")
    header.size = mebibytes * PIECE
    yield header.tobuf()
    # Further apart than the 32 KiB that a compressor looks back, so that no client makes the layer small again.
    pattern = random.Random(1).randbytes(16 * PIECE)
    for number in range(mebibytes):
        start = (number * PIECE) % len(pattern)
        yield number.to_bytes(8, "big") + pattern[start + 8 : start + PIECE]
    yield bytes(1024)


def _stored_gzip(pieces: Iterator[bytes], plain: "hashlib._Hash") -> Iterator[bytes]:
    compressor = zlib.compressobj(level=0, wbits=31)
    for piece in pieces:
        plain.update(piece)
        yield compressor.compress(piece)
    yield compressor.flush()
