"""Names and passwords: who is right, and how long it takes to find out who is wrong."""

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from ferro_oci_server.auth import htpasswd
from ferro_oci_server.auth.brakes import Brakes
from ferro_oci_server.auth.credentials import BasicCredentials, BearerToken
from ferro_oci_server.auth.errors import AuthenticatorUnavailable, BadCredentials
from ferro_oci_server.auth.htpasswd import Htpasswd, parse_users
from ferro_oci_server.auth.watching import FileProblem
from ferro_oci_server.oci.errors import TooManyRequests

pytestmark = pytest.mark.anyio


def line(user: str, password: str, cost: int = 10) -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()}\n"


ALICE = line("alice", "right")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text(f"# people\n\n{ALICE}{line('José', 'pässword')}")
    return path


@pytest.fixture
def users(path: Path) -> Htpasswd:
    return Htpasswd(path, Brakes(failed_logins_per_minute=5))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Thread]]:
    """In which threads bcrypt was asked."""
    threads: list[threading.Thread] = []
    real = bcrypt.checkpw

    def counted(password: bytes, digest: bytes) -> bool:
        threads.append(threading.current_thread())
        return real(password, digest)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    yield threads
    assert threading.main_thread() not in threads


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def opened(path: Path) -> Htpasswd:
    return await asyncio.to_thread(Htpasswd, path)


async def login(users: Htpasswd, user: str, password: str, address: str = "192.0.2.1") -> str:
    principal = await users.authenticate(BasicCredentials(user, password, address))
    assert principal is not None
    return str(principal)


async def test_who_has_the_password_is_let_in(users: Htpasswd) -> None:
    assert await login(users, "alice", "right") == "user:alice"
    assert await login(users, "José", "pässword") == "user:José"


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("bob", "right"), ("Alice", "right"), ("alice", "right\0"), ("#", "x")]
)
async def test_who_has_not_is_not(users: Htpasswd, user: str, password: str) -> None:
    with pytest.raises(BadCredentials, match="wrong user or password"):
        await login(users, user, password)


async def test_other_credentials_are_for_others(users: Htpasswd, checks: list[threading.Thread]) -> None:
    assert await users.authenticate(BearerToken("right")) is None
    assert await users.authenticate(BasicCredentials("alice", "x" * 73)) is None
    assert checks == []


async def test_the_beginning_of_a_password_is_not_the_password(path: Path) -> None:
    write(path, line("long", "p" * 72))
    users = await opened(path)
    assert await login(users, "long", "p" * 72) == "user:long"
    assert await users.authenticate(BasicCredentials("long", "p" * 73)) is None


async def test_what_was_right_is_remembered_for_a_minute(
    users: Htpasswd, checks: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await login(users, "alice", "right")
    assert len(checks) == 1
    monkeypatch.setattr(htpasswd, "monotonic", lambda: time.monotonic() + 61)
    await login(users, "alice", "right")
    assert len(checks) == 2


async def test_what_was_wrong_is_not_remembered(users: Htpasswd, checks: list[threading.Thread]) -> None:
    for _ in range(2):
        with pytest.raises(BadCredentials):
            await login(users, "alice", "wrong")
    assert len(checks) == 2


async def test_a_changed_password_counts_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferro_oci_server.auth.watching._INTERVAL", 0.0)
    users = await opened(path)
    principal = await users.authenticate(BasicCredentials("alice", "right"))
    assert principal is not None
    stamp = await users.stamp(principal)
    write(path, line("alice", "new"))
    with pytest.raises(BadCredentials):
        await login(users, "alice", "right")
    assert await login(users, "alice", "new") == "user:alice"
    assert await users.stamp(principal) not in (None, stamp)
    write(path, line("bob", "new"))
    with pytest.raises(BadCredentials):
        await login(users, "alice", "new")
    assert await users.stamp(principal) is None


async def test_what_was_right_before_a_change_is_not_remembered_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferro_oci_server.auth.watching._INTERVAL", 0.0)
    users = await opened(path)
    real, is_checking, may_go_on = bcrypt.checkpw, threading.Event(), threading.Event()

    def slow(password: bytes, digest: bytes) -> bool:
        if password == b"right":
            is_checking.set()
            may_go_on.wait(10)
        return real(password, digest)

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    running = asyncio.create_task(login(users, "alice", "right"))
    await asyncio.to_thread(is_checking.wait, 10)
    write(path, line("alice", "new"))
    assert await login(users, "alice", "new") == "user:alice"
    may_go_on.set()
    assert await running == "user:alice"
    with pytest.raises(BadCredentials):
        await login(users, "alice", "right")


async def test_a_broken_file_keeps_the_old_set(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ferro_oci_server.auth.watching._INTERVAL", 0.0)
    users = await opened(path)
    write(path, f"{line('bob', 'new')}alice:secret-in-plain-text\n")
    assert await login(users, "alice", "right") == "user:alice"
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "line 2" in str(record.__dict__)
    assert "secret-in-plain-text" not in str(record.__dict__)


@pytest.mark.parametrize(
    "text",
    [
        "alice",
        "alice:",
        "alice:password",
        "alice:$apr1$x$y",
        "alice:{SHA}x",
        ALICE.replace("$2b$", "$2x$"),
        line("cheap", "x", 4),
        ALICE.replace("$10$", "$16$"),
        ALICE + ALICE,
        ALICE.strip() + "x",
        f"al:ice{ALICE[5:]}",
        f" {ALICE}{ALICE[:-3]}",
    ],
)
def test_a_file_with_a_line_that_makes_no_sense_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(FileProblem, match="line "):
        Htpasswd(path)


async def test_too_many_wrong_ones_are_braked_by_user_and_by_address(users: Htpasswd) -> None:
    for number in range(5):
        with pytest.raises(BadCredentials):
            await login(users, "alice", "wrong", f"192.0.2.{number}")
    with pytest.raises(TooManyRequests) as caught:
        await login(users, "alice", "right", "192.0.2.99")
    assert 0 < caught.value.retry_after <= 12
    assert await login(users, "José", "pässword") == "user:José"


async def test_who_was_right_just_now_is_not_braked(users: Htpasswd) -> None:
    await login(users, "alice", "right")
    for _ in range(5):
        with pytest.raises(BadCredentials):
            await login(users, "alice", "wrong")
    assert await login(users, "alice", "right") == "user:alice"


async def test_no_more_than_some_wait(users: Htpasswd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htpasswd, "_MAX_WAITING", 3)
    calls = [login(users, "alice", "right") for _ in range(5)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [result for result in results if isinstance(result, AuthenticatorUnavailable)] == results[3:]
    assert results[:3] == ["user:alice"] * 3


def test_a_wrong_password_takes_as_long_for_every_user() -> None:
    users = parse_users((ALICE + line("slow", "right", 11)).encode())

    def seconds(user: str) -> float:
        started = time.process_time()
        assert not users.is_right(user, b"wrong")
        return time.process_time() - started

    times: dict[str, list[float]] = {"alice": [], "slow": [], "nobody": []}
    for _ in range(5):
        for user, taken in times.items():
            taken.append(seconds(user))
    medians = [statistics.median(taken) for taken in times.values()]
    assert max(medians) < 1.3 * min(medians)
