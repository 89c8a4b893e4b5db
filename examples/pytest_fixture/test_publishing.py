"""What a test with a registry looks like."""

import hashlib
import http.client


def test_a_blob_that_was_pushed_can_be_pulled(registry: str) -> None:
    content = b"hello"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    connection = http.client.HTTPConnection(registry)

    connection.request("POST", f"/v2/demo/blobs/uploads/?digest={digest}", content)
    pushed = connection.getresponse()
    pushed.read()
    connection.request("GET", f"/v2/demo/blobs/{digest}")
    pulled = connection.getresponse()

    assert pushed.status == 201
    assert pulled.read() == content
    connection.close()
