"""A large image, as an OCI layout: layers of random bytes, which no client makes smaller."""

import hashlib
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

from benchmarks import content

__all__ = ["layout"]

_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


def layout(folder: Path, seed: int, layers: int, size: int) -> Path:
    """Write it, unless it is there; its tag is v1."""
    final = folder / f"image-{content.VERSION}-{seed}-{layers}-{size}"
    if final.exists():
        return final
    making = final.with_name(f"{final.name}.making")
    blobs = making / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    described = [_put(blobs, _tar(f"layer-{number}", chance.randbytes(size)), _LAYER_TYPE) for number in range(layers)]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/none"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": content.MANIFEST_TYPE,
        "config": _put(blobs, _json(config), _CONFIG_TYPE),
        "layers": described,
    }
    entry = _put(blobs, _json(manifest), content.MANIFEST_TYPE)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (making / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))
    (making / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    making.rename(final)
    return final


def _put(blobs: Path, body: bytes, media_type: str) -> dict[str, Any]:
    encoded = hashlib.sha256(body).hexdigest()
    (blobs / encoded).write_bytes(body)
    return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(body)}


def _tar(name: str, body: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(body), 0o644
        tar.addfile(member, io.BytesIO(body))
    return out.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
