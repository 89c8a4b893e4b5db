"""The version check. Spec: end-1."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState

__all__ = ["check"]


async def check(state: AppState, request: Request) -> Response:
    """GET /v2/ (end-1). A challenge is the business of middleware above."""
    return responses.json_response(200, {})
