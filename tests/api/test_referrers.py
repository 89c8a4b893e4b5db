"""Referrers: what names another manifest as its subject. Spec: end-12a, end-12b, "Referrers Tag Schema"."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.client import Reply
from ferro_oci_server.testing.images import CONFIG_TYPE, Content, image, index

from .pushing import NAME, Pushing, codes
from .test_lists import follow

pytestmark = pytest.mark.anyio

SUBJECT = image(b"subject")
SBOM, SIGNATURE = "application/vnd.example.sbom.v1+json", "application/vnd.example.signature"


def referrer(number: int = 0, subject: Content = SUBJECT, **more: Any) -> Content:
    return image(b"%d" % number, subject=subject.descriptor(), **more)


def entries(reply: Reply) -> list[dict[str, Any]]:
    """The descriptors of a page, which must have the form of an image index."""
    assert (reply.status, reply.header("content-type")) == (200, OCI_IMAGE_INDEX)
    document = json.loads(reply.body)
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_IMAGE_INDEX)
    found: list[dict[str, Any]] = document["manifests"]
    return found


async def listed(push: Pushing, query: str = "", subject: Digest = SUBJECT.digest) -> list[dict[str, Any]]:
    return entries(await push.get(f"referrers/{subject}{query}"))


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_an_unknown_subject_in_an_unknown_repository_has_none(push: Pushing, algorithm: Algorithm) -> None:
    assert await listed(push, subject=Digest.of(b"unknown", algorithm)) == []


async def test_a_referrer_is_described(push: Pushing) -> None:
    content = referrer(artifactType=SBOM, annotations={"a": "b"})
    await push.content(content)
    assert await listed(push) == [
        {
            "mediaType": OCI_IMAGE_MANIFEST,
            "digest": content.digest,
            "size": len(content.body),
            "artifactType": SBOM,
            "annotations": {"a": "b"},
        }
    ]


async def test_an_image_without_a_type_has_that_of_its_config(push: Pushing) -> None:
    await push.content(referrer())
    assert [entry["artifactType"] for entry in await listed(push)] == [CONFIG_TYPE]


async def test_an_index_without_a_type_has_none(push: Pushing) -> None:
    content = index([], subject=SUBJECT.descriptor(), annotations={"a": "b"})
    await push.content(content)
    assert [(entry["digest"], "artifactType" in entry) for entry in await listed(push)] == [(content.digest, False)]


async def test_an_index_has_its_own_type(push: Pushing) -> None:
    await push.content(index([], subject=SUBJECT.descriptor(), artifactType=SBOM))
    assert [(entry["mediaType"], entry["artifactType"]) for entry in await listed(push)] == [(OCI_IMAGE_INDEX, SBOM)]


async def test_referrers_may_come_before_their_subject(push: Pushing) -> None:
    await push.content(referrer())
    await push.content(SUBJECT)
    assert len(await listed(push)) == 1


async def test_the_subject_may_have_any_digest(push: Pushing) -> None:
    subject = image(b"subject", algorithm=Algorithm.SHA512)
    await push.content(referrer(subject=subject))
    assert len(await listed(push, subject=subject.digest)) == 1
    assert await listed(push) == []


async def test_a_referrer_by_sha512_is_listed_by_it(push: Pushing) -> None:
    content = referrer(algorithm=Algorithm.SHA512)
    await push.content(content)
    assert [entry["digest"] for entry in await listed(push)] == [content.digest]


async def test_a_referrer_that_was_pushed_twice_is_listed_once(push: Pushing) -> None:
    for reference in (None, "v1", "v2"):
        await push.content(referrer(), reference)
    assert len(await listed(push)) == 1


async def test_a_deleted_referrer_is_not_listed(push: Pushing) -> None:
    contents = [referrer(number) for number in range(3)]
    for content in contents:
        await push.content(content)
    await push.client.request("DELETE", f"/v2/{NAME}/manifests/{contents[1].digest}")
    assert {entry["digest"] for entry in await listed(push)} == {contents[0].digest, contents[2].digest}


async def test_a_referrer_outlives_its_tag(push: Pushing) -> None:
    await push.content(referrer(), "v1")
    await push.client.request("DELETE", f"/v2/{NAME}/manifests/v1")
    assert len(await listed(push)) == 1


async def test_referrers_outlive_their_subject(push: Pushing) -> None:
    await push.content(SUBJECT)
    await push.content(referrer())
    await push.client.request("DELETE", f"/v2/{NAME}/manifests/{SUBJECT.digest}")
    assert len(await listed(push)) == 1


async def test_referrers_of_another_repository_are_not_listed(push: Pushing) -> None:
    await push.into("other/repo").content(referrer())
    assert await listed(push) == []


# The filter.


@pytest.fixture
async def typed(push: Pushing) -> Pushing:
    for number, artifact_type in enumerate([SBOM, SIGNATURE, SBOM, None]):
        await push.content(referrer(number, artifactType=artifact_type))
    return push


@pytest.mark.parametrize(("artifact_type", "count"), [(SBOM, 2), (SIGNATURE, 1), (CONFIG_TYPE, 1), ("x/y", 0)])
async def test_a_filter_is_applied_and_confirmed(typed: Pushing, artifact_type: str, count: int) -> None:
    for text in (quote(artifact_type, safe=""), quote(artifact_type)):
        reply = await typed.get(f"referrers/{SUBJECT.digest}?artifactType={text}")
        assert reply.header("oci-filters-applied") == "artifactType"
        assert [entry["artifactType"] for entry in entries(reply)] == [artifact_type] * count


@pytest.mark.parametrize("query", ["", "?artifacttype=x", "?n=10", "?artifactType="])
async def test_without_a_filter_none_is_confirmed(typed: Pushing, query: str) -> None:
    reply = await typed.get(f"referrers/{SUBJECT.digest}{query}")
    assert reply.header("oci-filters-applied") is None
    assert len(entries(reply)) == 4


@pytest.mark.parametrize("value", ["%00", "%27%3B--", "a%0d%0aX:1", "%f0%9f%90%b3", "a" * 5000])
async def test_a_filter_may_be_any_text(typed: Pushing, value: str) -> None:
    reply = await typed.get(f"referrers/{SUBJECT.digest}?artifactType={value}")
    assert reply.status in (200, 400)
    assert "x" not in [key for key, _ in reply.headers]


# Pages.


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7])
async def test_links_lead_through_all_referrers_once(push: Pushing, n: int) -> None:
    digests = {(await push.content(referrer(number))).header("docker-content-digest") for number in range(6)}
    pages = await follow(push.client, f"/v2/{NAME}/referrers/{SUBJECT.digest}?n={n}")
    found = [entry["digest"] for page in pages for entry in page["manifests"]]
    assert (sorted(found), len(found)) == (sorted(filter(None, digests)), 6)
    assert all(len(page["manifests"]) == n for page in pages[:-1])


async def test_a_page_has_at_most_a_hundred_referrers(push: Pushing) -> None:
    await push.blob(b"{}")
    for number in range(101):
        assert (await push.manifest(image(subject=SUBJECT.descriptor(), number=number))).status == 201
    pages = await follow(push.client, f"/v2/{NAME}/referrers/{SUBJECT.digest}")
    assert [len(page["manifests"]) for page in pages] == [100, 1]


async def test_links_keep_the_filter(typed: Pushing) -> None:
    path = f"/v2/{NAME}/referrers/{SUBJECT.digest}?artifactType={quote(SBOM, safe='')}&n=1"
    pages = await follow(typed.client, path)
    assert [entry["artifactType"] for page in pages for entry in page["manifests"]] == [SBOM, SBOM]


async def test_zero_entries_are_no_entries_and_no_link(typed: Pushing) -> None:
    reply = await typed.get(f"referrers/{SUBJECT.digest}?n=0")
    assert (entries(reply), reply.header("link")) == ([], None)


@pytest.mark.parametrize("character", ["x", "\u4e2d", "\U0001f433", '"', "\x01"], ids=ascii)
async def test_no_page_is_larger_than_the_index_that_clients_read(push: Pushing, character: str) -> None:
    # The annotations of one manifest of almost 4 MiB, whatever they are made of, must not grow beyond it.
    text = character * (1_300_000 // len(json.dumps(character, ensure_ascii=False).encode()))
    for number in range(5):
        await push.blob(b"%d" % number)
        await push.blob(b"{}")
        body = json.loads(referrer(number).body) | {"annotations": {"a": text}}
        content = Content(OCI_IMAGE_MANIFEST, json.dumps(body, ensure_ascii=False).encode())
        assert (await push.manifest(content)).status == 201
    path, found = f"/v2/{NAME}/referrers/{SUBJECT.digest}", list[str]()
    while path:
        reply = await push.client.request("GET", path)
        assert len(reply.body) <= 4 * 1024 * 1024
        found += [entry["digest"] for entry in entries(reply)]
        path = (reply.header("link") or "").partition(">")[0].removeprefix("<")
    assert len(found) == len(set(found)) == 5


async def test_half_a_pair_does_not_make_a_page_grow(push: Pushing) -> None:
    document = json.loads(image(subject=SUBJECT.descriptor()).body) | {"annotations": {"a": "\u4e2d" * 1_300_000 + "@"}}
    body = json.dumps(document, ensure_ascii=False).replace("@", "\\ud800").encode()
    await push.blob(b"{}")
    assert (await push.manifest(Content(OCI_IMAGE_MANIFEST, body))).status == 201
    reply = await push.get(f"referrers/{SUBJECT.digest}")
    assert len(reply.body) <= 4 * 1024 * 1024
    assert entries(reply)[0]["annotations"] == {"a": "\u4e2d" * 1_300_000 + "\ud800"}


async def test_head_is_get_without_the_body(typed: Pushing) -> None:
    path = f"/v2/{NAME}/referrers/{SUBJECT.digest}?n=2"
    read, seen = [await typed.client.request(method, path) for method in ("GET", "HEAD")]
    assert (seen.status, seen.headers, seen.body) == (200, read.headers, b"")


@pytest.mark.parametrize("digest", ["sha256:baddigeststring", "latest", "", "md5:" + "0" * 32])
async def test_what_is_no_digest_is_refused(push: Pushing, digest: str) -> None:
    reply = await push.get(f"referrers/{digest}")
    assert (reply.status, codes(reply)) == (400, ["DIGEST_INVALID"])


# Fallback tags: what clients write that do not know whether this API is there.


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_what_a_fallback_tag_lists_is_a_referrer_once(push: Pushing, algorithm: Algorithm) -> None:
    subject = image(b"subject", algorithm=algorithm)
    content = referrer(subject=subject)
    await push.content(content)
    tag = Tag.for_referrers(subject.digest)
    assert (await push.content(index([content]), tag)).status == 201
    assert [entry["digest"] for entry in await listed(push, subject=subject.digest)] == [content.digest]
    assert (await push.get(f"manifests/{tag}")).body == index([content]).body


async def test_what_a_fallback_tag_lists_without_that_subject_is_no_referrer(push: Pushing) -> None:
    await push.content(image(b"unrelated"))
    await push.content(index([image(b"unrelated")]), Tag.for_referrers(SUBJECT.digest))
    assert await listed(push) == []


async def test_a_fallback_tag_may_move_and_go(push: Pushing) -> None:
    tag = Tag.for_referrers(SUBJECT.digest)
    contents = [referrer(number) for number in range(2)]
    for content in contents:
        await push.content(content)
        await push.content(index(contents[: contents.index(content) + 1]), tag)
    assert (await push.client.request("DELETE", f"/v2/{NAME}/manifests/{tag}")).status == 202
    assert len(await listed(push)) == 2
