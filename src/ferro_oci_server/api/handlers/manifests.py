"""Manifests. Spec: end-3, end-7a, end-7b, end-9."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.errors import RequestInvalid
from ferro_oci_server.oci.reference import Tag

__all__ = ["delete", "get", "head", "put"]


async def get(state: AppState, request: Request) -> Response:
    """GET /v2/<name>/manifests/<reference> (end-3). Whatever the client accepts, it gets what was pushed."""
    stored = await state.manifests.get(request.repository(), request.reference())
    if request.has_content(stored.digest):
        return responses.not_modified(stored.digest)
    return responses.manifest(stored)


async def head(state: AppState, request: Request) -> Response:
    """HEAD /v2/<name>/manifests/<reference> (end-3)."""
    info = await state.manifests.stat(request.repository(), request.reference())
    if request.has_content(info.digest):
        return responses.not_modified(info.digest)
    return responses.manifest_info(info)


async def put(state: AppState, request: Request) -> Response:
    """PUT /v2/<name>/manifests/<reference> (end-7a), with ``tag=`` beside a digest (end-7b)."""
    name, reference, tags = request.repository(), request.reference(), request.tags()
    if tags and isinstance(reference, Tag):
        raise RequestInvalid("tag= goes with a digest")
    record = await state.manifests.put(
        name,
        reference,
        await request.manifest(),
        request.content_type(),
        tags=tags,
        condition=request.condition(),
        access=request.access,
    )
    return responses.manifest_created(request.root, name, reference, record, tags)


async def delete(state: AppState, request: Request) -> Response:
    """DELETE /v2/<name>/manifests/<reference> (end-9): a tag alone, or a manifest with its tags."""
    await state.manifests.delete(request.repository(), request.reference())
    return responses.deleted()
