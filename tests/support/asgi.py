"""The application as the command builds it, for servers other than the command's."""

from ferro_oci_server.auth.gate import App
from ferro_oci_server.config import Config
from ferro_oci_server.server import build_app


def app() -> App:
    """Build it from the settings in the environment."""
    return build_app(Config.load({}))
