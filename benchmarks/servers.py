"""What a server takes for a request, whatever the application: ``scripts/server-figures``.

All of them answer the same from memory, as large as a manifest, in one process.
"""

import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from granian.constants import HTTPModes, Interfaces, Loops
from granian.server import Server

from ferro_oci_server.http1.worker import run_worker
from support.process import daemon, free_port, listens

from .documents import write_figures
from .load import Load
from .processes import cpu_seconds

_CONNECTIONS, _ROUNDS, _SECONDS = 32, 5, 1.5
_BODY = b"m" * 500
_HEADERS = [
    (b"content-type", b"application/vnd.oci.image.manifest.v1+json"),
    (b"content-length", b"%d" % len(_BODY)),
    (b"docker-content-digest", b"sha256:" + b"0" * 64),
    (b"etag", b'"sha256:%b"' % (b"0" * 64)),
]

Message = MutableMapping[str, Any]


async def _application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def _ours(port: int) -> None:
    run_worker(lambda: _application, "127.0.0.1", port, head_seconds=30, max_connections=1000)


def _granian(port: int) -> None:
    options = {"interface": Interfaces.ASGI, "http": HTTPModes.http1, "loop": Loops.uvloop, "websockets": False}
    server = Server("", address="127.0.0.1", port=port, log_enabled=False, **options)  # type: ignore[arg-type]
    server.serve(target_loader=lambda: _application, wrap_loader=False)


def _uvicorn(port: int) -> None:
    uvicorn.run(_application, port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


_SERVERS = {"ours (httptools, uvloop)": _ours, "uvicorn (httptools, uvloop)": _uvicorn, "granian (uvloop)": _granian}


@contextmanager
def _serving(name: str, log: Path) -> Iterator[tuple[str, int]]:
    """Its address, and its process."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.servers", name, str(port)]
    with daemon(command, dict(os.environ), log, lambda: listens(f"127.0.0.1:{port}")) as process:
        yield f"127.0.0.1:{port}", process.pid


def _round(load: Load, address: str, pid: int) -> tuple[float, float]:
    """Requests a second, and microseconds of processor time for each."""
    job = {"method": "GET", "path": "/v2/team/app/manifests/v1", "count": 1, "connections": _CONNECTIONS}
    job |= {"address": address, "expect": [200]}
    load.run("requests", {**job, "warmup": 0.0, "seconds": 0.4})
    before = cpu_seconds(pid)
    outcome = load.run("requests", {**job, "warmup": 0.0, "seconds": _SECONDS})
    return outcome.rate, (cpu_seconds(pid) - before) / outcome.done * 1e6


def _measure(folder: Path) -> str:
    load = Load(folder)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in _SERVERS}
    for _ in range(_ROUNDS):
        for name, rounds in found.items():
            with _serving(name, folder / "log") as (address, pid):
                rounds.append(_round(load, address, pid))
    lines = ["| server | requests/s | us of processor time for each | |\n|---|--:|--:|---|\n"]
    for name, rounds in found.items():
        rates, costs = zip(*rounds, strict=True)
        spread = f"{min(costs):.1f} to {max(costs):.1f}"
        lines.append(f"| {name} | {statistics.median(rates):,.0f} | {statistics.median(costs):.1f} | {spread} |\n")
    lines.append(f"\nPython {platform.python_version()}, {_CONNECTIONS} connections, medians of {_ROUNDS} rounds.\n")
    return "".join(lines)


def main() -> None:
    """Measure, and write it down; or serve, where a server and a port are named."""
    if sys.argv[1:]:
        _SERVERS[sys.argv[1]](int(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(prefix="ferro-servers-") as folder:
        found = _measure(Path(folder))
    write_figures("performance.md", "scripts/server-figures", found)


if __name__ == "__main__":
    main()
