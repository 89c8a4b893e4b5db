"""Pushing what is there before anything is measured, in the plainest way."""

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import content

__all__ = ["push_blob", "push_blobs"]

_PIECE = 1024 * 1024


def push_blobs(address: str, repository: str = content.REPOSITORY) -> None:
    """Push the small blobs."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        for blob in content.blobs():
            _push(connection, repository, content.digest_of(blob), blob)
    finally:
        connection.close()


def push_blob(address: str, repository: str, digest: str, path: Path) -> None:
    """Push a file."""
    connection = http.client.HTTPConnection(address, timeout=300, blocksize=_PIECE)
    try:
        _push(connection, repository, digest, path)
    finally:
        connection.close()


def _push(connection: http.client.HTTPConnection, repository: str, digest: str, blob: bytes | Path) -> None:
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", b"")
    response = connection.getresponse()
    response.read()
    location = urlsplit(response.headers["Location"])
    query = f"{location.query}&" if location.query else ""
    target = f"{location.path}?{query}digest={digest}"
    headers = {"Content-Type": "application/octet-stream"}
    if isinstance(blob, bytes):
        connection.request("PUT", target, blob, headers)
    else:
        with blob.open("rb") as file:
            connection.request("PUT", target, file, {**headers, "Content-Length": str(blob.stat().st_size)})
    response = connection.getresponse()
    body = response.read()
    if response.status != 201:
        raise RuntimeError(f"a blob was answered with {response.status}: {body!r}")
