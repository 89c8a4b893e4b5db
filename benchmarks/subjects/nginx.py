"""nginx, which sends the same bytes from files under the same paths: what this machine can do at best."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import content
from benchmarks.subjects import Holdings
from support.tools import find

__all__ = ["Nginx"]

_SETTINGS = """\
daemon off;
user {user};
worker_processes auto;
pid {storage}/nginx.pid;
error_log {storage}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_body_temp_path {storage}/temporary;
  proxy_temp_path {storage}/temporary;
  fastcgi_temp_path {storage}/temporary;
  uwsgi_temp_path {storage}/temporary;
  scgi_temp_path {storage}/temporary;
  types {{ }}
  server {{
    listen {address};
    root {storage}/files;
    location ~ /manifests/ {{ default_type application/vnd.oci.image.manifest.v1+json; }}
    location / {{ default_type application/octet-stream; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """One worker for each processor, as in its usual settings."""

    name: str = "nginx"
    title: str = "nginx, the same bytes from files"
    store: str = "nginx"
    ready: str = "/v2/"

    def command(self, address: str, storage: Path) -> Sequence[str]:
        """How to start it."""
        user = "root" if os.getuid() == 0 else "nobody"
        settings = storage / "nginx.conf"
        settings.write_text(_SETTINGS.format(address=address, storage=storage, user=user), encoding="utf-8")
        return [find("nginx"), "-c", str(settings)]

    def environment(self) -> Mapping[str, str]:
        """None."""
        return {}

    def fill(self, storage: Path, holdings: Holdings) -> None:
        """Write the files that it sends."""
        repository = storage / "files" / "v2" / content.REPOSITORY
        manifests, blobs = repository / "manifests", repository / "blobs"
        manifests.mkdir(parents=True)
        blobs.mkdir(parents=True)
        for blob in content.blobs():
            (blobs / content.digest_of(blob)).write_bytes(blob)
        for number in range(holdings.tags):
            body = content.manifest(number)
            path = manifests / content.tag(number)
            path.write_bytes(body)
            (manifests / content.digest_of(body)).hardlink_to(path)
