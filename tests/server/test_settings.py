"""Settings: one name everywhere, the flag above the environment above the file, and every mistake at once."""

from pathlib import Path

import pytest

from ferro_oci_server.config import PREFIX, Config, ConfigError, Listen, settings
from ferro_oci_server.oci.name import RepositoryName


def test_the_defaults_are_those_of_the_documentation() -> None:
    config = Config()

    assert str(config.listen) == "0.0.0.0:8080"
    assert config.storage_dir is None
    assert config.workers == 1
    assert not config.missing_references.allowed_in(RepositoryName("any/name"))


def test_a_flag_is_stronger_than_the_environment_and_that_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('workers = 2\nlisten = "127.0.0.1:1"\nshutdown_seconds = 5\n')
    environ = {f"{PREFIX}CONFIG": str(file), f"{PREFIX}LISTEN": "127.0.0.1:2", f"{PREFIX}SHUTDOWN_SECONDS": "6"}

    config = Config.load({"shutdown_seconds": "7"}, environ)

    assert (config.workers, config.listen.port, config.shutdown_seconds) == (2, 2, 7)


def test_a_flag_names_another_file_than_the_environment_does(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("workers = 2")
    (tmp_path / "two.toml").write_text("workers = 3")

    config = Config.load({"config": str(tmp_path / "two.toml")}, {f"{PREFIX}CONFIG": str(tmp_path / "one.toml")})

    assert config.workers == 3


def test_all_wrong_settings_are_reported_at_once_each_by_the_name_it_was_given(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('listen = "nowhere"\nnonsense = 1\n')
    environ = {f"{PREFIX}WORKERS": "none", f"{PREFIX}LOG_LEVEL": "loud"}

    with pytest.raises(ConfigError) as raised:
        Config.load({"config": str(file), "shutdown_seconds": "0"}, environ)

    problems = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 5
    for name in (
        f"{file}: listen",
        f"{file}: nonsense",
        "FERRO_OCI_WORKERS",
        "FERRO_OCI_LOG_LEVEL",
        "--shutdown-seconds",
    ):
        assert f"{name}: " in problems


@pytest.mark.parametrize("content", ["workers = ", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_reported_by_its_name(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "registry.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(ConfigError, match=r"registry\.toml"):
        Config.load({"config": str(file)}, {})


def test_a_switch_in_the_file_is_a_boolean_of_toml(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text("metrics = false")

    assert not Config.load({"config": str(file)}, {}).metrics


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:80", "::1", 80),
        (":5000", "0.0.0.0", 5000),
        ("localhost:1", "localhost", 1),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert Listen.parse(text) == Listen(host, port)


@pytest.mark.parametrize(
    "text", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "host:-1", "::1:x", "[::g]:1"]
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Config.from_mapping({"listen": text})


@pytest.mark.parametrize(
    ("text", "name", "allowed"),
    [
        ("refuse", "mirror/a", False),
        ("allow", "mirror/a", True),
        ("mirror/*", "mirror/a/b", True),
        ("mirror/*, cache/*", "cache/a", True),
        ("mirror/*", "mirrors/a", False),
    ],
)
def test_missing_references_are_allowed_everywhere_nowhere_or_by_pattern(text: str, name: str, allowed: bool) -> None:
    policy = Config.from_mapping({"missing_references": text}).missing_references

    assert policy.allowed_in(RepositoryName(name)) is allowed


@pytest.mark.parametrize(
    ("text", "patterns"), [("none", ()), ("old/1.*", ("old/1.*",)), ("old/1.*, *Helm*", ("old/1.*", "*Helm*"))]
)
def test_patterns_of_clients_stand_between_commas(text: str, patterns: tuple[str, ...]) -> None:
    assert Config.from_mapping({"redirect_except": text}).redirect_except == patterns


@pytest.mark.parametrize("text", ["", "old/1.*,", ",x"])
def test_a_pattern_that_is_empty_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="redirect_except"):
        Config.from_mapping({"redirect_except": text})


def test_downloads_are_redirected_to_a_bucket_only() -> None:
    with pytest.raises(ConfigError, match="redirect_downloads: "):
        Config.from_mapping({"redirect_downloads": "true", "storage_dir": "/somewhere"})
    Config.from_mapping({"redirect_downloads": "false", "storage_dir": "/somewhere"})


def test_certificates_are_believed_of_proxies_that_are_trusted() -> None:
    with pytest.raises(ConfigError, match="proxy_certificates: "):
        Config.from_mapping({"proxy_certificates": "true"})
    Config.from_mapping({"proxy_certificates": "true", "trusted_proxies": "10.0.0.1"})


def test_the_readme_documents_every_setting_with_its_default() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

    for setting in settings():
        default = setting.metadata["default"]
        variable, text = PREFIX + setting.name.upper(), setting.metadata["help"]
        row = f"| `{variable}` | {f'`{default}`' if default else 'none'} | {text} |"
        assert row in readme
