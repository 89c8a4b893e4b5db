"""``python -m ferro_oci_server``."""

import sys

from ferro_oci_server.cli import main

sys.exit(main())
