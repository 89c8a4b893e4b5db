"""Transfer: from one registry to another, whatever each of them keeps its content in, while the first one serves.

    source (``source``): a registry (``registry``), or distribution's files (``distribution``, on a ``tree``)
         |
         +-- lists, walked beside the destination's (``walking``) --> what it lacks is copied (``copying``)

1. Both sides are listed in the same order and walked together, so that a pass costs as much as there are names, and
   bytes only where the destination lacks them. So a transfer that was cut off, or ended long ago, is simply run again.
2. The destination is written to like by a client: bytes are hashed while they come in, and are a blob when they are
   right and durable. A repository gets its blobs first, then its manifests, then its tags.
3. The source is only read.
"""

from ferro_oci_server.transfer.copying import SourceEmpty, Transfer
from ferro_oci_server.transfer.distribution import DistributionSource
from ferro_oci_server.transfer.registry import RegistrySource
from ferro_oci_server.transfer.report import Report
from ferro_oci_server.transfer.source import Source
from ferro_oci_server.transfer.tree import FolderTree, Tree

__all__ = ["DistributionSource", "FolderTree", "RegistrySource", "Report", "Source", "SourceEmpty", "Transfer", "Tree"]
