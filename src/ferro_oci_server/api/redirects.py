"""Which downloads are answered by a link to the bytes, so that these do not pass through here.

A link opens one blob to whoever has it, until it expires. It is given for a GET of a blob that the repository holds,
and is never cached or logged. What another server would answer otherwise than this one is answered here:

1. HEAD, since a link is signed for GET. Manifests, which are not in the blob store at all.
2. Conditions: stores have entity tags of their own. Parts that are counted from the end, and lists of parts: not
   every store reads them. A client repeats all other ranges when it follows the link.
3. A client that is logged in and may repeat its ``Authorization`` there: clients do so at the same host and below it,
   whatever the port. It would tell the store who it is, and stores refuse a link with credentials beside it.
4. A client that came by https, where the link is plain http.
5. A client of a kind that cannot reach the store, as the settings say.
"""

import re
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from ferro_oci_server.api.requests import Request
from ferro_oci_server.core.records import Blob
from ferro_oci_server.core.state import AppState

__all__ = ["link_of"]

_CONDITIONS = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range")
_PLAIN_RANGE = re.compile(r"bytes=[0-9]+-[0-9]*", re.ASCII)
_PORT = re.compile(r":[0-9]*$", re.ASCII)


async def link_of(state: AppState, request: Request, blob: Blob) -> str | None:
    """Where the client that asks for this blob is to get it; ``None`` for here."""
    if not request.limits.redirect_downloads or not _may_leave(request):
        return None
    url = await state.blobs.link(blob, request.limits.redirect_seconds)
    return url if url is not None and _may_follow(request, url) else None


def _may_leave(request: Request) -> bool:
    """Whether another server would answer the same, and this client can ask it."""
    agent = request.header(b"user-agent") or ""
    return (
        not any(name in request.headers for name in _CONDITIONS)
        and _PLAIN_RANGE.fullmatch(request.header(b"range") or "bytes=0-") is not None
        and not any(fnmatchcase(agent, pattern) for pattern in request.limits.redirect_except)
    )


def _may_follow(request: Request, url: str) -> bool:
    """Whether nothing is given away on the way to this link."""
    link = urlsplit(url)
    if request.scheme == "https" and link.scheme != "https":
        return False
    return b"authorization" not in request.headers or not _is_below(link.netloc, request.header(b"host") or "")


def _is_below(place: str, host: str) -> bool:
    """Whether a place has the name of a host, or one below it."""
    name, other = (_PORT.sub("", text).lower() for text in (place, host))
    return f".{name}".endswith(f".{other}")
