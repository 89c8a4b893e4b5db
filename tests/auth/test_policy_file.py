"""The policy file: what is refused, and what happens when it changes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ferro_oci_server.auth.policy_file import Document, PolicyFile, parse
from ferro_oci_server.auth.principals import ANONYMOUS, Action
from ferro_oci_server.auth.watching import FileProblem
from ferro_oci_server.oci.name import RepositoryName

pytestmark = pytest.mark.anyio

ISSUER = '[issuers.ci]\nissuer = "https://ci"\naudience = "r"\nkeys_url = "https://ci/keys"\n'
NAME = RepositoryName("a")


def rule(**fields: str) -> str:
    values = {"who": '["everyone"]', "actions": '["pull"]', "repositories": '["*"]', **fields}
    return "[[rules]]\n" + "".join(f"{key} = {value}\n" for key, value in values.items() if value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules", "Expected '='"),
        ("\udcff", "utf-8"),
        ("[rule]\n", "rule: there is no such table"),
        ("rules = 1", "rules: expected tables"),
        ("rules = [1]", "rules[1]: expected a table"),
        (rule(extra="1"), "rules[1]: there is no such key: extra"),
        (rule(who=""), "rules[1]: who: expected a list of texts"),
        (rule(who="[]"), "rules[1]: who: expected a list of texts"),
        (rule(who='["alice"]'), "rules[1]: expected everyone, authenticated, anonymous, group:NAME"),
        (rule(who='["users:alice"]'), "not 'users:alice'"),
        (rule(who='["user:"]'), "not 'user:'"),
        (rule(who='["anonymous:x"]'), "not 'anonymous:x'"),
        (rule(who='["group:x"]'), "rules[1]: there is no group 'x' here"),
        ('[groups]\na = ["group:a"]\n', "groups.a: there is no group 'a' here"),
        ("[groups]\na = []\n", "groups: a: expected a list of texts"),
        (rule(actions='["read"]'), "rules[1]: actions: expected pull, push,"),
        (rule(repositories=""), "rules[1]: repositories: expected a list"),
        (rule(repositories='["A"]'), "rules[1]: repositories: 'A' matches none"),
        (rule(repositories='["a?"]'), "rules[1]: repositories: 'a?' matches none"),
        (rule(effect='"refuse"'), "rules[1]: effect: expected allow or deny"),
        (rule(tags='["v*"]'), "rules[1]: tags: only rules for create-tag and overwrite-tag"),
        (rule(claims='{ x = "y" }'), "rules[1]: claims: who must name one issuer"),
        (rule(claims='{ x = "y" }', who='["user:a"]'), "rules[1]: claims: who must name one issuer"),
        (ISSUER + rule(claims='{ x = "y" }', who='["ci:*", "user:a"]'), "rules[1]: claims: who must name one issuer"),
        (ISSUER + rule(claims='{ x = "" }', who='["ci:*"]'), "rules[1].x: claims: expected texts"),
        (ISSUER + rule(claims="{ x = 1.5 }", who='["ci:*"]'), "rules[1].x: claims: expected texts"),
        (ISSUER + rule(claims="{}", who='["ci:*"]'), "rules[1]: claims: expected texts"),
        (rule(name='"x"') + rule(name='"x"'), "rules: the name 'x' is there twice"),
        (ISSUER.replace("issuers.ci", "issuers.user"), "issuers.user: expected a word"),
        (ISSUER.replace("issuers.ci", "issuers.Ci"), "issuers.Ci: expected a word"),
        (ISSUER.replace("https://ci/keys", "http://ci/keys"), "issuers.ci: keys_url: expected https"),
        (ISSUER.replace("https://ci/keys", "https://u:p@ci/keys"), "issuers.ci: keys_url: expected https"),
        (ISSUER.replace("https://ci/keys", "file:///keys"), "issuers.ci: keys_url: expected https"),
        (ISSUER + 'keys_file = "x"\n', "issuers.ci: expected one of keys_url and keys_file"),
        (ISSUER.replace('audience = "r"\n', ""), "issuers.ci: audience: expected a text"),
        (ISSUER + ISSUER.replace("issuers.ci", "issuers.cj"), "issuers: https://ci is there twice"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text.encode("utf-8", "surrogateescape"))
    assert problem in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    text = rule(who='["alice"]') + rule(actions='["read"]', repositories='["A"]')
    with pytest.raises(ValueError) as caught:
        parse(text.encode())
    assert len(str(caught.value).splitlines()) == 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(rule())
    return path


@pytest.fixture
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferro_oci_server.auth.watching._INTERVAL", 0.0)


async def may_pull(policy: PolicyFile) -> bool:
    return (await policy.decide(ANONYMOUS, Action.PULL, NAME)).allowed


def write(path: Path, text: str) -> None:
    path.write_text(text)


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def turn(path: Path, text: str) -> None:
    """As Kubernetes does: the file is a link into a folder that is a link."""
    folder = path.parent / f"data-{len(list(path.parent.iterdir()))}"
    folder.mkdir()
    (folder / path.name).write_text(text)
    link = path.parent / "new"
    link.symlink_to(folder.name)
    link.replace(path.parent / "data")
    if not path.is_symlink():
        path.unlink()
        path.symlink_to(f"data/{path.name}")


@pytest.mark.usefixtures("look_always")
@pytest.mark.parametrize("change", [write, replace, turn])
async def test_a_changed_file_is_read_again(path: Path, change: Callable[[Path, str], None]) -> None:
    told: list[Document] = []
    policy = await asyncio.to_thread(PolicyFile, path, told.append)
    assert await may_pull(policy)
    for allowed in (False, True, False):
        change(path, rule(effect='"allow"' if allowed else '"deny"'))
        assert await may_pull(policy) is allowed
    assert len(told) == 4


@pytest.mark.usefixtures("look_always")
@pytest.mark.parametrize("broken", ["[[rules]]", "\0", None])
async def test_a_broken_file_leaves_what_was_there(
    path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    policy = await asyncio.to_thread(PolicyFile, path)
    if broken is None:
        remove(path)
    else:
        write(path, broken)
    for _ in range(3):
        assert await may_pull(policy)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    write(path, rule(effect='"deny"'))
    assert not await may_pull(policy)


async def test_what_has_been_looked_at_just_now_is_not_looked_at_again(path: Path) -> None:
    policy = await asyncio.to_thread(PolicyFile, path)
    remove(path)
    assert await asyncio.wait_for(may_pull(policy), 1)


def test_a_file_that_is_broken_from_the_start_is_refused(path: Path) -> None:
    path.write_text("x")
    with pytest.raises(FileProblem, match=r"policy\.toml: Expected"):
        PolicyFile(path)
    with pytest.raises(FileProblem, match="No such file"):
        PolicyFile(path.with_name("missing"))
