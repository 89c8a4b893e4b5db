"""An OCI container registry to embed in any ASGI application and to run with one command.

OCI Distribution Spec v1.1 and the Docker Registry HTTP API v2.

    from ferro_oci_server import AppState, InMemoryBlobStore, InMemoryRegistryMeta, probe_routes, router

    state = AppState(InMemoryBlobStore(), InMemoryRegistryMeta())
    app = router(state).merge(probe_routes())

``app`` is a plain ASGI application: serve it with granian or uvicorn, or mount it at the root of another. It is open to
everybody; authentication is middleware above it. Your own stores implement ``BlobStore`` and ``RegistryMeta``, and pass
the suites in ``ferro_oci_server.testing``. A ``RegistryMeta`` that is ``Reviews``, ``Inspection`` or ``Usage`` besides
is collected, verified or limited.
"""

from typing import TYPE_CHECKING, Any

from ferro_oci_server.api.app import Router, router
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.api.requests import MAX_BODY_BYTES
from ferro_oci_server.core.collector import Grace
from ferro_oci_server.core.inspection import Inspection
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import (
    BlobReader,
    BlobStore,
    LinkedBlobs,
    RegistryMeta,
    Reviews,
    StagedBytesMissing,
    StagedUpload,
    StoreCorrupted,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UploadBusy,
)
from ferro_oci_server.core.quota import Quota, Resource, Usage
from ferro_oci_server.core.records import (
    Blob,
    Condition,
    ManifestInfo,
    ManifestRecord,
    StagedBytes,
    StoredManifest,
    UploadId,
    UploadSession,
)
from ferro_oci_server.core.scrubber import Scrub
from ferro_oci_server.core.state import PACKAGE_NAME, AppState
from ferro_oci_server.oci.descriptor import Descriptor
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import OciError, OciErrorCode
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Reference, Tag

if TYPE_CHECKING:
    from ferro_oci_server.api.metrics import metrics_routes
    from ferro_oci_server.backends.blob.filesystem import FsBlobStore
    from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
    from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
    from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
    from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta
    from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta

__version__ = "0.1.0"

__all__ = [
    "MAX_BODY_BYTES",
    "PACKAGE_NAME",
    "Algorithm",
    "AppState",
    "Blob",
    "BlobReader",
    "BlobStore",
    "Condition",
    "Descriptor",
    "Digest",
    "FsBlobStore",
    "Grace",
    "InMemoryBlobStore",
    "InMemoryRegistryMeta",
    "Inspection",
    "Limits",
    "LinkedBlobs",
    "ManifestInfo",
    "ManifestRecord",
    "MissingReferences",
    "ObjectBlobStore",
    "OciError",
    "OciErrorCode",
    "PostgresRegistryMeta",
    "Quota",
    "Reference",
    "RegistryMeta",
    "RepositoryName",
    "Resource",
    "Reviews",
    "Router",
    "Scrub",
    "SqliteRegistryMeta",
    "StagedBytes",
    "StagedBytesMissing",
    "StagedUpload",
    "StoreCorrupted",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "StoredManifest",
    "Tag",
    "UploadBusy",
    "UploadId",
    "UploadSession",
    "Usage",
    "metrics_routes",
    "probe_routes",
    "router",
]

# Each of these brings libraries along, and nobody uses all of them.
_LAZY = {
    "FsBlobStore": "ferro_oci_server.backends.blob.filesystem",
    "InMemoryBlobStore": "ferro_oci_server.backends.blob.memory",
    "InMemoryRegistryMeta": "ferro_oci_server.backends.meta.memory",
    "ObjectBlobStore": "ferro_oci_server.backends.blob.object_store",
    "PostgresRegistryMeta": "ferro_oci_server.backends.meta.postgres",
    "SqliteRegistryMeta": "ferro_oci_server.backends.meta.sqlite",
    "metrics_routes": "ferro_oci_server.api.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_LAZY[name]), name)
