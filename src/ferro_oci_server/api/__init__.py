"""How HTTP carries a registry: a plain ASGI application, from a table of routes and thin handlers."""
