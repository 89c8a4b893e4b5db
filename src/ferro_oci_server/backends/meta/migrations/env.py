"""Read by Alembic, for ``run`` or for ``write``. Logging is left as it is."""

from alembic import context
from sqlalchemy import Connection

from ferro_oci_server.backends.meta.schema import metadata

if context.is_offline_mode():
    # PostgreSQL is given the steps as text, in a transaction of the caller's, which has a driver that Alembic has not.
    context.configure(dialect_name="postgresql", target_metadata=metadata, transactional_ddl=False)
else:
    _connection = context.config.attributes["connection"]
    if not isinstance(_connection, Connection):
        raise TypeError("migrations run on the connection of the store that needs them")
    # SQLite can change little of a table in place; a batch copies it instead.
    context.configure(connection=_connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
