"""HTTP/1.1 for an ASGI application: what reads requests off a socket and writes responses to it."""
