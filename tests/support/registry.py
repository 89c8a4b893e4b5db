"""The registry under test: how it is started, and how the tests look at it without any client between.

FERRO_INTEROP_COMMAND replaces the command, for comparing with another registry: `{listen}` and `{storage}` in it
stand for the address and the folder. FERRO_INTEROP_READY is the path that answers 200 when that one is ready.
"""

import hashlib
import http.client
import json
import os
import shlex
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from support.process import answers, connect

from .images import Image
from .process import daemon, free_port

# How much the server may grow while a layer of any size passes through it: some pieces of a few MiB for each of
# the connections that a client opens, nowhere near the layer.
MEMORY_GROWTH_MIB = 64

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass(frozen=True)
class Registry:
    """A running registry. `address` is what goes before the repository in an image's name."""

    address: str
    process: subprocess.Popen[bytes]
    tls: ssl.SSLContext | None = None
    shown: Mapping[str, str] = field(default_factory=dict)
    """Headers of every request: who asks, where not everybody may."""

    def name(self, repository: str, reference: str = "v1") -> str:
        separator = "@" if ":" in reference else ":"
        return f"{self.address}/{repository}{separator}{reference}"

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = connect(self.address, self.tls, 60)
        try:
            connection.request(method, target, body, {**self.shown, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def manifest(self, repository: str, reference: str = "v1") -> Reply:
        """GET a manifest; its bytes must be those that the answer's digest names."""
        reply = self.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": MANIFEST_TYPES})
        assert reply.status == 200, f"{repository} {reference}: {reply.status} {reply.body!r}"
        claimed = reply.headers["Docker-Content-Digest"]
        algorithm, _, encoded = claimed.partition(":")
        assert hashlib.new(algorithm, reply.body).hexdigest() == encoded
        return reply

    def digest(self, repository: str, reference: str = "v1") -> str:
        return str(self.manifest(repository, reference).headers["Docker-Content-Digest"])

    def content(self, repository: str, reference: str = "v1") -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.manifest(repository, reference).body)
        return content

    def status(self, repository: str, reference: str = "v1") -> int:
        target = f"/v2/{repository}/manifests/{reference}"
        return self.request("HEAD", target, headers={"Accept": MANIFEST_TYPES}).status

    def tags(self, repository: str) -> list[str]:
        reply = self.request("GET", f"/v2/{repository}/tags/list")
        return sorted(json.loads(reply.body)["tags"] or []) if reply.status == 200 else []

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        reply = self.request("GET", f"/v2/{repository}/referrers/{digest}")
        assert reply.status == 200
        manifests: list[dict[str, Any]] = json.loads(reply.body)["manifests"]
        return manifests

    def push_blob(self, repository: str, blob: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        started = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        location = urlsplit(started.headers["Location"])
        query = f"{location.query}&" if location.query else ""
        target = f"{location.path}?{query}digest={quote(digest)}"
        headers = {"Content-Type": "application/octet-stream"}
        assert self.request("PUT", target, blob, headers).status == 201

    def push_manifest(self, repository: str, reference: str, media_type: str, body: bytes) -> None:
        target = f"/v2/{repository}/manifests/{reference}"
        assert self.request("PUT", target, body, {"Content-Type": media_type}).status == 201

    def push(self, repository: str, image: Image, tag: str = "v1") -> str:
        """Put a small image there without any client; its name by digest."""
        for child in image.children:
            self.push(repository, child, child.digest)
        for blob in image.blobs():
            self.push_blob(repository, blob.read())
        for reference in (image.digest, tag):
            self.push_manifest(repository, reference, image.media_type, image.manifest.read())
        return self.name(repository, image.digest)

    @contextmanager
    def bounded_memory(self) -> Iterator[None]:
        """Fail when the server grew by more than MEMORY_GROWTH_MIB meanwhile."""
        processes = _tree(self.process.pid)
        for pid in processes:
            # "5" resets the peak that VmHWM reports.
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        before = _peak_kib(processes)
        yield
        grown = (_peak_kib(_tree(self.process.pid)) - before) // 1024
        assert grown < MEMORY_GROWTH_MIB, f"the server grew by {grown} MiB"


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(member for child in children for member in _tree(int(child)))]


def _peak_kib(processes: Sequence[int]) -> int:
    total = 0
    for pid in processes:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1])
    return total


@dataclass(frozen=True)
class Setup:
    """How the server is started: its folder (none: everything in memory), its workers, its settings."""

    storage: Path | None
    workers: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    """Whom clients believe, where the settings make it speak TLS."""
    host: str = "127.0.0.1"

    def command(self, listen: str) -> list[str]:
        replaced = os.environ.get("FERRO_INTEROP_COMMAND")
        if replaced:
            return shlex.split(replaced.format(listen=listen, storage=self.storage or ""))
        # The console command that was installed beside the interpreter which runs the tests.
        command = [str(Path(sys.executable).with_name("ferro-oci-server")), "serve", "--listen", listen]
        if self.storage is not None:
            command += ["--storage-dir", str(self.storage)]
        return [*command, "--workers", str(self.workers)] if self.workers > 1 else command


@contextmanager
def serve(setup: Setup, log: Path) -> Iterator[Registry]:
    """Run a registry until the block ends; SIGTERM must then make it exit with 0."""
    listen = f"{setup.host}:{free_port(setup.host)}"
    ready_path = os.environ.get("FERRO_INTEROP_READY", "/ready")
    env = {key: value for key, value in os.environ.items() if not key.startswith("FERRO_OCI_")}
    command, settings = setup.command(listen), {**env, **setup.settings}
    with daemon(command, settings, log, lambda: answers(listen, ready_path, setup.tls)) as process:
        yield Registry(listen, process, setup.tls)
    tail = log.read_text(errors="replace")[-4000:]
    assert process.returncode == 0, f"the server exited with {process.returncode} after SIGTERM:\n{tail}"
