"""``ferro-oci-server transfer``, killed at the point that the environment names: ``python -m transfer.dying ...``."""

import sys

from ferro_oci_server import cli_transfer
from ferro_oci_server.cli import main
from ferro_oci_server.config import Config
from ferro_oci_server.core.state import AppState
from ferro_oci_server.server import open_state
from ferro_oci_server.testing.faults.failpoints import Failpoints
from ferro_oci_server.testing.faults.stores import faulty_blob_store, faulty_registry_meta

POINTS = Failpoints.from_environ()


def open_faulty(config: Config) -> AppState:
    """The state that the command opens, on stores with points."""
    state = open_state(config)
    blobs = faulty_blob_store(state.blob_store, POINTS)
    return AppState(blobs, faulty_registry_meta(state.registry_meta, POINTS))


if __name__ == "__main__":
    vars(cli_transfer)["open_state"] = open_faulty
    sys.exit(main(sys.argv[1:]))
