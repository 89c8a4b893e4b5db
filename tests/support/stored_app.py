"""What the command serves, for another server to serve: the settings come from the environment."""

from ferro_oci_server.auth.gate import App
from ferro_oci_server.config import Config
from ferro_oci_server.server import build_app


def app() -> App:
    return build_app(Config.load({}))
