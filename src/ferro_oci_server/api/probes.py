"""Health probes, as Kubernetes asks for them."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.app import Router
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.api.routes import Route
from ferro_oci_server.core.state import AppState

__all__ = ["probe_routes"]


async def _live(state: AppState, request: Request) -> Response:
    """GET /live and /healthz: the process answers."""
    return responses.text(200, b"ok\n")


async def _ready(state: AppState, request: Request) -> Response:
    """GET /ready: both stores answer; 503 where one does not."""
    await state.check()
    return responses.text(200, b"ready\n")


def probe_routes() -> Router:
    """``/live``, ``/healthz`` and ``/ready``, to merge into a ``router``."""
    table = [("/live", _live), ("/healthz", _live), ("/ready", _ready)]
    return Router(Route(path, method, probe) for path, probe in table for method in ("GET", "HEAD"))
