"""What clients were found to stumble over, one test for each: the demand survey's table of traps, by its numbers.

Not here, because they are about what stands above this router or is not served yet:
    14 the half about tokens for a source that may not be read, 16 to 21 challenges, scopes, token endpoint, names of
    accounts (authentication is middleware); 23, 24 redirects to an object store (``test_redirects.py``); 32 the half
    about immutable tags; 41 upstreams of a proxy.
"""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from ferro_oci_server.api.app import router
from ferro_oci_server.api.requests import MAX_BODY_BYTES
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import DOCKER_MANIFEST, OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import describe, image, index

from .faults import faulty
from .pushing import NAME, Pushing, codes
from .test_lists import follow

pytestmark = pytest.mark.anyio

LAYER = bytes(range(256)) * 40
DIGEST = Digest.of(LAYER)
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
IMAGE = image(b"layer")


async def test_trap_01_docker_sends_one_patch_without_length_or_range(push: Pushing) -> None:
    location = await push.session()
    sent = await push.client.request("PATCH", location, body=[LAYER[:4000], LAYER[4000:]])
    assert (sent.status, sent.header("range")) == (202, f"0-{len(LAYER) - 1}")
    closed = await push.client.request("PUT", f"{sent.location}?digest={DIGEST}")
    assert closed.status == 201


async def test_trap_02_podman_sends_the_whole_layer_without_a_range(push: Pushing) -> None:
    sent = await push.client.request("PATCH", await push.session(), body=LAYER)
    closed = await push.client.request("PUT", f"{sent.location}?digest={DIGEST}")
    assert (sent.status, closed.status) == (202, 201)


@pytest.mark.parametrize("body", [LAYER, [LAYER[:100], LAYER[100:]]], ids=["length", "chunked"])
async def test_trap_03_containerd_puts_everything_at_once(push: Pushing, body: Any) -> None:
    closed = await push.client.request("PUT", f"{await push.session()}?digest={DIGEST}", body=body)
    assert closed.status == 201


@pytest.mark.parametrize("content_range", ["0-99", "bytes 0-99", "bytes 0-99/100", "0-99/*"])
async def test_trap_04_chunks_name_their_range_in_several_ways(push: Pushing, content_range: str) -> None:
    headers = {"Content-Range": content_range}
    reply = await push.client.request("PATCH", await push.session(), headers=headers, body=LAYER[:100])
    assert (reply.status, reply.header("range")) == (202, "0-99")


async def test_trap_04_what_follows_a_range_is_not_overlooked(push: Pushing) -> None:
    headers = {"Content-Range": "0-99 and more"}
    assert (await push.client.request("PATCH", await push.session(), headers=headers, body=LAYER[:100])).status == 400


async def test_trap_05_the_range_of_an_upload_is_that_of_all_of_it_without_a_unit(push: Pushing) -> None:
    location, ranges = await push.session(), list[str | None]()
    for start in (0, 100, 200):
        ranges.append((await push.client.request("GET", location)).header("range"))
        await push.client.request("PATCH", location, body=LAYER[start : start + 100])
    assert [*ranges, (await push.client.request("GET", location)).header("range")] == ["0-0", "0-99", "0-199", "0-299"]


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_trap_06_a_chunk_in_the_wrong_place_can_be_recovered_from(push: Pushing, method: str) -> None:
    location = await push.session()
    await push.client.request("PATCH", location, body=LAYER[:100])
    headers = {"Content-Range": "50-149"}
    wrong = await push.client.request(method, f"{location}?digest={DIGEST}", headers=headers, body=LAYER[50:150])
    assert (wrong.status, wrong.header("range"), wrong.location) == (416, "0-99", location)
    found = await push.client.request("GET", wrong.location)
    assert (found.status, found.header("range")) == (204, "0-99")
    closed = await push.client.request("PUT", f"{found.location}?digest={DIGEST}", body=LAYER[100:])
    assert closed.status == 201


async def test_trap_07_the_location_bears_a_digest_and_whatever_else_in_its_query(push: Pushing) -> None:
    location = await push.session()
    assert location.startswith("/v2/")
    assert "?" not in location
    digest = DIGEST.replace(":", "%3A")
    closed = await push.client.request("PUT", f"{location}?_state=abc%3D&digest={digest}", body=LAYER)
    assert closed.status == 201


async def test_trap_07_behind_a_proxy_a_location_needs_no_host(push: Pushing) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example"}
    reply = await push.client.request("POST", UPLOADS, headers=headers)
    assert reply.location.startswith(UPLOADS)


@pytest.mark.parametrize("path", ["/v2/", UPLOADS, f"/v2/{NAME}/tags/list", f"/v2/{NAME}/manifests/none", "/nowhere"])
async def test_trap_08_old_headers_are_still_sent(registry: AsgiClient, path: str) -> None:
    reply = await registry.request("POST" if path == UPLOADS else "GET", path)
    assert reply.header("docker-distribution-api-version") == "registry/2.0"
    if path == UPLOADS:
        assert reply.header("docker-upload-uuid") == reply.location.removeprefix(UPLOADS)


async def test_trap_09_head_tells_the_real_size_and_the_digest(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    blob = await push.blob(LAYER)
    for path, size, digest in [
        ("manifests/v1", len(IMAGE.body), IMAGE.digest),
        (f"manifests/{IMAGE.digest}", len(IMAGE.body), IMAGE.digest),
        (f"blobs/{blob}", len(LAYER), blob),
    ]:
        reply = await push.client.request("HEAD", f"/v2/{NAME}/{path}")
        assert (reply.header("content-length"), reply.header("docker-content-digest")) == (str(size), digest)
        assert reply.body == b""


async def test_trap_10_nothing_is_compressed(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    blob = await push.blob(b"a" * 100_000)
    for path, content in [("manifests/v1", IMAGE.body), (f"blobs/{blob}", b"a" * 100_000)]:
        reply = await push.get(path, Accept_Encoding="gzip, br, zstd, deflate")
        assert (reply.body, reply.header("content-encoding")) == (content, None)
        assert reply.header("content-length") == str(len(content))


ACCEPT_LINES = [
    [("Accept", OCI_IMAGE_INDEX), ("Accept", OCI_IMAGE_MANIFEST)],
    [("Accept", f"{OCI_IMAGE_INDEX}, {OCI_IMAGE_MANIFEST}, */*;q=0.1")],
    [("Accept", f"{OCI_IMAGE_MANIFEST};q=0.5")],
    [("Accept", "*/*")],
    [("Accept", "application/json")],
    [],
]


@pytest.mark.parametrize("lines", ACCEPT_LINES, ids=str)
async def test_trap_11_the_stored_type_is_served_whatever_is_accepted(
    push: Pushing, lines: list[tuple[str, str]]
) -> None:
    await push.content(IMAGE, "v1")
    reply = await push.client.request("GET", f"/v2/{NAME}/manifests/v1", headers=lines)
    assert (reply.status, reply.header("content-type"), reply.body) == (200, OCI_IMAGE_MANIFEST, IMAGE.body)


async def test_trap_12_a_type_comes_back_as_it_was_pushed_without_a_charset(push: Pushing) -> None:
    await push.content(IMAGE)
    await push.manifest(IMAGE, "v1", Content_Type=f"{OCI_IMAGE_MANIFEST}; charset=utf-8")
    assert (await push.get("manifests/v1")).all("content-type") == [OCI_IMAGE_MANIFEST]


async def test_trap_13_the_namespace_that_mirrors_are_asked_for_is_no_error_and_no_host(push: Pushing) -> None:
    await push.content(IMAGE, "v1")
    for namespace in ("docker.io", "169.254.169.254", "registry-1.docker.io:443", "%0d%0a", ""):
        for path in ("manifests/v1", f"blobs/{Digest.of(b'layer')}", "tags/list"):
            assert (await push.get(f"{path}?ns={namespace}")).status == 200
        assert (await push.get(f"manifests/none?ns={namespace}")).status == 404


async def test_trap_14_a_mount_from_what_cannot_be_read_starts_an_upload(push: Pushing) -> None:
    reply = await push.client.request("POST", f"{UPLOADS}?mount={DIGEST}&from=library/unknown")
    assert (reply.status, reply.location.startswith(UPLOADS)) == (202, True)


async def test_trap_15_a_mount_may_leave_its_source_open(push: Pushing) -> None:
    await push.into("other/repo").blob(LAYER)
    reply = await push.client.request("POST", f"{UPLOADS}?mount={DIGEST}")
    assert (reply.status, reply.location) == (201, f"/v2/{NAME}/blobs/{DIGEST}")


async def test_trap_22_kaniko_starts_uploads_only_to_see_whether_it_may(push: Pushing, state: AppState) -> None:
    locations = [await push.session() for _ in range(3)]
    assert (await push.client.request("DELETE", locations[0])).status == 204
    assert await state.count_uploads() == 2
    assert (await push.get("tags/list")).status == 404


async def test_trap_25_one_range_is_a_part_and_several_are_the_whole(push: Pushing) -> None:
    digest = await push.blob(LAYER)
    one = await push.get(f"blobs/{digest}", Range="bytes=100-199")
    several = await push.get(f"blobs/{digest}", Range="bytes=0-99,500-599,-1")
    assert (one.status, one.body) == (206, LAYER[100:200])
    assert (several.status, several.body) == (200, LAYER)


async def test_trap_26_a_build_cache_is_an_index_of_layers(push: Pushing) -> None:
    for blob in (b"config", b"one", b"two"):
        await push.blob(blob)
    layer = "application/vnd.oci.image.layer.v1.tar+gzip"
    entries = [describe(blob, layer, annotations={"buildkit/createdat": "x"}) for blob in (b"one", b"two")]
    cache = index([*entries, describe(b"config", "application/vnd.buildkit.cacheconfig.v0")])
    assert (await push.manifest(cache, "cache")).status == 201
    assert (await push.get("manifests/cache")).body == cache.body


async def test_trap_27_attestations_are_children_of_an_unknown_platform(push: Pushing) -> None:
    attestation = image(b"{}", layer_type="application/vnd.in-toto+json")
    for content in (IMAGE, attestation):
        await push.content(content)
    unknown = attestation.descriptor(
        platform={"os": "unknown", "architecture": "unknown"},
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    assert (await push.manifest(index([IMAGE, unknown]), "v1")).status == 201
    assert (await push.get(f"manifests/{attestation.digest}")).status == 200


@pytest.fixture
def mirror(backend_pair: Callable[..., AppState]) -> AppState:
    return backend_pair(missing_references=MissingReferences.parse("mirror/*"))


async def test_trap_28_a_sparse_index_is_refused_by_name_and_allowed_where_mirrors_need_it(mirror: AppState) -> None:
    async with mirror:
        push = Pushing(AsgiClient(router(mirror)))
        refused = await push.manifest(index([IMAGE]), "v1")
        allowed = await push.into("mirror/app").manifest(index([IMAGE]), "v1")
        assert (refused.status, codes(refused), allowed.status) == (404, ["MANIFEST_BLOB_UNKNOWN"], 201)


async def test_trap_29_a_subject_may_come_later_and_its_referrers_are_never_404(push: Pushing) -> None:
    unknown = await push.get(f"referrers/{IMAGE.digest}")
    assert (unknown.status, json.loads(unknown.body)["manifests"]) == (200, [])
    reply = await push.content(image(b"signature", subject=IMAGE.descriptor()))
    assert reply.header("oci-subject") == IMAGE.digest


async def test_trap_30_referrers_are_filtered_described_and_paged(push: Pushing) -> None:
    for number in range(3):
        await push.content(image(b"%d" % number, subject=IMAGE.descriptor(), annotations={"n": str(number)}))
    config_type = "application%2Fvnd.oci.image.config.v1%2Bjson"
    path = f"/v2/{NAME}/referrers/{IMAGE.digest}"
    filtered = await push.client.request("GET", f"{path}?artifactType={config_type}")
    assert (await push.client.request("GET", path)).header("oci-filters-applied") is None
    assert filtered.header("oci-filters-applied") == "artifactType"
    assert filtered.header("content-type") == OCI_IMAGE_INDEX
    pages = await follow(push.client, f"{path}?artifactType={config_type}&n=2")
    assert {entry["annotations"]["n"] for page in pages for entry in page["manifests"]} == {"0", "1", "2"}


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
async def test_trap_31_tags_made_of_digests_are_tags_like_others(push: Pushing, suffix: str) -> None:
    await push.content(IMAGE)
    tag = Tag.for_referrers(IMAGE.digest) + suffix
    content = index([IMAGE]) if not suffix else IMAGE
    assert (await push.manifest(content, tag)).status == 201
    assert (await push.get(f"manifests/{tag}")).body == content.body
    assert json.loads((await push.get("tags/list")).body)["tags"] == [tag]


async def test_trap_32_what_was_signed_can_be_signed_again(push: Pushing) -> None:
    tag = Tag.for_referrers(IMAGE.digest) + ".sig"
    for signature in (b"first", b"second"):
        assert (await push.content(image(signature), tag)).status == 201
    assert (await push.get(f"manifests/{tag}")).body == image(b"second").body


@pytest.mark.parametrize("config", [b"", b"{}"])
async def test_trap_33_singularity_has_an_empty_config(push: Pushing, config: bytes) -> None:
    content = image(
        b"sif",
        config=config,
        media_type=DOCKER_MANIFEST,
        config_type="application/vnd.sylabs.sif.config.v1+json",
        layer_type="application/vnd.sylabs.sif.layer.v1.sif",
    )
    assert (await push.content(content, "v1")).status == 201
    reply = await push.get(f"blobs/{Digest.of(config)}")
    assert (reply.body, reply.header("content-length")) == (config, str(len(config)))


@pytest.mark.parametrize(
    ("config_type", "layer_type"),
    [
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
        ("application/vnd.cncf.flux.config.v1+json", "application/vnd.cncf.flux.content.v1.tar+gzip"),
        ("application/vnd.wasm.config.v0+json", "application/wasm"),
        ("application/vnd.cncf.openpolicyagent.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("application/vnd.oci.empty.v1+json", "text/x.anything; with=parameters"),
    ],
)
async def test_trap_34_artifacts_bring_their_own_types(push: Pushing, config_type: str, layer_type: str) -> None:
    content = image(b"content", config_type=config_type, layer_type=layer_type)
    assert content.blobs[0] == b"{}"
    assert (await push.content(content, "v1")).status == 201


async def test_trap_35_helm_lists_tags_and_brings_provenance(push: Pushing) -> None:
    chart = image(b"chart", b"provenance", config_type="application/vnd.cncf.helm.config.v1+json")
    await push.content(chart, "1.0.0_build.1")
    assert json.loads((await push.get("tags/list?n=1000")).body)["tags"] == ["1.0.0_build.1"]
    assert (await push.manifest(chart, "1.0.0+build.1")).status == 400


async def test_trap_36_pages_are_walked_by_links_alone_and_a_huge_n_is_no_error(push: Pushing) -> None:
    await push.content(IMAGE)
    await push.manifest(IMAGE, f"{IMAGE.digest}?" + "&".join(f"tag=v{number}" for number in range(7)))
    pages = await follow(push.client, f"/v2/{NAME}/tags/list?n=2")
    assert [len(page["tags"]) for page in pages] == [2, 2, 2, 1]
    assert len((await follow(push.client, f"/v2/{NAME}/tags/list?n=999999999999"))[0]["tags"]) == 7


async def test_trap_37_no_tag_vanishes_between_pages(push: Pushing) -> None:
    tags = sorted(["v1", "v1.1", "v1-a", "V1", "v10", "v1_", "v2", "1", "10", "2", "a", "aa", "aaa"])
    await push.content(IMAGE)
    await push.manifest(IMAGE, f"{IMAGE.digest}?" + "&".join(f"tag={tag}" for tag in tags))
    for n in range(1, len(tags) + 2):
        pages = await follow(push.client, f"/v2/{NAME}/tags/list?n={n}")
        assert [tag for page in pages for tag in page["tags"]] == tags
    behind = await push.get(f"tags/list?last={tags[-1]}")
    assert json.loads(behind.body)["tags"] == []


async def test_trap_38_another_algorithm_goes_all_the_way(push: Pushing) -> None:
    content = image(b"layer", algorithm=Algorithm.SHA512)
    for blob in content.blobs:
        location = await push.session("?digest-algorithm=sha512")
        digest = Digest.of(blob, Algorithm.SHA512)
        assert (await push.client.request("PUT", f"{location}?digest={digest}", body=blob)).status == 201
    assert (await push.manifest(content, f"{content.digest}?tag=v1")).status == 201
    assert (await push.get("manifests/v1")).header("docker-content-digest") == content.digest


async def test_trap_39_one_layer_goes_into_two_repositories_at_once(push: Pushing) -> None:
    async def push_all(name: str) -> None:
        await push.into(name).content(image(*[LAYER * (number + 1) for number in range(5)]), "v1")

    async with anyio.create_task_group() as tasks:
        for name in ("a", "b", "c", "d"):
            tasks.start_soon(push_all, name)
    for name in ("a", "b", "c", "d"):
        assert (await push.into(name).get(f"blobs/{DIGEST}")).body == LAYER


async def test_trap_40_four_mebibytes_of_manifest_are_taken_and_more_are_413(push: Pushing) -> None:
    padding = MAX_BODY_BYTES - len(image(annotations={"a": ""}).body)
    assert (await push.content(image(annotations={"a": "x" * padding}), "v1")).status == 201
    larger = image(annotations={"a": "x" * (padding + 1)})
    assert (await push.manifest(larger, "v2")).status == 413


async def test_trap_42_a_store_that_is_too_busy_is_worth_another_try() -> None:
    meta = faulty(InMemoryRegistryMeta(), StoreUnavailable("slow down"), "create_upload")
    reply = await AsgiClient(router(AppState(InMemoryBlobStore(), meta))).request("POST", UPLOADS)
    assert (reply.status, (reply.header("retry-after") or "").isdigit()) == (503, True)


async def test_trap_43_docker_finds_the_registry_at_the_root_of_its_host(state: AppState) -> None:
    client = AsgiClient(Starlette(routes=[Mount("/", router(state))]))
    assert (await client.request("GET", "/v2/")).status == 200
    started = await client.request("POST", UPLOADS)
    assert started.location.startswith(UPLOADS)


def test_every_trap_is_tested_or_named_as_not_for_this_router() -> None:
    tested = {int(name.split("_")[2]) for name in globals() if name.startswith("test_trap_")}
    elsewhere = {16, 17, 18, 19, 20, 21, 23, 24, 41}
    assert tested | elsewhere == set(range(1, 44))
    assert not tested & elsewhere
