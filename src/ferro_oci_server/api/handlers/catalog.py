"""The catalog. Spec: Docker Registry HTTP API v2."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState

__all__ = ["list_repositories"]


async def list_repositories(state: AppState, request: Request) -> Response:
    """GET /v2/_catalog."""
    last, n = request.page()
    page = await state.catalog.list(last, n, request.access)
    return responses.catalog(request.root, page.entries, page.more, n)
