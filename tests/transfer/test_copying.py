"""What a pass copies, what it leaves, what it removes and what it tells."""

import json
from typing import Any

import pytest

from core.damaging import blob_of, damage_blob
from ferro_oci_server.core.ports import StoreFull, StoreUnavailable
from ferro_oci_server.core.records import ManifestRecord
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import DOCKER_MANIFEST, OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.testing.faults.failpoints import Failpoints
from ferro_oci_server.testing.faults.stores import faulty_blob_store, faulty_registry_meta
from ferro_oci_server.testing.images import Content, describe, image, index
from ferro_oci_server.transfer import RegistrySource, SourceEmpty, Transfer
from support.damage import DAMAGES

from .conftest import Sides

pytestmark = pytest.mark.anyio

ABSENT = b"nobody has pushed this"


async def content_of(sides: Sides, reference: str, name: str = "acme/app") -> tuple[int, str | None, bytes]:
    """What the destination answers for a manifest."""
    reply = await sides.reading(name).get(f"manifests/{reference}")
    return reply.status, reply.header("content-type"), reply.body


async def delete(sides: Sides, path: str, name: str = "acme/app") -> None:
    assert (await sides.pushing(name).client.request("DELETE", f"/v2/{name}/{path}")).status == 202


# What is copied


async def test_manifests_arrive_byte_for_byte_with_their_types_and_tags(sides: Sides) -> None:
    odd = image(b"layer", media_type=DOCKER_MANIFEST)
    spaced = Content(odd.media_type, json.dumps(json.loads(odd.body), indent=3).encode(), odd.blobs)
    await sides.pushing().content(spaced, "v1")
    await sides.pushing().manifest(spaced, "v2")
    report = await sides.run()
    assert report.is_complete
    for reference in ("v1", "v2", spaced.digest):
        assert await content_of(sides, reference) == (200, DOCKER_MANIFEST, spaced.body)
    assert await sides.findings() == []


async def test_a_type_that_the_content_does_not_say_arrives_too(sides: Sides) -> None:
    document = json.loads(image(b"layer").body)
    del document["mediaType"]
    untyped = Content(OCI_IMAGE_MANIFEST, json.dumps(document).encode(), (b"{}", b"layer"))
    await sides.pushing().content(untyped, "v1")
    assert (await sides.run()).is_complete
    assert await content_of(sides, "v1") == (200, OCI_IMAGE_MANIFEST, untyped.body)


async def test_blobs_arrive_whole_in_every_repository_and_their_bytes_once(sides: Sides) -> None:
    large = b"large" * 300_000
    for name in ("a", "b/c", "d"):
        await sides.pushing(name).content(image(large, b""), "v1")
    report = await sides.run()
    assert (report.copied["blobs"], report.linked, report.copied_bytes) == (3, 6, len(large) + 2)
    for name in ("a", "b/c", "d"):
        for blob in (large, b"", b"{}"):
            assert (await sides.reading(name).get(f"blobs/{Digest.of(blob)}")).body == blob
    assert await sides.findings() == []


async def test_a_blob_that_two_repositories_want_at_once_is_copied_once(sides: Sides) -> None:
    layer = b"shared" * 200_000
    for number in range(6):
        await sides.pushing(f"r{number}").blob(layer)
    report = await sides.run()
    assert (report.copied["blobs"], report.linked) == (1, 5)


async def test_what_has_no_tag_and_what_nothing_needs_arrives_too(sides: Sides) -> None:
    untagged = image(b"untagged")
    await sides.pushing().content(untagged)
    loose = await sides.pushing().blob(b"loose")
    assert (await sides.run()).is_complete
    assert (await content_of(sides, untagged.digest))[0] == 200
    assert (await sides.reading().get(f"blobs/{loose}")).body == b"loose"


async def test_indexes_of_indexes_wait_for_what_they_need(sides: Sides) -> None:
    pushing = sides.pushing()
    leaf = image(b"leaf")
    await pushing.content(leaf)
    levels = [leaf]
    for _ in range(5):
        levels.append(index([levels[-1], describe(b"leaf", "application/x")]))
        assert (await pushing.manifest(levels[-1])).status == 201
    await pushing.manifest(levels[-1], "top")
    report = await sides.run()
    assert (report.is_complete, report.problems) == (True, 0)
    assert (await content_of(sides, "top"))[2] == levels[-1].body
    assert await sides.findings() == []


async def test_signatures_and_other_referrers_are_listed_at_their_subject(sides: Sides) -> None:
    subject = image(b"signed")
    await sides.pushing().content(subject, "v1")
    referrers = [
        image(b"signature", subject=subject.descriptor(), artifactType="application/x"),
        image(b"more", subject=subject.descriptor(), annotations={"of": "v1"}),
    ]
    for referrer in referrers:
        await sides.pushing().content(referrer)
    assert (await sides.run()).is_complete
    path = f"referrers/{subject.digest}"
    assert (await sides.reading().get(path)).body == (await sides.pushing().get(path)).body
    assert await sides.findings() == []


async def test_other_digests_arrive_under_their_own_names(sides: Sides) -> None:
    long = image(b"sha512", algorithm=Algorithm.SHA512)
    await sides.pushing().content(long, long.digest)
    await sides.pushing().manifest(long, "v1")
    assert (await sides.run()).is_complete
    assert (await content_of(sides, long.digest))[2] == long.body
    assert (await content_of(sides, "v1"))[2] == long.body


async def test_long_lists_arrive_whole(sides: Sides) -> None:
    pushing = sides.pushing()
    one, two = image(b"one"), image(b"two")
    await pushing.content(one)
    await pushing.content(two)
    for number in range(1203):
        record = one if number % 3 else two
        assert (await pushing.manifest(record, f"t{number}")).status == 201
    report = await sides.run()
    assert (report.seen["tags"], report.copied["tags"], report.is_complete) == (1203, 1203, True)
    assert (await content_of(sides, "t1200"))[2] == two.body


# Again


async def test_a_second_pass_copies_nothing(sides: Sides) -> None:
    await sides.pushing().content(image(b"one"), "v1")
    await sides.run()
    report = await sides.run(exact=True)
    assert (report.copied.total(), report.linked, report.removed.total()) == (0, 0, 0)
    assert (report.copied_bytes, report.is_complete, report.repositories) == (0, True, 1)
    assert report.seen == {"blobs": 2, "manifests": 1, "tags": 1}


async def test_a_second_pass_copies_what_is_new_and_moves_tags(sides: Sides) -> None:
    one, two = image(b"one"), image(b"two")
    await sides.pushing().content(one, "latest")
    await sides.run()
    await sides.pushing().content(two, "latest")
    report = await sides.run()
    assert report.copied == {"blobs": 1, "manifests": 1, "tags": 1}
    assert (await content_of(sides, "latest"))[2] == two.body
    assert (await content_of(sides, one.digest))[2] == one.body


async def test_only_an_exact_pass_removes_what_the_source_has_no_more(sides: Sides) -> None:
    one, two = image(b"one"), image(b"two")
    await sides.pushing().content(one, "v1")
    await sides.pushing().content(two, "v2")
    await sides.pushing("gone").content(one, "v1")
    await sides.run()
    await delete(sides, f"manifests/{two.digest}")
    await delete(sides, f"blobs/{Digest.of(b'two')}")
    await delete(sides, "manifests/v1")
    await delete(sides, f"manifests/{one.digest}", "gone")
    report = await sides.run()
    assert (report.removed.total(), report.is_complete) == (0, True)
    assert report.extra == {"blobs": 1, "manifests": 2, "tags": 3}
    assert (await content_of(sides, "v2"))[0] == 200
    report = await sides.run(exact=True)
    # A tag that goes with its manifest is counted as a tag, since it is looked at first.
    assert report.removed == {"blobs": 1, "manifests": 2, "tags": 3}
    assert (report.extra.total(), report.is_complete) == (0, True)
    assert [(await content_of(sides, it))[0] for it in ("v1", "v2", one.digest, two.digest)] == [404, 404, 200, 404]
    assert (await content_of(sides, one.digest, "gone"))[0] == 404
    assert await sides.findings() == []


async def test_an_exact_pass_removes_whole_repositories_that_the_source_has_not(sides: Sides) -> None:
    await sides.pushing().content(image(b"one"), "v1")
    await sides.reading("other/app").content(image(b"two"), "v1")
    assert (await sides.run()).extra == {"blobs": 2, "manifests": 1, "tags": 1}
    assert (await content_of(sides, "v1", "other/app"))[0] == 200
    assert (await sides.run(exact=True)).extra.total() == 0
    assert (await content_of(sides, "v1", "other/app"))[0] == 404


@pytest.mark.parametrize("exact", [False, True])
async def test_from_an_empty_source_nothing_is_copied_or_removed(sides: Sides, exact: bool) -> None:
    await sides.reading().content(image(b"kept"), "v1")
    with pytest.raises(SourceEmpty):
        await sides.run(exact=exact)
    assert (await content_of(sides, "v1"))[0] == 200


async def test_a_comparison_changes_nothing(sides: Sides) -> None:
    await sides.pushing().content(image(b"one"), "v1")
    await sides.pushing().content(image(b"two"), "v2")
    await sides.reading().content(image(b"three"), "v2")
    report = await sides.transfer().compare()
    assert report.missing == {"blobs": 2, "manifests": 2, "tags": 2}
    assert report.extra == {"blobs": 1, "manifests": 1, "tags": 0}
    assert not report.is_complete
    assert (await content_of(sides, "v1"))[0] == 404


async def test_limits_of_the_destination_are_not_for_a_transfer(sides: Sides) -> None:
    await sides.pushing().content(image(b"one"), "v1")
    quotas: Any = sides.destination.manifests._quotas
    quotas._limits = dict.fromkeys(quotas._limits, 0)
    assert (await sides.run()).is_complete


# Damage


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_damaged_blob_is_told_and_all_else_arrives(sides: Sides, how: str) -> None:
    hurt = b"hurt" * 1000
    for name in ("a", "b"):
        await sides.pushing(name).content(image(hurt, b"sound"), "v1")
    await damage_blob(sides.source, Digest.of(hurt), DAMAGES[how])
    told: list[str] = []
    transfer = sides.transfer()
    transfer.report.tell = told.append
    report = await transfer.run()
    blobs = [line for line in told if line.startswith("blob")]
    assert [line.partition(": ")[0] for line in sorted(blobs)] == [f"blob {Digest.of(hurt)} in {it}" for it in "ab"]
    # The manifest is served as it was, without its blob.
    assert [line for line in told if line.startswith("manifest") and "it is copied, but needs" in line]
    assert (report.problems, report.is_complete, report.missing) == (4, False, {"blobs": 2, "manifests": 0, "tags": 0})
    assert (await sides.reading("a").get(f"blobs/{Digest.of(b'sound')}")).body == b"sound"
    assert (await content_of(sides, "v1", "b"))[0] == 200
    assert (await sides.reading("a").get(f"blobs/{Digest.of(hurt)}")).status == 404


async def test_a_blob_that_is_marked_as_damaged_and_is_not_arrives(sides: Sides) -> None:
    await sides.pushing().content(image(b"layer"), "v1")
    meta: Any = sides.source.registry_meta
    await meta.mark_blob(await blob_of(sides.source, Digest.of(b"layer")), suspect=True)
    assert (await sides.run()).is_complete
    assert await sides.findings() == []


async def test_a_blob_that_is_damaged_in_the_destination_is_copied_again(sides: Sides) -> None:
    await sides.pushing().content(image(b"layer"), "v1")
    await sides.run()
    await damage_blob(sides.destination, Digest.of(b"layer"), DAMAGES["flipped"])
    meta: Any = sides.destination.registry_meta
    await meta.mark_blob(await blob_of(sides.destination, Digest.of(b"layer")), suspect=True)
    report = await sides.run()
    assert (report.copied["blobs"], report.is_complete) == (1, True)
    assert await sides.findings() == []


async def test_a_damaged_manifest_is_told_with_its_tags(sides: Sides) -> None:
    pushed = image(b"layer")
    await sides.pushing().content(pushed, "v1")
    await sides.pushing().content(image(b"other"), "v2")
    record = ManifestRecord(pushed.digest, pushed.media_type, b"{}")
    await sides.source.registry_meta.put_manifest(RepositoryName("acme/app"), record, allow_missing=True)
    told: list[str] = []
    transfer = sides.transfer()
    transfer.report.tell = told.append
    report = await transfer.run()
    assert told == [
        f"manifest {pushed.digest} in acme/app: the manifest does not have this digest",
        f"tag v1 in acme/app: its manifest {pushed.digest} cannot be copied",
    ]
    assert report.missing == {"blobs": 0, "manifests": 1, "tags": 1}
    assert (await content_of(sides, "v2"))[0] == 200


async def test_a_manifest_that_needs_what_the_source_lacks_goes_as_it_is_and_is_told_once(sides: Sides) -> None:
    sparse = index([image(ABSENT)])
    assert (await sides.pushing().manifest(sparse, "sparse")).status == 201
    told: list[str] = []
    transfer = sides.transfer()
    transfer.report.tell = told.append
    await transfer.run()
    assert told == [f"manifest {sparse.digest} in acme/app: it is copied, but needs {image(ABSENT).digest}"]
    assert (await content_of(sides, "sparse"))[2] == sparse.body
    assert (await sides.run()).is_complete


# Stores that fail


def through(sides: Sides, fault: str) -> Transfer:
    """A transfer whose destination fails at a point."""
    points = Failpoints(fault)
    origin = RegistrySource(sides.source.blob_store, sides.source.registry_meta)
    blobs = faulty_blob_store(sides.destination.blob_store, points)
    return Transfer(origin, blobs, faulty_registry_meta(sides.destination.registry_meta, points))


@pytest.mark.parametrize(
    "fault",
    [
        "blob.append.before=eio",
        "blob.append.piece=eio",
        "blob.commit.after=eio",
        "meta.complete_upload.after=eio",
        "meta.mount_blob.after=eio",
        "meta.put_manifest.before=eio",
        "meta.put_manifest.after:2=eio",
        "meta.list_links.before=eio",
        "meta.list_tag_targets.before:2=eio",
    ],
)
async def test_a_store_that_fails_once_is_asked_again(sides: Sides, fault: str) -> None:
    await sides.pushing().content(image(b"layer"), "v1")
    report = await through(sides, fault).run()
    assert (report.is_complete, report.problems) == (True, 0)
    assert await sides.findings() == []


async def test_a_store_that_has_no_room_ends_the_pass_and_the_next_goes_on(sides: Sides) -> None:
    await sides.pushing().content(image(b"layer"), "v1")
    with pytest.raises(StoreFull):
        await through(sides, "blob.append.before:*=enospc").run()
    assert (await content_of(sides, "v1"))[0] == 404
    assert (await sides.run()).is_complete


async def test_a_source_that_stays_away_ends_the_pass(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferro_oci_server.transfer.walking._DELAYS", (0.01, 0.01))
    await sides.pushing().content(image(b"layer"), "v1")
    points = Failpoints("blob.open.before:*=eio")
    origin = RegistrySource(faulty_blob_store(sides.source.blob_store, points), sides.source.registry_meta)
    target = sides.destination
    with pytest.raises(StoreUnavailable):
        await Transfer(origin, target.blob_store, target.registry_meta).run()
    assert (await sides.run()).is_complete


async def test_a_destination_that_cannot_be_listed_is_refused(sides: Sides) -> None:
    with pytest.raises(TypeError):
        RegistrySource(sides.source.blob_store, object())  # type: ignore[arg-type]
