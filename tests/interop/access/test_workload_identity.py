"""Tokens of an OIDC server, as CI systems give them to their builds: as the password of a login, and as bearer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import images
from support.process import CommandFailed

from .clients import RegistryClient
from .oidc_server import OidcServer, altered, oidc_server
from .world import POLICY, World, guarded

BUILDS = """
[issuers.ci]
issuer = "{issuer}"
audience = "web"
keys_url = "{keys_url}"

[[rules]]
name = "builds"
who = ["ci:id-*"]
claims = {{ email = "*@ci.example" }}
actions = ["pull", "push", "create-tag", "overwrite-tag"]
repositories = ["apps/*"]
"""


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcServer]:
    with oidc_server(tmp_path_factory.mktemp("oidc")) as server:
        yield server


@pytest.fixture(scope="module")
def world(workspace: Path, issuer: OidcServer) -> Iterator[World]:
    folder = workspace / "workload"
    folder.mkdir()
    policy = POLICY + BUILDS.format(issuer=issuer.issuer, keys_url=issuer.keys_url)
    with guarded(folder, policy, failed_logins_per_minute="1000") as world:
        yield world


def test_a_build_pushes_and_pulls_with_its_token_as_password(
    client: RegistryClient, world: World, issuer: OidcServer, short: str
) -> None:
    client.login("oidc", issuer.token("builder"))
    name = world.registry.name(f"apps/{short}")
    client.push(name, images.image(f"{short} build"))
    client.pull(name)
    with pytest.raises(CommandFailed):
        client.push(world.registry.name(f"private/{short}"), images.image(f"{short} build"))
    client.logout()
    assert "ci:id-builder" in world.denied(f"private/{short}")


def test_who_has_other_claims_pushes_nothing(
    client: RegistryClient, world: World, issuer: OidcServer, short: str
) -> None:
    client.login("oidc", issuer.token("visitor"))
    with pytest.raises(CommandFailed):
        client.push(world.registry.name(f"apps/visited-{short}"), images.image(f"{short} visit"))
    client.logout()
    assert world.denied(f"apps/visited-{short}") == {"ci:id-visitor"}


def test_a_token_is_taken_as_bearer(world: World, issuer: OidcServer) -> None:
    world.registry.push("apps/bearer", images.image("bearer"))
    for path, user, audience, status in (
        ("/v2/apps/bearer/tags/list", "builder", "web", 200),
        ("/v2/private/bearer/tags/list", "builder", "web", 404),
        ("/v2/apps/bearer/tags/list", "visitor", "web", 404),
        ("/v2/apps/bearer/tags/list", "builder", "api", 401),
    ):
        shown = {"Authorization": f"Bearer {issuer.token(user, audience)}"}
        assert world.registry.request("GET", path, headers=shown).status == status


def test_an_altered_token_is_refused(world: World, issuer: OidcServer) -> None:
    token = altered(issuer.token("visitor"), email="builds@ci.example")
    assert world.registry.request("GET", "/v2/", headers={"Authorization": f"Bearer {token}"}).status == 401
