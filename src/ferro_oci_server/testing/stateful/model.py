"""A registry as plain dictionaries: what it holds, and what it must answer.

1. A request is done whole and at once, or changes nothing.
2. A repository comes into being with its first blob or manifest, and stays.
3. What a repository holds, its own dictionaries hold: nothing is shared.

Spec: distribution-spec, "Pull", "Push", "Content Discovery" and "Content Management".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import OciErrorCode as Code
from ferro_oci_server.oci.media_types import is_nondistributable
from ferro_oci_server.testing.images import Content

__all__ = ["Answer", "Condition", "RegistryModel", "Repository", "hashed"]

Condition = tuple[str, str]
"""``if-match`` or ``if-none-match``, and ``*`` or a digest."""


@dataclass(frozen=True)
class Answer:
    """What must come back: the status, the code of an error, these headers among others, the body where it counts."""

    status: int
    code: Code | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass
class Repository:
    """What a repository holds: blobs and manifests by digest, and the digests of its tags."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Content] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class RegistryModel:
    """All repositories, and the open sessions: the repository of each, and its bytes. Their keys are the caller's."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.sessions: dict[int, tuple[str, bytes]] = {}

    def look(self, name: str) -> Repository:
        """What a repository holds: nothing, where there is none."""
        return self.repositories.get(name, Repository())

    def start(self, name: str, key: int) -> Answer:
        """POST that opens a session."""
        self.sessions[key] = (name, b"")
        return Answer(202, headers={"range": "0-0"})

    def status(self, name: str, key: int) -> Answer:
        """GET of a session. Of one byte and of none, the range looks the same."""
        owner, content = self.sessions.get(key, ("", b""))
        if owner != name:
            return Answer(404, Code.BLOB_UPLOAD_UNKNOWN)
        return Answer(204, headers={"range": f"0-{max(0, len(content) - 1)}"})

    def append(self, name: str, key: int, chunk: bytes, start: int | None = None) -> Answer:
        """PATCH with a chunk that says it begins at ``start``. One that was cut off is what arrived of it."""
        status = self.status(name, key)
        if status.code:
            return status
        content = self.sessions[key][1]
        if start not in (None, len(content)):
            return Answer(416, Code.BLOB_UPLOAD_INVALID, status.headers)
        self.sessions[key] = (name, content + chunk)
        return Answer(202, headers=self.status(name, key).headers)

    def complete(self, name: str, key: int, digest: str, chunk: bytes = b"", start: int | None = None) -> Answer:
        """The closing PUT. The session has ended, even where the digest is wrong."""
        answer = self.append(name, key, chunk, start)
        return answer if answer.code else self.push(name, digest, self.sessions.pop(key)[1])

    def cancel(self, name: str, key: int) -> Answer:
        """DELETE of a session."""
        status = self.status(name, key)
        return status if status.code or self.sessions.pop(key) is None else Answer(204)

    def push(self, name: str, digest: str, content: bytes) -> Answer:
        """POST of a whole blob."""
        if hashed(content, digest) != digest:
            return Answer(400, Code.DIGEST_INVALID)
        self._made(name).blobs[digest] = content
        return Answer(201, headers={"docker-content-digest": digest})

    def mount(self, name: str, digest: str, source: str | None) -> Answer:
        """POST that mounts from ``source``, or from any repository. 202 stands for a session, which ``start`` opens."""
        blobs = self.look(source).blobs if source else {}
        for repository in self.repositories.values() if source is None else ():
            blobs = blobs | repository.blobs
        return self.push(name, digest, blobs[digest]) if digest in blobs else Answer(202)

    def put(self, name: str, content: Content, digest: str, tags: Sequence[str], *conditions: Condition) -> Answer:
        """PUT of a manifest under its digest, and under these tags."""
        if hashed(content.body, digest) != digest:
            return Answer(400, Code.DIGEST_INVALID)
        held = self.look(name)
        current = [held.tags.get(tag) for tag in tags] or [digest if digest in held.manifests else None]
        if not all(_holds(condition, resolved) for condition in conditions for resolved in current):
            return Answer(412, Code.DENIED)
        if not _is_whole(json.loads(content.body), held):
            return Answer(404, Code.MANIFEST_BLOB_UNKNOWN)
        repository = self._made(name)
        repository.manifests[digest] = content
        repository.tags |= dict.fromkeys(tags, digest)
        subject = json.loads(content.body).get("subject")
        return Answer(201, headers=_digest(digest) | ({"oci-subject": subject["digest"]} if subject else {}))

    def delete_tag(self, name: str, tag: str) -> Answer:
        """DELETE of a tag: its manifest stays."""
        return Answer(202) if self.look(name).tags.pop(tag, None) else Answer(404, Code.MANIFEST_UNKNOWN)

    def delete_manifest(self, name: str, digest: str) -> Answer:
        """DELETE of a manifest, with every tag that points at it."""
        held = self.look(name)
        held.tags = {tag: target for tag, target in held.tags.items() if target != digest}
        return Answer(202) if held.manifests.pop(digest, None) else Answer(404, Code.MANIFEST_UNKNOWN)

    def delete_blob(self, name: str, digest: str) -> Answer:
        """DELETE of a blob: other repositories keep it."""
        return Answer(202) if self.look(name).blobs.pop(digest, None) is not None else Answer(404, Code.BLOB_UNKNOWN)

    def blob(self, name: str, digest: str) -> Answer:
        """GET of a blob. HEAD has the same headers."""
        content = self.look(name).blobs.get(digest)
        if content is None:
            return Answer(404, Code.BLOB_UNKNOWN)
        return Answer(200, headers=_digest(digest) | {"content-length": str(len(content))}, body=content)

    def manifest(self, name: str, reference: str) -> Answer:
        """GET of a manifest. HEAD has the same headers."""
        held = self.look(name)
        digest = held.tags.get(reference, reference)
        if digest not in held.manifests:
            return Answer(404, Code.MANIFEST_UNKNOWN)
        content = held.manifests[digest]
        described = {"content-type": content.media_type, "content-length": str(len(content.body))}
        return Answer(200, headers=_digest(digest) | described, body=content.body)

    def referrers(self, name: str, subject: str, artifact_type: str | None = None) -> list[dict[str, Any]]:
        """The descriptors of what has this subject, sorted by digest; all, or those of one type."""
        held = sorted(self.look(name).manifests.items())
        documents = [(digest, content, json.loads(content.body)) for digest, content in held]
        found = [_referrer(*each) for each in documents if (each[2].get("subject") or {}).get("digest") == subject]
        return [each for each in found if artifact_type in (None, each.get("artifactType"))]

    def _made(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())


def hashed(content: bytes, like: str) -> Digest:
    """The digest of some bytes, by the algorithm of another digest."""
    return Digest.of(content, Algorithm(like.partition(":")[0]))


def _is_whole(document: Mapping[str, Any], held: Repository) -> bool:
    """Whether all that a manifest refers to is there. Where its subject is, if it has one, does not matter."""
    if "manifests" in document:
        return all(entry["digest"] in held.manifests | held.blobs for entry in document["manifests"])
    needed = [entry for entry in document["layers"] if not is_nondistributable(entry["mediaType"])]
    return all(entry["digest"] in held.blobs for entry in (document["config"], *needed))


def _holds(condition: Condition, resolved: str | None) -> bool:
    """Whether the change may happen. Spec: RFC 9110 section 13.1.1 and 13.1.2."""
    kind, wanted = condition
    found = resolved is not None if wanted == "*" else resolved == wanted
    return found if kind == "if-match" else not found


def _referrer(digest: str, content: Content, document: Mapping[str, Any]) -> dict[str, Any]:
    described = {"mediaType": content.media_type, "digest": digest, "size": len(content.body)}
    artifact_type = document.get("artifactType") or document.get("config", {}).get("mediaType")
    extra = {"artifactType": artifact_type, "annotations": document.get("annotations")}
    return described | {key: value for key, value in extra.items() if value}


def _digest(digest: str) -> dict[str, str]:
    return {"docker-content-digest": digest, "etag": f'"{digest}"'}
