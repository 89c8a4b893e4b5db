"""Uploads and mounts. Spec: end-4a, end-4b, end-4c, end-5, end-6, end-11, end-13, end-14."""

from ferro_oci_server.api import responses
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import DigestInvalid

__all__ = ["append", "cancel", "complete", "start", "status"]


async def start(state: AppState, request: Request) -> Response:
    """POST /v2/<name>/blobs/uploads/: start a session (end-4a, end-4c), push at once (end-4b) or mount (end-11).

    A mount that cannot be had starts a session: clients take any other answer for a failed push.
    """
    name = request.repository()
    mount = request.mount()
    if mount is not None:
        blob = await state.blobs.mount(name, *mount, request.access)
        if blob is not None:
            return responses.blob_created(request.root, name, blob)
    digest = request.parameter("digest")
    if digest is not None and mount is None:
        blob = await state.uploads.push(
            name, Digest.parse(digest), request.pieces(), request.announced, request.access.owner
        )
        return responses.blob_created(request.root, name, blob)
    algorithm = Algorithm.parse(request.parameter("digest-algorithm") or Algorithm.SHA256)
    session = await state.uploads.start(name, algorithm, request.access.owner)
    return responses.upload_accepted(request.root, session, state.uploads.chunk_min_length)


async def append(state: AppState, request: Request) -> Response:
    """PATCH /v2/<name>/blobs/uploads/<session> (end-5): a chunk with its range, or a stream without one."""
    session = await state.uploads.append(
        request.repository(),
        request.upload(),
        request.pieces(),
        request.content_range(),
        request.announced,
        request.access.owner,
    )
    return responses.upload_accepted(request.root, session, state.uploads.chunk_min_length)


async def complete(state: AppState, request: Request) -> Response:
    """PUT /v2/<name>/blobs/uploads/<session>?digest=<digest> (end-6), with or without the last chunk."""
    name, upload, digest = request.repository(), request.upload(), request.parameter("digest")
    if digest is None:
        raise DigestInvalid("a closing PUT names the digest")
    blob = await state.uploads.complete(
        name,
        upload,
        Digest.parse(digest),
        request.pieces(),
        request.content_range(),
        request.announced,
        request.access.owner,
    )
    return responses.blob_created(request.root, name, blob)


async def status(state: AppState, request: Request) -> Response:
    """GET /v2/<name>/blobs/uploads/<session> (end-13)."""
    session = await state.uploads.status(request.repository(), request.upload(), request.access.owner)
    return responses.upload_status(request.root, session)


async def cancel(state: AppState, request: Request) -> Response:
    """DELETE /v2/<name>/blobs/uploads/<session> (end-14)."""
    await state.uploads.cancel(request.repository(), request.upload(), request.access.owner)
    return responses.upload_cancelled()
