"""cosign: signatures and attestations with a local key pair, without any transparency log.

The default of cosign 3 keeps a bundle as a referrer of the image; its older formats keep tags named after the image's
digest, or referrers of another type. No flag here makes cosign ask a server outside.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.process import Client
from support.registry import Registry

NOT_OFFERED = {
    "push": "cosign pushes signatures only; those are under `referrers` and `own`",
    "pull": "likewise",
    "repush": "likewise",
    "tags": "cosign has no command that lists tags",
    "delete": "`clean` removes signatures only; see `own`",
    "large": "a signature is small",
    "schema2": "signatures have their own media types",
}
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
LEGACY = ("--new-bundle-format=false",)
LEGACY_SIGN = (*LEGACY, "--use-signing-config=false", "--tlog-upload=false", "--yes")
LEGACY_VERIFY = (*LEGACY, "--insecure-ignore-tlog")


@pytest.fixture(scope="module")
def keys(home: Path) -> Path:
    folder = home / "keys"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def cosign(program: Callable[..., Client], keys: Path) -> Client:
    plain = program("cosign")
    client = Client(plain.argv, {**plain.env, "COSIGN_PASSWORD": "secret"})
    client("generate-key-pair", cwd=keys)
    # No log, no timestamp authority, and no trusted root to fetch.
    client("signing-config", "create", "--out", str(keys / "signing-config.json"))
    client("trusted-root", "create", "--out", str(keys / "trusted-root.json"))
    (keys / "predicate.json").write_text('{"built": "here"}', encoding="ascii")
    return client


@pytest.fixture
def sign(keys: Path) -> tuple[str, ...]:
    root = ("--trusted-root", str(keys / "trusted-root.json"))
    config = ("--signing-config", str(keys / "signing-config.json"))
    return ("--key", str(keys / "cosign.key"), *root, *config, "--yes")


@pytest.fixture
def verify(keys: Path) -> tuple[str, ...]:
    root = ("--trusted-root", str(keys / "trusted-root.json"))
    return ("--key", str(keys / "cosign.pub"), *root, "--insecure-ignore-tlog")


@pytest.fixture
def attest(keys: Path) -> tuple[str, ...]:
    return ("--predicate", str(keys / "predicate.json"), "--type", "custom")


@pytest.mark.operation("referrers")
def test_signs_and_verifies_through_referrers(
    cosign: Client, registry: Registry, repository: str, sign: tuple[str, ...], verify: tuple[str, ...]
) -> None:
    image = images.image("cosign sign")
    name = registry.push(repository, image)
    cosign("sign", *sign, name)
    (found,) = registry.referrers(repository, image.digest)
    assert found["artifactType"] == BUNDLE
    # Where the registry has the referrers API no fallback tag is written.
    assert registry.tags(repository) == ["v1"]
    (verified,) = json.loads(cosign("verify", *verify, name))
    assert verified["critical"]["image"]["docker-manifest-digest"] == image.digest
    assert "OCI referrer" in cosign("tree", name)


@pytest.mark.operation("referrers")
def test_attests_and_verifies_through_referrers(
    cosign: Client,
    registry: Registry,
    repository: str,
    sign: tuple[str, ...],
    verify: tuple[str, ...],
    attest: tuple[str, ...],
) -> None:
    image = images.image("cosign attest")
    name = registry.push(repository, image)
    cosign("attest", *sign, *attest, name)
    (found,) = registry.referrers(repository, image.digest)
    assert found["artifactType"] == BUNDLE
    assert "payload" in json.loads(cosign("verify-attestation", *verify, "--type", "custom", name))


@pytest.mark.operation("referrers")
def test_refuses_an_image_that_nobody_signed(
    cosign: Client, registry: Registry, repository: str, verify: tuple[str, ...]
) -> None:
    name = registry.push(repository, images.image("cosign unsigned"))
    assert "no signatures found" in cosign.refuses("verify", *verify, name)


@pytest.mark.operation("referrers")
def test_signs_through_referrers_in_the_older_format(
    cosign: Client, registry: Registry, repository: str, keys: Path
) -> None:
    image = images.image("cosign older")
    name = registry.push(repository, image)
    experimental = Client(cosign.argv, {**cosign.env, "COSIGN_EXPERIMENTAL": "1"})
    key = ("--key", str(keys / "cosign.key"))
    experimental("sign", *key, *LEGACY_SIGN, "--registry-referrers-mode=oci-1-1", name)
    (found,) = registry.referrers(repository, image.digest)
    assert found["artifactType"] == "application/vnd.dev.cosign.artifact.sig.v1+json"
    key = ("--key", str(keys / "cosign.pub"))
    (verified,) = json.loads(experimental("verify", *key, *LEGACY_VERIFY, "--experimental-oci11", name))
    assert verified["critical"]["image"]["docker-manifest-digest"] == image.digest


@pytest.mark.operation("index")
def test_signs_an_index_and_its_images(
    cosign: Client, registry: Registry, repository: str, sign: tuple[str, ...], verify: tuple[str, ...]
) -> None:
    index = images.index("cosign index")
    cosign("sign", *sign, "--recursive", registry.push(repository, index))
    for image in (index, *index.children):
        assert len(registry.referrers(repository, image.digest)) == 1
        cosign("verify", *verify, registry.name(repository, image.digest))


@pytest.mark.operation("own")
def test_signs_attests_and_cleans_with_tags(
    cosign: Client, registry: Registry, repository: str, keys: Path, attest: tuple[str, ...]
) -> None:
    image = images.image("cosign tags")
    name = registry.push(repository, image)
    key = ("--key", str(keys / "cosign.key"))
    cosign("sign", *key, *LEGACY_SIGN, name)
    cosign("attest", *key, *LEGACY_SIGN, *attest, name)
    tag = image.digest.replace(":", "-")
    assert registry.tags(repository) == [f"{tag}.att", f"{tag}.sig", "v1"]
    key = ("--key", str(keys / "cosign.pub"))
    assert json.loads(cosign("verify", *key, *LEGACY_VERIFY, name))
    assert json.loads(cosign("verify-attestation", *key, *LEGACY_VERIFY, "--type", "custom", name))
    assert f"{tag}.sig" in cosign("tree", name)
    cosign("clean", "--force", "--type", "all", name)
    assert registry.tags(repository) == ["v1"]


@pytest.mark.operation("copy")
def test_carries_an_image_with_its_signature_through_a_folder(
    cosign: Client,
    registry: Registry,
    repository: str,
    keys: Path,
    tmp_path: Path,
) -> None:
    image = images.image("cosign copy")
    name = registry.push(repository, image)
    cosign("sign", "--key", str(keys / "cosign.key"), *LEGACY_SIGN, name)
    cosign("save", "--dir", str(tmp_path / "saved"), name)
    cosign("load", "--dir", str(tmp_path / "saved"), registry.name(f"{repository}/copy"))
    assert registry.digest(f"{repository}/copy") == image.digest
    copied = registry.name(f"{repository}/copy", image.digest)
    assert json.loads(cosign("verify", "--key", str(keys / "cosign.pub"), *LEGACY_VERIFY, copied))
