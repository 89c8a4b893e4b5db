"""The compose files: read by Docker Compose, and what they let their services do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ferro_oci_server.config import Config
from support.process import Client

from .programs import DEPLOY, checker

COMPOSE = DEPLOY / "compose"
FILES = ("single.yaml", "scale-out.yaml")
SECRETS = {"POSTGRES_PASSWORD": "a-password", "S3_SECRET_KEY": "a-key"}


def compose(home: Path, name: str, environment: dict[str, str]) -> Client:
    program = checker("docker-compose", home)
    return Client((*program.argv, "--file", str(COMPOSE / name)), {**program.env, **environment})


def services(home: Path, name: str) -> dict[str, dict[str, Any]]:
    model = json.loads(compose(home, name, SECRETS)("config", "--format", "json"))
    found: dict[str, dict[str, Any]] = model["services"]
    return found


@pytest.mark.parametrize("name", FILES)
def test_services_may_do_next_to_nothing(tmp_path: Path, name: str) -> None:
    for service, given in services(tmp_path, name).items():
        assert given["read_only"] is True, service
        assert given["cap_drop"] == ["ALL"], service
        assert given["security_opt"] == ["no-new-privileges:true"], service
        assert not given.get("privileged"), service
        for port in given.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", service


@pytest.mark.parametrize("name", FILES)
def test_images_are_pinned(tmp_path: Path, name: str) -> None:
    for service, given in services(tmp_path, name).items():
        assert re.search(r":v?\d+\.\d+", given["image"]), service


@pytest.mark.parametrize("name", FILES)
def test_the_image_is_built_from_what_is_here(tmp_path: Path, name: str) -> None:
    build = services(tmp_path, name)["registry"]["build"]
    assert Path(build["context"], build["dockerfile"]) == DEPLOY / "Containerfile"


def test_the_server_takes_the_settings(tmp_path: Path) -> None:
    given = services(tmp_path, "scale-out.yaml")["registry"]["environment"]
    config = Config.load({}, given)
    assert config.database_url == "postgresql://registry:a-password@database/registry"
    assert config.storage_url == "s3://registry/blobs?endpoint=http://objects:7070&region=us-east-1"


@pytest.mark.parametrize("name", FILES)
def test_requests_may_end_before_it_is_killed(tmp_path: Path, name: str) -> None:
    given = services(tmp_path, name)["registry"]
    assert int(given["stop_grace_period"].removesuffix("s")) > Config().shutdown_seconds


def test_the_example_of_the_environment_asks_for_the_secrets(tmp_path: Path) -> None:
    example = (COMPOSE / "scale-out.env.example").read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)=$", example, re.MULTILINE) == list(SECRETS)
    # What it says besides is read, and counts otherwise.
    written = (COMPOSE / "scale-out.yaml").read_text(encoding="utf-8")
    for name, value in re.findall(r"^#(\w+)=(\S+)$", example, re.MULTILINE):
        assert f"${{{name}:-{value}}}" in written
    # It is no environment itself: a secret that is empty is refused.
    path = tmp_path / "environment"
    path.write_text(example, encoding="utf-8")
    assert next(iter(SECRETS)) in compose(tmp_path, "scale-out.yaml", {}).refuses("--env-file", str(path), "config")


@pytest.mark.parametrize("missing", SECRETS)
def test_secrets_have_no_default(tmp_path: Path, missing: str) -> None:
    rest = {name: value for name, value in SECRETS.items() if name != missing}
    assert missing in compose(tmp_path, "scale-out.yaml", rest).refuses("config")
