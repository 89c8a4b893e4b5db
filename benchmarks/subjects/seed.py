"""The Rust registry that this one began as. It answers from memory, and writes all it knows at each change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import content
from benchmarks.subjects import Holdings
from support.tools import find

__all__ = ["Seed"]


@dataclass(frozen=True, slots=True)
class Seed:
    """It uses all processors there are."""

    name: str = "seed"
    title: str = "the seed, ferro-oci-server 1.0.0 in Rust, files"
    store: str = "seed"
    ready: str = "/v2/"

    def command(self, address: str, storage: Path) -> Sequence[str]:
        """How to start it: it reads the environment only, so that carries what differs between two of them."""
        return ["env", f"FERRO_OCI_LISTEN={address}", f"FERRO_OCI_STORAGE_DIR={storage}", find("seed")]

    def environment(self) -> Mapping[str, str]:
        """Its settings."""
        return {"RUST_LOG": "error"}

    def fill(self, storage: Path, holdings: Holdings) -> None:
        """Write its snapshot, which it reads when it starts."""
        manifests, tags = {}, {}
        for number in range(holdings.tags):
            body = content.manifest(number)
            digest = content.digest_of(body)
            manifests[digest] = {"media_type": content.MANIFEST_TYPE, "body_hex": body.hex()}
            tags[content.tag(number)] = digest
        snapshot = {"manifests": {content.REPOSITORY: manifests}, "tags": {content.REPOSITORY: tags}, "referrers": {}}
        (storage / "metadata.json").write_text(json.dumps(snapshot), encoding="ascii")
