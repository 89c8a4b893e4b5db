"""What may be done with each client, who may do it, and what is refused."""

from contextlib import suppress

import pytest

from support import images
from support.process import CommandFailed

from .clients import COPYING, RegistryClient
from .world import World, password


def login(client: RegistryClient, user: str) -> None:
    client.login(user, password(user))


def refuses(what: object, *args: object) -> str:
    assert callable(what)
    with pytest.raises(CommandFailed) as failure:
        what(*args)
    return failure.value.output


def test_pushes_and_pulls_until_it_logs_out(client: RegistryClient, world: World, short: str) -> None:
    name = world.registry.name(f"private/{short}")
    login(client, "pusher")
    client.push(name, images.image(f"{short} private"))
    assert world.registry.tags(f"private/{short}")
    client.pull(name)
    client.logout()
    assert refuses(client.pull, name)


def test_everybody_pulls_what_is_public_beside_what_is_not(client: RegistryClient, world: World, short: str) -> None:
    name = world.registry.name(f"public/{short}")
    login(client, "pusher")
    client.push(name, images.image(f"{short} public"))
    client.logout()
    client.pull(name)
    assert refuses(client.push, name, images.image(f"{short} nobody's"))


def test_who_may_only_read_pushes_nothing(client: RegistryClient, world: World, short: str) -> None:
    repository = f"private/refused-{short}"
    login(client, "reader")
    assert refuses(client.push, world.registry.name(repository), images.image(f"{short} refused"))
    client.logout()
    assert "user:reader" in world.denied(repository)
    # What cosign would have signed is there.
    assert world.registry.tags(repository) == (["v1"] if short == "cosign" else [])


def test_who_may_read_pulls_what_others_pushed(client: RegistryClient, world: World, short: str) -> None:
    name = world.registry.name(f"private/read-{short}")
    login(client, "pusher")
    client.push(name, images.image(f"{short} read"))
    client.logout()
    login(client, "reader")
    client.pull(name)
    client.logout()


def test_a_wrong_password_is_refused(client: RegistryClient, world: World, short: str) -> None:
    def log_in_and_pull() -> None:
        client.login("pusher", "a wrong password")
        # Some believe what they are told until they need it.
        client.pull(world.registry.name("private/any"))

    assert refuses(log_in_and_pull)
    # Those that asked at once have nothing to forget.
    with suppress(CommandFailed):
        client.logout()


@pytest.mark.parametrize("client", COPYING, indirect=True)
def test_layers_are_mounted_for_who_may_pull_them(client: RegistryClient, world: World, short: str) -> None:
    source, target = f"private/source-{short}", f"private/target-{short}"
    login(client, "pusher")
    client.push(world.registry.name(source), images.image(f"{short} source"))
    client.copy(world.registry.name(source), world.registry.name(target))
    client.logout()
    assert world.mounts(target) > 0
    assert world.registry.digest(target) == world.registry.digest(source)


@pytest.mark.parametrize("client", COPYING, indirect=True)
def test_no_layer_is_mounted_for_who_may_not_pull_it(client: RegistryClient, world: World, short: str) -> None:
    """Who has the bytes sends them; who has not cannot get them by a copy."""
    source, target = f"private/hidden-{short}", f"outside/{short}"
    login(client, "pusher")
    client.push(world.registry.name(source), images.image(f"{short} hidden"))
    client.pull(world.registry.name(source))
    client.logout()
    login(client, "outsider")
    if client.keeps_images:
        client.publish(world.registry.name(source), world.registry.name(target))
        assert world.registry.digest(target) == world.registry.digest(source)
    else:
        assert refuses(client.copy, world.registry.name(source), world.registry.name(target))
        assert world.registry.tags(target) == []
    client.logout()
    assert world.mounts(target) == 0
