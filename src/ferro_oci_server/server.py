"""The composition root: the only module that names concrete backends, and the one that starts processes.

    serve -- checks that the storage can be opened -- granian -- worker: http1, build_app -> Router on its own AppState
                                                           +-- worker: ...

A worker has its own connections and threads, and nothing of another's but the storage folder.
"""

import asyncio
import logging
import logging.config
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from ferro_oci_server.api.access_log import AccessLog
from ferro_oci_server.api.app import router
from ferro_oci_server.api.exchange import Observer
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.api.metrics import metrics_routes
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.auth.audit import AUDIT
from ferro_oci_server.auth.gate import App
from ferro_oci_server.auth.proxies import TrustedProxies
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.blob.folders import make_folder
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.blob.threads import as_unavailable
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.backends.meta.sqlite_connection import DATABASE
from ferro_oci_server.config import Config
from ferro_oci_server.core.collector import Grace
from ferro_oci_server.core.ports import BlobStore, RegistryMeta
from ferro_oci_server.core.quota import Quota
from ferro_oci_server.core.scrubber import Scrub
from ferro_oci_server.core.state import AppState
from ferro_oci_server.silence import Silence
from ferro_oci_server.tls import CertificateWatch, check_tls, tls_options
from ferro_oci_server.worker import Worker, allow_most_files, bind_children

__all__ = ["build_app", "limits_of", "open_state", "quota_of", "serve"]

_MEBIBYTE = 1024 * 1024

# What the server reads of a connection at once, and hands over as a piece of a body. Each of a hundred uploads holds
# some of them: with the library's own 400 KiB they hold 40 MB more, and are no faster.
_BUFFER = 128 * 1024

# Where a folder is memory, so that several workers can share what one would keep in its own.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108

_log = logging.getLogger("ferro_oci_server")


def open_state(config: Config) -> AppState:
    """Open the stores that the settings name: for blobs and for all else, each of its own kind.

    Raises:
        StoreError: the folder cannot be used, or was written by a later version.
    """
    blobs, meta = _open_blobs(config), _open_meta(config)
    grace = Grace(
        link=config.blob_grace,
        manifest=config.manifest_grace,
        upload=config.upload_grace,
        trash=config.trash_grace,
        tick=config.collection_interval,
    )
    # The workers share the cycle, and the rate.
    scrub = Scrub(rate=config.scrub_rate * _MEBIBYTE / config.workers, interval=config.scrub_interval)
    return AppState(
        blobs,
        meta,
        missing_references=config.missing_references,
        grace=grace,
        scrub=scrub,
        quota=quota_of(config),
    )


def _open_blobs(config: Config) -> BlobStore:
    if config.storage_url is not None:
        # Its library is for those who use it.
        from ferro_oci_server.backends.blob.object_store import ObjectBlobStore  # noqa: PLC0415

        return ObjectBlobStore.from_url(config.storage_url)
    return InMemoryBlobStore() if config.storage_dir is None else FsBlobStore(config.storage_dir)


def _open_meta(config: Config) -> RegistryMeta:
    if config.database_url is not None:
        # Its driver is for those who use it.
        from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta  # noqa: PLC0415

        return PostgresRegistryMeta(config.database_url, connections=config.database_connections)
    if config.storage_dir is None:
        return InMemoryRegistryMeta()
    # Beside a bucket nobody else makes it.
    as_unavailable(make_folder, config.storage_dir)
    return SqliteRegistryMeta(config.storage_dir / DATABASE)


def build_app(config: Config, observers: Iterable[Observer] = ()) -> App:
    """The application that the command serves: the API, the probes, and metrics where wanted, behind its gate.

    Raises:
        FileProblem: a file that says who may log in, or who may do what, cannot be read or makes no sense.
    """
    state, limits = open_state(config), limits_of(config)
    app = router(state, observers=observers, limits=limits).merge(probe_routes())
    if config.metrics:
        app = app.merge(metrics_routes())
    guarded: App = app
    if config.is_guarded:
        # Libraries for keys and tokens are for those who use them.
        from ferro_oci_server.auth.assembly import gate  # noqa: PLC0415

        guarded = gate(app, state, config, limits, app.observers)
    if not config.trusted_proxies:
        return guarded
    return TrustedProxies(guarded, config.trusted_proxies, certificates=config.proxy_certificates)


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT; running requests may then go on for ``shutdown_seconds``.

    Raises:
        ConfigError: a file that the settings name makes no sense; nothing was served.
        StoreError: the storage cannot be opened; nothing was served.
    """
    if config.is_guarded:
        from ferro_oci_server.auth.assembly import check  # noqa: PLC0415

        check(config)
    check_tls(config)
    logging.config.dictConfig(_logging(config))
    with _shared_folders(config) as shared:
        _warn(config)
        asyncio.run(_prepare(shared))
        server = Server(
            "ferro_oci_server",
            address=config.listen.host,
            port=config.listen.port,
            interface=Interfaces.ASGI,
            workers=config.workers,
            websockets=False,
            backpressure=config.max_connections,
            http1_settings=HTTP1Settings(header_read_timeout=config.header_seconds * 1000, max_buffer_size=_BUFFER),
            log_level=LogLevels(config.log_level),
            log_dictconfig=_logging(config),
            workers_kill_timeout=config.shutdown_seconds,
            # A worker that dies is replaced while others serve. One that dies again and again at once ends the command.
            respawn_failed_workers=True,
            **tls_options(config),
        )
        bind_children()
        with CertificateWatch(config, server.signal_handler_reload):
            server.serve(_worker(shared), target_loader=partial(_load, shared), wrap_loader=False)


def _worker(config: Config) -> Callable[..., None] | None:
    """What a worker process runs: without TLS, our own HTTP/1.1; else granian's, which speaks HTTP/2, too."""
    return partial(_serve_plainly, config) if config.tls_cert is None else None


def _serve_plainly(config: Config, *_: object) -> None:
    # Its library is for those who use it.
    from ferro_oci_server.http1.worker import run_worker  # noqa: PLC0415

    run_worker(
        partial(_load, config),
        config.listen.host,
        config.listen.port,
        head_seconds=config.header_seconds,
        max_connections=config.max_connections,
    )


def limits_of(config: Config) -> Limits:
    """The settings that are the application's: they have the names of its limits."""
    return Limits(**{limit.name: getattr(config, limit.name) for limit in fields(Limits)})


def quota_of(config: Config) -> Quota:
    """The settings that are the registry's, likewise."""
    return Quota(**{limit.name: getattr(config, limit.name) for limit in fields(Quota)})


def _load(config: Config) -> Worker:
    """Build the application in a worker that was just forked."""
    allow_most_files()
    # At the level of its lines, like any other log.
    is_logged = config.access_log and config.log_level in ("debug", "info")
    access_log = AccessLog(sys.stderr.fileno()) if is_logged else None
    app = build_app(config, [access_log] if access_log else [])
    if config.tls_cert is not None:
        app = Silence(app, config.listen.port, config.header_seconds)
    return Worker(app, config.response_idle_seconds, access_log)


async def _prepare(config: Config) -> None:
    """Bring the storage up to date once, before workers need it, and find out here what would stop them all."""
    async with open_state(config) as state:
        # Files are open by now. A server is reached, and gets its tables, when it is first asked.
        await state.count_uploads()


@contextmanager
def _shared_folders(config: Config) -> Iterator[Config]:
    """Give several workers what they must share besides the storage, for as long as they run.

    A worker that takes over when certificates change is another one, too.
    """
    if config.workers == 1 and (config.tls_cert is None or config.is_kept):
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="ferro-oci-metrics-") as metrics:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        if config.is_kept:
            yield config
            return
        memory = Path(tempfile.mkdtemp(prefix="ferro-oci-", dir=_SHARED_MEMORY))
        try:
            yield replace(config, storage_dir=memory)
        finally:
            shutil.rmtree(memory, ignore_errors=True)


def _warn(config: Config) -> None:
    if not config.is_kept:
        _log.warning("FERRO_OCI_STORAGE_DIR is not set: everything is kept in memory, and lost at the end")
    if _is_loopback(config.listen.host):
        return
    if not config.is_guarded:
        _log.warning(
            "EVERYBODY MAY PULL, PUSH AND DELETE EVERYTHING: others can reach this address, and nobody must "
            "log in; set FERRO_OCI_HTPASSWD or FERRO_OCI_POLICY"
        )
    elif config.tls_cert is None:
        _log.warning(
            "PASSWORDS AND TOKENS ARE SENT IN PLAIN TEXT: others can reach this address, and there is no TLS; "
            "set FERRO_OCI_TLS_CERT and FERRO_OCI_TLS_KEY, or put a proxy that has it before this registry"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _logging(config: Config) -> dict[str, Any]:
    """Lines of JSON on standard error, the server's own among them; the audit log where it is wanted."""
    handlers: dict[str, Any] = {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}}
    loggers: dict[str, Any] = {"_granian": {"level": config.log_level.upper()}}
    if config.audit_log is not None:
        # Whatever else is logged, this is.
        loggers[AUDIT] = {"level": "INFO", "handlers": ["audit"], "propagate": False}
        handlers["audit"] = dict(handlers["stderr"])
        if config.audit_log != "-":
            # One that is moved away is made anew.
            handlers["audit"] = {
                "class": "logging.handlers.WatchedFileHandler",
                "filename": config.audit_log,
                "formatter": "json",
            }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "%(levelname)s %(name)s %(message)s",
                "rename_fields": {"levelname": "level", "name": "logger"},
                "timestamp": "time",
            }
        },
        "handlers": handlers,
        "loggers": loggers,
        "root": {"level": config.log_level.upper(), "handlers": ["stderr"]},
    }
