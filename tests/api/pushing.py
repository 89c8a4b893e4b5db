"""Pushes content in one line, where a test is about something else."""

import json
from typing import Any

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.testing.client import AsgiClient, Reply
from ferro_oci_server.testing.images import Content

NAME = "acme/app"


class Pushing:
    """Pushes to one repository; everything it does must succeed, except where it says that it returns the reply."""

    def __init__(self, client: AsgiClient, name: str = NAME) -> None:
        self.client = client
        self.name = name

    def into(self, name: str) -> "Pushing":
        """The same, into another repository."""
        return Pushing(self.client, name)

    async def blob(self, content: bytes, algorithm: Algorithm = Algorithm.SHA256) -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(content, algorithm)
        reply = await self.client.request("POST", f"/v2/{self.name}/blobs/uploads/?digest={digest}", body=content)
        assert reply.status == 201, reply
        return digest

    async def session(self, query: str = "") -> str:
        """Start an upload; return its location."""
        reply = await self.client.request("POST", f"/v2/{self.name}/blobs/uploads/{query}")
        assert reply.status == 202, reply
        return reply.location

    async def manifest(self, content: Content, reference: str | None = None, **headers: str) -> Reply:
        """Put a manifest, and nothing that it refers to; return the reply."""
        fields = {"Content-Type": content.media_type} | {key.replace("_", "-"): text for key, text in headers.items()}
        path = f"/v2/{self.name}/manifests/{reference or content.digest}"
        return await self.client.request("PUT", path, headers=fields, body=content.body)

    async def content(self, content: Content, reference: str | None = None) -> Reply:
        """Push a manifest, and before it the blobs that it refers to."""
        for blob in content.blobs:
            await self.blob(blob, content.algorithm)
        reply = await self.manifest(content, reference)
        assert reply.status == 201, reply
        return reply

    async def get(self, path: str, **headers: str) -> Reply:
        """GET a path below the repository; return the reply."""
        fields = {key.replace("_", "-"): text for key, text in headers.items()}
        return await self.client.request("GET", f"/v2/{self.name}/{path}", headers=fields)


def codes(reply: Reply) -> list[str]:
    """The codes of an error, whose body must have the specification's shape."""
    assert reply.header("content-type") == "application/json"
    document: dict[str, Any] = json.loads(reply.body)
    assert set(document) == {"errors"}
    for entry in document["errors"]:
        assert set(entry) <= {"code", "message", "detail"}
        assert isinstance(entry["message"], str)
    return [entry["code"] for entry in document["errors"]]
