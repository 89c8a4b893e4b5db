"""One request on its way through the gate: what is known of it, and what is written down of it."""

from collections.abc import MutableMapping
from typing import Any

from ferro_oci_server.api import routes
from ferro_oci_server.api.app import Send
from ferro_oci_server.api.requests import Request
from ferro_oci_server.auth.access import PrincipalAccess
from ferro_oci_server.auth.audit import AuditLog, Event
from ferro_oci_server.auth.principals import ANONYMOUS, Principal
from ferro_oci_server.auth.rights import OPEN, Need
from ferro_oci_server.core.access import OPEN as OPEN_ACCESS
from ferro_oci_server.core.access import Access
from ferro_oci_server.oci.errors import Unauthorized
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["UNKNOWN", "Passage"]

UNKNOWN = "unknown"
"""The pattern of what cannot be read, or is no endpoint."""

_READING = frozenset({"GET", "HEAD"})

# What begins or goes on with an upload changes nothing that anybody could see. Its end does.
_UNSEEN = frozenset({(routes.UPLOAD, "PATCH"), (routes.UPLOAD, "DELETE")})

# Where the end of the path says what it is about. That of an upload is known to its client alone.
_REFERRING = frozenset({routes.MANIFEST, routes.BLOB, routes.REFERRERS})

# A download that was allowed, and is fetched from a store. A client that has the content (304) is given nothing.
_ELSEWHERE = 307

# What others may not be shown is not kept for them: by no cache that does not ask who they are.
_PRIVATE = [(b"cache-control", b"private"), (b"vary", b"Authorization")]


class Passage:
    """One request."""

    __slots__ = (
        "_audit",
        "access",
        "has_credentials",
        "is_public",
        "need",
        "pattern",
        "principal",
        "reason",
        "repository",
        "request",
        "rule",
    )

    def __init__(self, request: Request, audit: AuditLog | None) -> None:
        self.request = request
        self.pattern = UNKNOWN
        self.need: Need = OPEN
        self.principal: Principal = ANONYMOUS
        self.access: Access = OPEN_ACCESS
        self.has_credentials = False
        self.is_public = False
        self.repository: RepositoryName | None = None
        self.rule = ""
        self.reason = ""
        self._audit = audit

    def watch(self, send: Send, *, adds: bool) -> Send:
        """``send``, which notes what the response tells, and says to whom it may be shown.

        With ``adds``, whoever answers adds what is to be added by itself, which takes less time.
        """
        private = self.need.action is not None and self.request.method in _READING and not self.is_public
        if private and adds:
            self.request.added = _PRIVATE
            private = False
        if not private and not self._may_be_written():
            return send

        async def watched(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if private:
                    message["headers"] = [*message["headers"], *_PRIVATE]
                self._answered(message["status"], message["headers"])
            await send(message)

        return watched

    def refused(self, exc: Exception, status: int) -> None:
        """Write down that the gate did not let it through."""
        # That a client does not say who it is before it is asked is no event.
        asks = isinstance(exc, Unauthorized) and not self.has_credentials
        if not asks and status in (401, 403, 404, 429, 500, 503) and self.need is not OPEN:
            self._write("denial", status, reason=self.reason or str(exc))

    def _may_be_written(self) -> bool:
        if self._audit is None or self.need.action is None:
            return False
        return self._audit.pulls or self.request.method not in _READING

    def _answered(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if not self._may_be_written():
            return
        if status in (403, 429):
            access = self.access
            if isinstance(access, PrincipalAccess) and access.decided:
                self.rule = access.decided
            self._write("denial", status, reason="refused while it was served")
        elif status < 300 or status == _ELSEWHERE:
            kind = "pull" if self.request.method in _READING else "change"
            if kind == "change" and self._is_unseen(status):
                return
            digest = next((value.decode("ascii") for key, value in headers if key == b"docker-content-digest"), "")
            self._write(kind, status, digest=digest)

    def _is_unseen(self, status: int) -> bool:
        started = self.pattern == routes.UPLOADS and status == 202
        return started or (self.pattern, self.request.method) in _UNSEEN

    def _write(self, kind: str, status: int, reason: str = "", digest: str = "") -> None:
        if self._audit is None:
            return
        action = self.need.action
        reference = self.request.tail if self.pattern in _REFERRING else ""
        event = Event(
            kind,
            str(self.principal),
            self.request.client,
            status,
            action=str(action or ""),
            repository=self.repository or "",
            reference=reference,
            digest=digest,
            rule=self.rule,
            reason=reason,
        )
        event.more = {"method": self.request.method, "path": self.pattern}
        tags = self.request.query().get("tag") if self.pattern == routes.MANIFEST and kind == "change" else None
        if tags:
            event.more["tags"] = tags[:100]
        self._audit.write(event)
