"""The access log: a line a request.

``log_exchange`` goes through ``logging``, so that an application decides its form and place. The command needs neither,
and at tens of thousands of requests a second ``logging`` would take more time than the requests: ``AccessLog`` makes
the same lines itself, and writes many at once.
"""

import asyncio
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _quoted

from ferro_oci_server.api.exchange import Exchange

__all__ = ["AccessLog", "log_exchange"]

_log = logging.getLogger("ferro_oci_server.access")

# A client's text may be long and may hold anything; JSON escapes it.
_MAX_TEXT = 256

# As long as this, lines are gathered: what a worker that is killed has not yet written.
_DELAY = 0.05
# Who reads the log may have stopped. Then lines are lost, and not the registry.
_MAX_LINES = 50_000


def log_exchange(exchange: Exchange) -> None:
    """Log one exchange: what was asked, what was answered, and how many bytes went which way."""
    if _log.isEnabledFor(logging.INFO):
        _log.info("request", extra=_fields(exchange))


class AccessLog:
    """Writes exchanges to a file as lines of JSON, in a thread. Used by one event loop."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[str] = []
        self._lost = 0
        self._writing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, exchange: Exchange) -> None:
        """Log one exchange."""
        if len(self._lines) >= _MAX_LINES:
            self._lost += 1
            return
        texts = ",".join(
            f'"{name}":{_quoted(value) if isinstance(value, str) else _plain(value)}'
            for name, value in _fields(exchange).items()
        )
        self._lines.append(f"{_head('INFO', 'request')},{texts}}}\n")
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self._write)

    async def close(self) -> None:
        """Write what is left; the last call."""
        while self._lines or self._writing is not None:
            if self._writing is None:
                self._write()
            elif not self._writing.done():
                await asyncio.wait([self._writing])
            else:
                await asyncio.sleep(0)

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lost:
            self._lines.append(f'{_head("WARNING", "lines were lost")},"lines":{self._lost}}}\n')
        content = "".join(self._lines).encode("ascii")
        self._lines, self._lost = [], 0
        self._writing = asyncio.get_running_loop().run_in_executor(None, _write_all, self._fd, content)
        self._writing.add_done_callback(self._go_on)

    def _go_on(self, _: object) -> None:
        self._writing = None
        if self._lines:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self._write)


def _write_all(fd: int, content: bytes) -> None:
    # Nobody is left to be told of what goes wrong here.
    with suppress(OSError):
        while content:
            content = content[os.write(fd, content) :]


def _head(level: str, message: str) -> str:
    return f'{{"time":"{datetime.now(UTC).isoformat()}","level":"{level}","logger":"{_log.name}","message":"{message}"'


def _fields(exchange: Exchange) -> dict[str, str | int | float]:
    request = exchange.request
    fields: dict[str, str | int | float] = {
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
    return fields


def _plain(value: float) -> str:
    return "true" if value is True else str(value)
