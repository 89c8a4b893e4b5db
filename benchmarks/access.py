"""What access control takes: wrong credentials by whose they are, and bearer tokens: ``scripts/access-figures``."""

import base64
import http.client
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import bcrypt

from ferro_oci_server.testing.images import image
from support.registry import Registry, Setup, serve

from .documents import write_figures
from .load import Load

_COMMAND = Path(sys.executable).with_name("ferro-oci-server")

_PASSWORD = "right-password"
_COSTS = {"alice": 12, "bob": 10}
_PASSWORDS, _KEYS = 60, 400
_CONNECTIONS, _ROUNDS, _SECONDS = 16, 5, 3.0
_REPOSITORY = "private/app"

Headers = Mapping[str, str]


def _basic(user: str, password: str) -> Headers:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _keys(storage: Path, *arguments: str) -> str:
    command = [str(_COMMAND), "keys", "--storage-dir", str(storage), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _ways(expired: str) -> tuple[Mapping[str, Callable[[], Headers]], Mapping[str, Callable[[], Headers]]]:
    """Wrong credentials, each time others: of passwords, and of keys."""

    def wrong(user: str) -> Callable[[], Headers]:
        return lambda: _basic(user, secrets.token_urlsafe(12))

    def no_key(name: str) -> Callable[[], Headers]:
        return lambda: _basic(name, "ferro_" + secrets.token_urlsafe(32))

    passwords = {
        "a user's, with a hash of cost 12": wrong("alice"),
        "a user's, with a hash of cost 10": wrong("bob"),
        "nobody's": wrong("nobody"),
    }
    keys = {
        "no key, with the name of one": no_key("robot"),
        "no key, with no name of one": no_key("nobody"),
        "a key that has expired": lambda: _basic("robot", expired),
    }
    return passwords, keys


def _times(registry: Registry, ways: Mapping[str, Callable[[], Headers]], count: int) -> dict[str, list[float]]:
    """Milliseconds of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with closing(http.client.HTTPConnection(registry.address, timeout=60)) as connection:
        for _ in range(count):
            for name, make in ways.items():
                headers = make()
                started = time.perf_counter()
                connection.request("GET", "/v2/", headers=headers)
                response = connection.getresponse()
                response.read()
                taken[name].append((time.perf_counter() - started) * 1000)
                assert response.status == 401, response.status
    return taken


def _rows(kind: str, taken: Mapping[str, Sequence[float]], digits: int) -> list[str]:
    rows = []
    for name, times in taken.items():
        low, middle, high = (f"{value:.{digits}f}" for value in statistics.quantiles(times, n=4))
        rows.append(f"| {kind} | {name} | {len(times)} | {low} | {middle} | {high} |\n")
    return rows


def _rates(load: Load, opened: Registry, guarded: Registry) -> list[tuple[float, float]]:
    """Manifest GETs a second, open and by a token, in turns."""
    scope = f"service=ferro-oci-server&scope=repository:{_REPOSITORY}:pull"
    reply = guarded.request("GET", f"/token?{scope}", headers=_basic("alice", _PASSWORD))
    token = json.loads(reply.body)["token"]
    job = {
        "method": "GET",
        "path": f"/v2/{_REPOSITORY}/manifests/v1",
        "count": 1,
        "connections": _CONNECTIONS,
        "warmup": 1.0,
        "seconds": _SECONDS,
        "expect": [200],
    }
    shown = {"Authorization": f"Bearer {token}"}
    return [
        (
            load.run("requests", {**job, "address": opened.address}).rate,
            load.run("requests", {**job, "address": guarded.address, "fields": shown}).rate,
        )
        for _ in range(_ROUNDS)
    ]


def _fill(registry: Registry, headers: Headers) -> None:
    registry = Registry(registry.address, registry.process, shown=headers)
    content = image(b"what is asked for")
    for blob in content.blobs:
        registry.push_blob(_REPOSITORY, blob)
    registry.push_manifest(_REPOSITORY, "v1", content.media_type, content.body)


def _measure(folder: Path) -> str:
    users = (
        f"{user}:{bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(cost)).decode()}" for user, cost in _COSTS.items()
    )
    (folder / "htpasswd").write_text("\n".join(users), encoding="ascii")
    settings = {"FERRO_OCI_HTPASSWD": str(folder / "htpasswd"), "FERRO_OCI_FAILED_LOGINS_PER_MINUTE": "0"}
    expired = _keys(folder / "guarded", "create", "robot", "--expires", "1s")
    _keys(folder / "guarded", "create", "robot")
    time.sleep(1)
    with (
        serve(Setup(folder / "open"), folder / "open.log") as opened,
        serve(Setup(folder / "guarded", settings=settings), folder / "guarded.log") as guarded,
    ):
        passwords, keys = _ways(expired)
        lines = _rows("password", _times(guarded, passwords, _PASSWORDS), 0)
        lines += _rows("API key", _times(guarded, keys, _KEYS), 2)
        _fill(opened, {})
        _fill(guarded, _basic("alice", _PASSWORD))
        rates = _rates(Load(folder), opened, guarded)
    columns = ("credentials", "whose", "times", "first quartile, ms", "median, ms", "third quartile, ms")
    head = f"| {' | '.join(columns)} |\n|---|---|--:|--:|--:|--:|\n"
    ratios = sorted(guarded / opened for opened, guarded in rates)
    before, behind = (statistics.median(column) for column in zip(*rates, strict=True))
    return (
        f"{head}{''.join(lines)}\n"
        f"A manifest GET by tag over {_CONNECTIONS} connections, open and by a bearer token in turns: {before:,.0f} "
        f"and {behind:,.0f} a second,\n"
        f"{statistics.median(ratios):.2f} times as many ({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} turns).\n"
    )


def main() -> None:
    """Measure, and write it down."""
    with tempfile.TemporaryDirectory(prefix="ferro-access-") as folder:
        found = _measure(Path(folder))
    write_figures("security.md", "scripts/access-figures", found)


if __name__ == "__main__":
    main()
