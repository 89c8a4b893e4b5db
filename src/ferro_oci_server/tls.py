"""TLS: certificates in files, taken anew when they change, by new workers that take over from the old ones.

The server reads certificates when a worker starts. So when they change, and the new ones fit together, workers are
replaced as on SIGHUP: new ones begin to serve, and the old ones end what they are at.
"""

import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from granian.constants import HTTPModes, SSLProtocols
from granian.http import HTTP2Settings

from ferro_oci_server.config import Config, ConfigError

__all__ = ["CertificateWatch", "check_tls", "tls_options"]

_log = logging.getLogger("ferro_oci_server")

_INTERVAL = 2.0

# No client has heads near these; the server holds so much of each stream before we see it.
_MAX_HEAD = 64 * 1024
_MAX_STREAMS = 100


def check_tls(config: Config) -> None:
    """See that the certificate, its key and the authority fit together.

    Raises:
        ConfigError: they do not.
    """
    if (config.tls_cert is None) != (config.tls_key is None):
        raise ConfigError(["tls_cert and tls_key: set both, or neither"])
    if config.tls_client_ca is not None and config.tls_cert is None:
        raise ConfigError(["tls_client_ca: set tls_cert and tls_key, too"])
    problem = _problem(config)
    if problem:
        raise ConfigError([problem])


def tls_options(config: Config) -> dict[str, Any]:
    """What the server is told of TLS. Clients of HTTP/2 find it by TLS alone, so there is none without."""
    if config.tls_cert is None:
        return {"http": HTTPModes.http1}
    return {
        "http": HTTPModes.auto,
        "http2_settings": HTTP2Settings(max_headers_size=_MAX_HEAD, max_concurrent_streams=_MAX_STREAMS),
        "ssl_cert": config.tls_cert,
        "ssl_key": config.tls_key,
        "ssl_protocol_min": SSLProtocols.tls12,
        "ssl_ca": config.tls_client_ca,
        "ssl_client_verify": config.tls_client_ca is not None,
    }


class CertificateWatch:
    """Looks at the files as long as the block lasts, and calls ``changed`` when they are others that fit together."""

    def __init__(self, config: Config, changed: Callable[[], Any]) -> None:
        self._config = config
        self._changed = changed
        self._paths = [path for path in (config.tls_cert, config.tls_key, config.tls_client_ca) if path is not None]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="certificates", daemon=True)
        self._seen = _looks(self._paths)

    def __enter__(self) -> Self:
        if self._paths:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        if self._paths:
            self._thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(_INTERVAL):
            looks = _looks(self._paths)
            if looks == self._seen:
                continue
            self._seen = looks
            # One of two may have been written; then the other follows, and is seen.
            problem = _problem(self._config)
            if problem:
                _log.error("certificates were not taken, those from before count", extra={"problem": problem})
            else:
                _log.info("certificates have changed: new workers take over")
                self._changed()


def _problem(config: Config) -> str:
    """What is wrong with the files; empty if nothing is."""
    if config.tls_cert is None or config.tls_key is None:
        return ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, _no_password)
    except (OSError, ValueError) as exc:
        return f"tls_cert and tls_key: {exc}"
    try:
        if config.tls_client_ca is not None:
            context.load_verify_locations(config.tls_client_ca)
    except OSError as exc:
        return f"tls_client_ca: {exc}"
    return ""


def _no_password() -> str:
    # Otherwise OpenSSL would ask the terminal.
    raise ValueError("the key has a password")


def _looks(paths: list[Path]) -> list[object]:
    looks: list[object] = []
    for path in paths:
        try:
            found = path.stat()
        except OSError as exc:
            looks.append(str(exc))
        else:
            looks.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    return looks
