"""Damages the bytes of blobs behind the back of a registry, on every pair of stores."""

import asyncio
from typing import Any

from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.backends.blob.segments import folder_of
from ferro_oci_server.core.records import Blob
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from support.damage import Damage, damage_file


async def blob_of(state: AppState, digest: Digest) -> Blob:
    """What is recorded of a blob."""
    meta: Any = state._registry_meta
    inspected = await meta.inspect_blob(digest)
    assert inspected is not None
    return inspected.blob  # type: ignore[no-any-return]


async def damage_at(state: AppState, location: str, damage: Damage) -> None:
    """Damage what is at a location."""
    store: Any = state._blob_store
    if isinstance(store, ObjectBlobStore):
        await _damage_object(store, location, damage)
        return
    folder_or_blobs = store._blobs
    if not isinstance(folder_or_blobs, dict):
        await asyncio.to_thread(damage_file, folder_or_blobs.path / location, damage)
        return
    content = damage(folder_or_blobs[location])
    if content is None:
        del folder_or_blobs[location]
    else:
        folder_or_blobs[location] = content


async def _damage_object(store: ObjectBlobStore, location: str, damage: Damage) -> None:
    """Damage the only segment of a blob."""
    upload = location.partition("/")[0]
    (key,) = [stat.key async for stat in store._bucket.list(folder_of(upload))]
    content = damage(await store._bucket.get(key))
    await store._bucket.delete([key])
    if content is not None:
        await store._bucket.put(key, [content])


async def damage_blob(state: AppState, digest: Digest, damage: Damage) -> None:
    """Damage a blob."""
    await damage_at(state, (await blob_of(state, digest)).location, damage)
