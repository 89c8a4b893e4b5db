"""A registry inside a FastAPI service, beside the service's own routes.

Clients look for ``/v2/`` at the root of the host, so the registry is mounted there, last: what no route before it takes
is the registry's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from ferro_oci_server import AppState, FsBlobStore, SqliteRegistryMeta, router


def create_app(folder: Path) -> FastAPI:
    """A service whose images stay in ``folder``."""
    state = AppState(FsBlobStore(folder), SqliteRegistryMeta(folder / "registry.db"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A mounted application is not told when the server stops: the service closes what it opened.
        async with state:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/deployments")
    async def deployments() -> list[str]:
        """A route of the service's own, which reads the registry it lives with."""
        page = await state.catalog.list(after="", limit=100)
        return list(page.entries)

    app.mount("/", router(state))
    return app
