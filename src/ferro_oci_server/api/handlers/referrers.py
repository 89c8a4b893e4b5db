"""Lists of referrers. Spec: end-12a, end-12b."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState

__all__ = ["list_referrers"]

# A referrer brings its annotations along, so a page of them is shorter than one of names.
_MAX_PAGE = 100


async def list_referrers(state: AppState, request: Request) -> Response:
    """GET /v2/<name>/referrers/<digest> (end-12a, end-12b)."""
    name, subject = request.repository(), request.digest()
    last, n = request.page()
    n = min(n, _MAX_PAGE)
    artifact_type = request.parameter("artifactType") or None
    page = await state.referrers.list(name, subject, artifact_type, last, n)
    return responses.referrers(request.root, (name, subject), page.entries, page.more, n, artifact_type)
