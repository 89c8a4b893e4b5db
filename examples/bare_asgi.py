"""A registry as a bare ASGI application: ``uvicorn examples.bare_asgi:app`` or ``granian --interface asgi ...``."""

from ferro_oci_server import AppState, InMemoryBlobStore, InMemoryRegistryMeta, probe_routes, router

state = AppState(InMemoryBlobStore(), InMemoryRegistryMeta())
app = router(state).merge(probe_routes())
