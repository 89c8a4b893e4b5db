"""A real OIDC server, of zitadel/oidc: it gives tokens to whom it knows, and shows the keys that sign them."""

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from support.process import daemon, free_port
from support.tools import clean_environment, require

_PASSWORD = "a password of the server's own"
# Nobody listens there: the token is in the address that the browser is sent to.
_BACK = "http://localhost:9/back"
USERS = {"builder": "builds@ci.example", "visitor": "visitor@elsewhere.example"}


@dataclass(frozen=True)
class OidcServer:
    """Where it is."""

    port: int

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}/"

    @property
    def keys_url(self) -> str:
        answer = self._ask("GET", "/.well-known/openid-configuration")[1]
        return str(json.loads(answer)["jwks_uri"])

    def token(self, user: str, audience: str = "web") -> str:
        """An ID token: the implicit flow, with the forms that a browser would send."""
        asked = {"client_id": audience, "redirect_uri": _BACK, "response_type": "id_token", "scope": "openid email"}
        page, _ = self._ask("GET", f"/auth?{urlencode({**asked, 'state': 's', 'nonce': 'n'})}")
        (request,) = parse_qs(urlsplit(page).query)["authRequestID"]
        form = urlencode({"username": user, "password": _PASSWORD, "id": request})
        page, _ = self._ask("POST", "/login/username", form)
        page, _ = self._ask("GET", page)
        (token,) = parse_qs(urlsplit(page).fragment)["id_token"]
        return token

    def _ask(self, method: str, target: str, form: str | None = None) -> tuple[str, bytes]:
        """Where it sends to, and what it says."""
        with closing(http.client.HTTPConnection("localhost", self.port, timeout=30)) as connection:
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
            connection.request(method, target, form, headers)
            response = connection.getresponse()
            return response.headers["Location"] or "", response.read()


def altered(token: str, **claims: str) -> str:
    """The same token with other claims, and the signature of the old ones."""
    head, body, signature = token.split(".")
    content = {**json.loads(base64.urlsafe_b64decode(body + "==")), **claims}
    body = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


@contextmanager
def oidc_server(folder: Path) -> Iterator[OidcServer]:
    """Run it until the block ends."""
    server = OidcServer(free_port())
    users = {
        f"id-{name}": {"ID": f"id-{name}", "Username": name, "Password": _PASSWORD, "Email": email}
        for name, email in USERS.items()
    }
    (folder / "users.json").write_text(json.dumps(users), encoding="ascii")
    settings = {"PORT": str(server.port), "USERS_FILE": str(folder / "users.json"), "REDIRECT_URI": _BACK}

    def ready() -> bool:
        try:
            return bool(server.keys_url)
        except OSError:
            return False

    env = {**clean_environment(folder / "oidc"), **settings}
    with daemon((require("oidc-server"),), env, folder / "oidc.log", ready):
        yield server
