"""The audit log: who changed what, who was refused what, and, when asked, who pulled what.

Events go to ``logging`` under one name, so that an application decides where they are kept and in which form. What a
client may have typed in the wrong place is never among them: no header, no password, no name that nobody has.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

__all__ = ["AUDIT", "AuditLog", "Event"]

AUDIT = "ferro_oci_server.audit"
"""The name that events are logged under."""

_log = logging.getLogger(AUDIT)

# A client's text may be long and may hold anything; a formatter for JSON escapes it.
_MAX_TEXT = 256


@dataclass(slots=True)
class Event:
    """What happened; empty fields are left out."""

    kind: str
    """``change``, ``denial``, ``pull`` or ``token``."""
    principal: str
    address: str
    status: int
    action: str = ""
    repository: str = ""
    reference: str = ""
    digest: str = ""
    rule: str = ""
    reason: str = ""
    more: dict[str, Any] = field(default_factory=dict)


class AuditLog:
    """Writes events."""

    def __init__(self, *, pulls: bool = False) -> None:
        """``pulls`` says whether these are wanted, too: there may be many."""
        self.pulls = pulls

    def write(self, event: Event) -> None:
        """Write one event."""
        fields: dict[str, Any] = {"event": event.kind, "principal": event.principal[:_MAX_TEXT]}
        for name in ("address", "action", "repository", "reference", "digest", "status", "rule", "reason"):
            value = getattr(event, name)
            if value:
                fields[name] = value[:_MAX_TEXT] if isinstance(value, str) else value
        _log.info("audit", extra={**fields, **event.more})
