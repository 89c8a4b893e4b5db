"""The access log: a line a request, through ``logging``, so that the application decides its form and place."""

import logging

from ferro_oci_server.api.exchange import Exchange

__all__ = ["log_exchange"]

_log = logging.getLogger("ferro_oci_server.access")

# A client's text may be long and may hold anything; a formatter for JSON escapes it.
_MAX_TEXT = 256


def log_exchange(exchange: Exchange) -> None:
    """Log one exchange: what was asked, what was answered, and how many bytes went which way."""
    if not _log.isEnabledFor(logging.INFO):
        return
    request = exchange.request
    fields = {
        "method": request.method[:_MAX_TEXT],
        "path": request.path[:_MAX_TEXT],
        "status": exchange.status,
        "milliseconds": round(exchange.seconds * 1000, 2),
        "received": request.received,
        "sent": exchange.sent,
        "client": request.client,
        "agent": (request.header(b"user-agent") or "")[:_MAX_TEXT],
    }
    if exchange.reference:
        fields["reference"] = exchange.reference
    if exchange.vanished:
        fields["vanished"] = True
    _log.info("request", extra=fields)
