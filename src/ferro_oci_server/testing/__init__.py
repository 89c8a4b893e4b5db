"""For your tests, and for the stores you write: behaviour suites, a stateful model, a client without a server.

Needs the extra ``testing``.
"""

import pytest

# So that a failing behaviour of a suite shows its values, as the tests of the project that runs it do.
pytest.register_assert_rewrite("ferro_oci_server.testing.blob_store", "ferro_oci_server.testing.registry_meta")
