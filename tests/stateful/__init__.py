"""The state machine of ``ferro_oci_server.testing``, on every pair of stores."""
