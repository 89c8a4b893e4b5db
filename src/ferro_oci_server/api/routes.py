"""Which path is which endpoint.

Repository names hold slashes, and may hold the words of the API: the path is read from the right, where the word that
names the endpoint stands. It is read as it came, undecoded, once, and by nobody else.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.errors import EndpointUnknown

__all__ = [
    "BASE",
    "BLOB",
    "CATALOG",
    "MANIFEST",
    "NAME",
    "REFERRERS",
    "TAGS",
    "UPLOAD",
    "UPLOADS",
    "Handler",
    "Route",
    "Target",
    "match",
    "target",
]

BASE = "/v2/"
CATALOG = "/v2/_catalog"
NAME = "<name>"
"""Stands in the patterns of what belongs to a repository."""
TAGS = "/v2/<name>/tags/list"
MANIFEST = "/v2/<name>/manifests/<reference>"
REFERRERS = "/v2/<name>/referrers/<digest>"
BLOB = "/v2/<name>/blobs/<digest>"
UPLOADS = "/v2/<name>/blobs/uploads/"
UPLOAD = "/v2/<name>/blobs/uploads/<session>"

_FIXED = {"/v2": BASE, BASE: BASE, CATALOG: CATALOG}
_WORDS = {("blobs", "uploads"): UPLOADS, ("tags", "list"): TAGS}
_TAILED = {"manifests": MANIFEST, "referrers": REFERRERS, "blobs": BLOB}

Handler = Callable[[AppState, Request], Awaitable[Response]]


class Route(NamedTuple):
    """A row of the table."""

    pattern: str
    method: str
    handler: Handler
    spec: str = ""
    """The specification's names of what this row serves."""


class Target(NamedTuple):
    """A path, read: the pattern it has, and what stands in the pattern's two places, as it came."""

    pattern: str
    name: str = ""
    tail: str = ""


def target(request: Request) -> Target:
    """Read the path of a request: once, whoever asks.

    Raises:
        EndpointUnknown: it is below ``/v2/`` and has the form of no endpoint.
    """
    found: Target | None = request.target
    if found is None:
        found = request.target = match(request.path)
        request.name, request.tail = found.name, found.tail
    return found


def match(path: str) -> Target:
    """Read an undecoded path. What is not below ``/v2/`` is its own pattern.

    Raises:
        EndpointUnknown: it is below ``/v2/`` and has the form of no endpoint.
    """
    if path in _FIXED:
        return Target(_FIXED[path])
    if not path.startswith(BASE):
        return Target(path)
    front, _, tail = path[len(BASE) :].rpartition("/")
    name, _, word = front.rpartition("/")
    if word == "uploads" and name.endswith("/blobs"):
        return Target(UPLOAD if tail else UPLOADS, name.removesuffix("/blobs"), tail)
    if (word, tail) in _WORDS:
        return Target(_WORDS[word, tail], name)
    if word in _TAILED:
        return Target(_TAILED[word], name, tail)
    raise EndpointUnknown("no endpoint has this path")
