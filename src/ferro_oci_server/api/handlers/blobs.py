"""Blobs. Spec: end-2, end-10."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.redirects import link_of
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.ranges import ByteRange

__all__ = ["delete", "get", "head"]


async def get(state: AppState, request: Request) -> Response:
    """GET /v2/<name>/blobs/<digest> (end-2), whole or one range of it: the bytes, or where they are."""
    blob = await state.blobs.stat(request.repository(), request.digest())
    if request.has_content(blob.digest):
        return responses.not_modified(blob.digest)
    byte_range = request.byte_range(blob.digest, blob.size)
    if (link := await link_of(state, request, blob)) is not None:
        return responses.blob_elsewhere(blob.digest, link)
    part = byte_range or ByteRange(0, blob.size)
    return responses.blob(blob.digest, await state.blobs.begin(blob, part), byte_range)


async def head(state: AppState, request: Request) -> Response:
    """HEAD /v2/<name>/blobs/<digest> (end-2). Never opens the blob's bytes."""
    blob = await state.blobs.stat(request.repository(), request.digest(), lease=True)
    if request.has_content(blob.digest):
        return responses.not_modified(blob.digest)
    return responses.blob_info(blob)


async def delete(state: AppState, request: Request) -> Response:
    """DELETE /v2/<name>/blobs/<digest> (end-10): in this repository."""
    await state.blobs.delete(request.repository(), request.digest())
    return responses.deleted()
