"""What the image's health check says of the command, without TLS, with it, and where clients must have certificates."""

import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.certificates import Authority
from support.registry import Setup, serve

from .programs import DEPLOY

AUTHORITY = Authority.new()


def check(settings: Mapping[str, str]) -> tuple[int, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("FERRO_OCI_")}
    argv = [sys.executable, str(DEPLOY / "healthcheck.py")]
    done = subprocess.run(argv, env={**env, **settings}, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout.strip() or done.stderr.strip()


def settings_of_tls(folder: Path) -> dict[str, str]:
    AUTHORITY.give(folder / "server")
    return {"FERRO_OCI_TLS_CERT": str(folder / "server.crt"), "FERRO_OCI_TLS_KEY": str(folder / "server.key")}


def trusting(folder: Path) -> ssl.SSLContext:
    AUTHORITY.write(folder / "ca.crt")
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.check_hostname = False
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_asks_where_the_command_listens(tmp_path: Path, host: str) -> None:
    with serve(Setup(None, host=host), tmp_path / "log") as registry:
        assert check({"FERRO_OCI_LISTEN": registry.address}) == (0, "200 ready")


def test_it_speaks_tls_where_the_command_does(tmp_path: Path) -> None:
    settings = settings_of_tls(tmp_path)
    with serve(Setup(None, settings=settings, tls=trusting(tmp_path)), tmp_path / "log") as registry:
        assert check({"FERRO_OCI_LISTEN": registry.address, **settings}) == (0, "200 ready")
        status, said = check({"FERRO_OCI_LISTEN": registry.address})
        assert status == 1, said


def test_it_takes_being_refused_for_an_answer(tmp_path: Path) -> None:
    context = trusting(tmp_path)
    AUTHORITY.give(tmp_path / "client")
    context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
    plain = settings_of_tls(tmp_path)
    settings = {**plain, "FERRO_OCI_TLS_CLIENT_CA": str(tmp_path / "ca.crt")}
    with serve(Setup(None, settings=settings, tls=context), tmp_path / "log") as registry:
        status, said = check({"FERRO_OCI_LISTEN": registry.address, **settings})
        assert status == 0, said
        # Where nobody was to be asked for one, it is no answer.
        status, said = check({"FERRO_OCI_LISTEN": registry.address, **plain})
        assert status == 1, said


def test_it_says_that_nobody_answers() -> None:
    status, said = check({"FERRO_OCI_LISTEN": "127.0.0.1:1"})
    assert status == 1
    assert "no answer from 127.0.0.1:1" in said
