"""The blob store in a bucket, on a real S3 server."""

import pytest

from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.testing.blob_store import PersistentBlobStoreSuite
from ferro_oci_server.testing.blob_store.steps import OpenStore
from support.object_store import S3Server


class TestObjectBlobStore(PersistentBlobStoreSuite):
    """It keeps everything."""

    keeps_open_blobs = False

    @pytest.fixture
    def open_store(self, s3: S3Server) -> OpenStore:
        url = s3.url()
        return lambda: ObjectBlobStore.from_url(url)
