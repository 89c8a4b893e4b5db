"""Credentials that no client sends, over a socket, to a registry in which everything is private."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest

from auth.issuer import KEYS
from support.nginx import proxied
from support.registry import Registry, Setup, serve

from .corpus import Case
from .test_hostile_requests import REPOSITORY, check_error, exchange, with_tls

MANIFEST = f"/v2/{REPOSITORY}/manifests/v1"


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def jwt(header: Any, claims: Any = None, signature: bytes = b"x" * 32) -> str:
    parts = (it if isinstance(it, bytes) else json.dumps(it).encode() for it in (header, claims or CLAIMS, signature))
    return "Bearer " + ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


EVERYTHING = [{"type": "repository", "name": REPOSITORY, "actions": ["pull", "push", "delete", "*"]}]
CLAIMS = {
    "iss": "https://issuer.example",
    "sub": "anybody",
    "aud": "registry",
    "exp": 4102444800,
    "nbf": 0,
    "iat": 0,
    "access": EVERYTHING,
}

AUTHORIZATIONS = {
    "nothing": None,
    "an empty header": "",
    "a scheme alone": "Basic",
    "a scheme of another": "Digest username=admin",
    "no base64": "Basic %%%",
    "base64 with spaces": "Basic YWRt aW46eA==",
    "neither name nor password": basic(":"),
    "no colon": basic("admin"),
    "no password": basic("admin:"),
    "no name": basic(":right-password"),
    "a zero byte in the name": basic("adm\0in:right-password"),
    "a line break in the password": basic("admin:right-password\r\n"),
    "no UTF-8": basic(b"admin:\xff\xfe"),
    "a wrong password": basic("admin:wrong"),
    "a name in capitals": basic("ADMIN:right-password"),
    "a password with more behind it": basic("admin:right-password "),
    "a password of 73 bytes": basic("admin:" + "p" * 73),
    "two in one": f"{basic('admin:wrong')}, {basic('admin:right-password')}",
    "no token": "Bearer ",
    "a token of two parts": "Bearer eyJ.e30",
    "a token of five parts": "Bearer eyJ.e30.e30.e30.e30",
    "a token of dots": "Bearer " + "." * 8000,
    "a long token": "Bearer " + "A" * 15_000,
    "a longer token": "Bearer " + "A" * 60_000,
    "padding in a token": "Bearer eyJhbGciOiJSUzI1NiJ9.e30=.AA==",
    "no algorithm": jwt({"alg": "none", "kid": "k"}, signature=b""),
    "a secret that is public": jwt({"alg": "HS256", "kid": "k"}),
    "a key of its own": jwt({"alg": "ES256", "kid": "k", "jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}),
    "a place of keys": jwt({"alg": "RS256", "kid": "k", "jku": "http://169.254.169.254/keys"}),
    "a place of a chain": jwt({"alg": "RS256", "kid": "k", "x5u": "http://127.0.0.1/chain"}),
    "a chain of its own": jwt({"alg": "RS256", "kid": "k", "x5c": ["AAAA"]}),
    "a path as a key": jwt({"alg": "HS256", "kid": "../../../dev/null"}),
    "an extension": jwt({"alg": "RS256", "kid": "k", "crit": ["b64"], "b64": False}),
    "an algorithm that is a list": jwt({"alg": ["RS256"], "kid": "k"}),
    "an audience that is a table": jwt({"alg": "RS256", "kid": "k"}, {**CLAIMS, "aud": {"registry": 1}}),
    "access that is a text": jwt({"alg": "RS256", "kid": "k"}, {**CLAIMS, "access": "*"}),
    "an issuer that is a number": jwt({"alg": "RS256", "kid": "k"}, {**CLAIMS, "iss": 1}),
    "a header with two algorithms": jwt(b'{"alg":"none","alg":"RS256","kid":"k"}'),
    "a header that is nested": jwt(b"[" * 3000),
    "a header that is a list": jwt([]),
    "a zero byte in the algorithm": jwt({"alg": "RS256\0", "kid": "k"}),
}

TARGETS: dict[str, tuple[str, str, dict[str, str], tuple[int, ...]]] = {
    "another host": ("GET", MANIFEST, {"Host": "x/v2/?"}, (401, 400)),
    "dots from an open page": ("GET", f"/live/../v2/{REPOSITORY}/manifests/v1", {}, (404, 400)),
    "dots below /v2/": ("GET", f"/v2/../v2/{REPOSITORY}/manifests/v1", {}, (400, 401, 404)),
    "two slashes": ("GET", f"//v2/{REPOSITORY}/manifests/v1", {}, (404, 400)),
    "an encoded slash": ("GET", "/v2/bad%2ffix/manifests/v1", {}, (400, 401, 404)),
    "an encoded letter": ("GET", "/v2/b%61d/fix/manifests/v1", {}, (400, 401, 404)),
    "a parameter of a path": ("GET", "/v2/bad/fix;x=1/manifests/v1", {}, (400, 401, 404)),
    "another method": ("GET", MANIFEST, {"X-HTTP-Method-Override": "DELETE"}, (401,)),
    "another path": ("GET", MANIFEST, {"X-Original-URL": "/live", "X-Forwarded-Prefix": "/live"}, (401,)),
    "somebody else's word": ("GET", MANIFEST, {"X-Forwarded-User": "admin", "X-WebAuth-User": "admin"}, (401,)),
    "deleting": ("DELETE", MANIFEST, {}, (401,)),
    "a mount from what is private": (
        "POST",
        f"/v2/public/x/blobs/uploads/?mount=sha256:{'0' * 64}&from={REPOSITORY}",
        {},
        (401,),
    ),
    "the catalog": ("GET", "/v2/_catalog", {}, (401,)),
    "the metrics": ("GET", "/metrics", {}, (401,)),
    "many scopes": ("GET", "/token?" + "&".join(f"scope=repository:a{n}:pull" for n in range(250)), {}, (400,)),
    "a long scope": ("GET", "/token?scope=repository:" + "a" * 7000 + ":pull", {}, (200,)),
}


def cases() -> list[Case]:
    found = []
    for name, authorization in AUTHORIZATIONS.items():
        headers = {} if authorization is None else {"Authorization": authorization}
        refused = (401, 400, 431) if name == "a longer token" else (401, 400)
        found.append(Case(name, name, "GET", refused, None, None, False, {"path": MANIFEST, "headers": headers}))
        path = "/token?service=ferro-oci-server&scope=repository:bad/fix:pull"
        if authorization is not None:
            request = {"path": path, "headers": headers}
            found.append(Case(f"{name}, for a token", name, "GET", refused, None, None, False, request))
    for name, (method, path, headers, statuses) in TARGETS.items():
        found.append(Case(name, name, method, statuses, None, None, False, {"path": path, "headers": headers}))
    return found


@pytest.fixture(scope="module", params=["command", "nginx", "tls"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("hostile")
    digest = bcrypt.hashpw(b"right-password", bcrypt.gensalt(10)).decode()
    (folder / "htpasswd").write_text(f"admin:{digest}\nlong:{bcrypt.hashpw(b'p' * 72, bcrypt.gensalt(10)).decode()}\n")
    (folder / "policy.toml").write_text(POLICY.replace("FOLDER", str(folder)))
    (folder / "keys.json").write_text(json.dumps(KEYS))
    settings = {
        "FERRO_OCI_HTPASSWD": str(folder / "htpasswd"),
        "FERRO_OCI_POLICY": str(folder / "policy.toml"),
        # So many are wrong here, and from one address.
        "FERRO_OCI_FAILED_LOGINS_PER_MINUTE": "0",
    }
    setup = Setup(folder / "storage", settings=settings)
    if request.param == "tls":
        setup = with_tls(setup, folder)
    with serve(setup, folder / "log") as registry:
        if request.param != "nginx":
            yield registry
        else:
            with proxied(folder, registry) as proxy:
                yield proxy
    assert "Traceback" not in (folder / "log").read_text()


POLICY = """
[issuers.ci]
issuer = "https://issuer.example"
audience = "registry"
keys_file = "FOLDER/keys.json"

[[rules]]
who = ["user:admin", "user:long"]
actions = ["*", "metrics"]
repositories = ["*"]
"""


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_hostile_credentials_are_refused(registry: Registry, case: Case) -> None:
    status, body = exchange(registry, case, "")
    assert status in case.statuses, body[:200]
    assert status is not None
    check_error(case, status, body)
    admin = {"Authorization": basic("admin:right-password")}
    assert registry.request("GET", "/v2/", headers=admin).status == 200
