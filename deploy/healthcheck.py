"""Exit with 0 when the registry that the settings describe is ready; what the image's health check runs.

It reads the file and the environment, as the command does. What only a flag says, it cannot know. It has no
certificate: where clients must have one, it sees only that the server answers.
"""

import http.client
import ssl
import sys
from ipaddress import ip_address

from ferro_oci_server.config import Config

SECONDS = 4.0
"""Less than the health check itself has, so that it ends with a reason."""

ASKS_FOR_A_CERTIFICATE = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
"""What OpenSSL calls the refusal. Both ends speak TLS 1.3."""


def _reachable(host: str) -> str:
    """Where to ask a server that listens on ``host``: on every address it listens on loopback too."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _connection(config: Config) -> http.client.HTTPConnection:
    host, port = _reachable(config.listen.host), config.listen.port
    if config.tls_cert is None:
        return http.client.HTTPConnection(host, port, timeout=SECONDS)
    # It asks itself, and not by the name in its certificate.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)


def main() -> int:
    config = Config.load({})
    listen = config.listen
    connection = _connection(config)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        print(f"{response.status} {response.read().decode(errors='replace').strip()}")
    except ssl.SSLError as exc:
        print(f"{listen} says {exc.reason}")
        return 0 if config.tls_client_ca is not None and exc.reason == ASKS_FOR_A_CERTIFICATE else 1
    except (OSError, http.client.HTTPException) as exc:
        print(f"no answer from {listen}: {exc}", file=sys.stderr)
        return 1
    else:
        return 0 if response.status == 200 else 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
