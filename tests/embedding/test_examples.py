"""The examples do what they say."""

import subprocess
import sys
from pathlib import Path

import pytest
from examples.bare_asgi import app
from examples.compressed_blob_store import CompressedBlobStore
from examples.fastapi_mount import create_app
from fastapi.testclient import TestClient

from ferro_oci_server import AppState, InMemoryRegistryMeta, router
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.blob_store import BlobStoreSuite, OpenStore
from ferro_oci_server.testing.client import AsgiClient

EXAMPLES = Path(__file__).parents[2] / "examples"
CONTENT = b"content"


class TestCompressedBlobStore(BlobStoreSuite):
    """A store of the user's own passes the suite that is shipped."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return CompressedBlobStore


@pytest.mark.anyio
async def test_a_registry_serves_from_a_store_of_the_users_own() -> None:
    client = AsgiClient(router(AppState(CompressedBlobStore(), InMemoryRegistryMeta())))
    digest = Digest.of(CONTENT)

    pushed = await client.request("POST", f"/v2/a/blobs/uploads/?digest={digest}", body=CONTENT)

    assert pushed.status == 201
    assert (await client.request("GET", pushed.location)).body == CONTENT


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v2/", "/ready"])
async def test_the_bare_application_answers(path: str) -> None:
    assert (await AsgiClient(app).request("GET", path)).status == 200


def test_a_fastapi_service_has_the_registry_beside_its_own_routes(tmp_path: Path) -> None:
    digest = Digest.of(CONTENT)
    with TestClient(create_app(tmp_path)) as service:
        assert service.get("/deployments").json() == []
        assert service.post(f"/v2/team/app/blobs/uploads/?digest={digest}", content=CONTENT).status_code == 201
        assert service.get("/deployments").json() == ["team/app"]
        assert service.get(f"/v2/team/app/blobs/{digest}").content == CONTENT


def test_the_pytest_fixture_gives_a_test_its_registry() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "pytest_fixture")],
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
