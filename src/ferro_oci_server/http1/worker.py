"""A worker process that serves an application over HTTP/1.1 until it is told to end."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvloop

from ferro_oci_server.http1.cycle import Application, Message
from ferro_oci_server.http1.server import Http1Server, listen

__all__ = ["run_worker"]


def run_worker(
    load: Callable[[], Application], host: str, port: int, *, head_seconds: float, max_connections: int
) -> None:
    """Serve until SIGTERM or SIGINT, and then until all running requests are answered.

    Raises:
        OSError: the address cannot be had.
    """
    application = load()

    async def serve() -> None:
        loop, ends = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ends.set)
        async with _alive(application):
            server = Http1Server(
                application, listen(host, port), head_seconds=head_seconds, max_connections=max_connections
            )
            await ends.wait()
            await server.stop()

    uvloop.run(serve())


@asynccontextmanager
async def _alive(application: Application) -> AsyncIterator[None]:
    """Let an application start before the block, and end behind it. Spec: ASGI 3.0, lifespan.

    Raises:
        RuntimeError: it does not start.
    """
    told: asyncio.Queue[Message] = asyncio.Queue()
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            started.set_result(None)

    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
    life = asyncio.ensure_future(application(scope, told.get, send))
    told.put_nowait({"type": "lifespan.startup"})
    await asyncio.wait([life, started], return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        await life
        raise RuntimeError("the application has not started")
    try:
        yield
    finally:
        told.put_nowait({"type": "lifespan.shutdown"})
        await life
