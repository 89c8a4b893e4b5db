"""Lists of tags. Spec: end-8a, end-8b."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState

__all__ = ["list_tags"]


async def list_tags(state: AppState, request: Request) -> Response:
    """GET /v2/<name>/tags/list (end-8a, end-8b)."""
    name = request.repository()
    last, n = request.page()
    page = await state.tags.list(name, last, n)
    return responses.tags(request.root, name, page.entries, page.more, n)
