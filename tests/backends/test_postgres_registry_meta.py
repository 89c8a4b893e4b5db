"""The metadata store in PostgreSQL: the common behaviours, and what is true of servers only."""

import pytest

from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta
from ferro_oci_server.testing.registry_meta import OpenMeta, PersistentRegistryMetaSuite
from ferro_oci_server.testing.registry_meta.access import CredentialSuite
from ferro_oci_server.testing.registry_meta.inspection import InspectionSuite
from ferro_oci_server.testing.registry_meta.reviews import ReviewSuite


@pytest.fixture
def open_store(postgres_url: str) -> OpenMeta:
    return lambda: PostgresRegistryMeta(postgres_url)


class TestPostgresRegistryMeta(PersistentRegistryMetaSuite):
    """In PostgreSQL."""


class TestPostgresCredentials(CredentialSuite):
    """In PostgreSQL."""


class TestPostgresReviews(ReviewSuite):
    """In PostgreSQL."""


class TestPostgresInspection(InspectionSuite):
    """In PostgreSQL."""
