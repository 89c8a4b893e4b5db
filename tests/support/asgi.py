"""The application as the command builds it, for servers other than the command's."""

from ferro_oci_server.api.app import Router
from ferro_oci_server.config import Config
from ferro_oci_server.server import build_app


def app() -> Router:
    """Build it from the settings in the environment."""
    return build_app(Config.load({}))
