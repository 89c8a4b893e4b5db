"""Where tokens are given out: GET, as docker does it, and POST, as OAuth 2 does.

Spec: distribution, "Token Authentication Specification" and "Oauth2 Token Authentication"; RFC 6749.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from ferro_oci_server.api.app import Router
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response, json_response
from ferro_oci_server.api.routes import Route
from ferro_oci_server.auth.audit import AuditLog, Event
from ferro_oci_server.auth.authenticators import authenticate
from ferro_oci_server.auth.brakes import Brakes
from ferro_oci_server.auth.credentials import name_and_password, parse_authorization
from ferro_oci_server.auth.errors import AuthenticatorUnavailable, BadCredentials
from ferro_oci_server.auth.jose import MAX_BYTES
from ferro_oci_server.auth.principals import ANONYMOUS, Principal
from ferro_oci_server.auth.rights import TOKEN
from ferro_oci_server.auth.tokens import TokenService, parse_scopes
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.errors import RequestInvalid, Unauthorized

__all__ = ["token_routes"]

_MAX_BODY = 64 * 1024
_MAX_FIELDS = 50

_FORM = "application/x-www-form-urlencoded"


class _Endpoint:
    """The two handlers."""

    def __init__(self, service: TokenService, brakes: Brakes, audit: AuditLog | None) -> None:
        self._service = service
        self._brakes = brakes
        self._audit = audit

    async def get(self, state: AppState, request: Request) -> Response:
        """GET /token: who shows nothing is given a token for what anonymous clients may do."""
        query = request.query()
        self._check_service(query.get("service"))
        header = request.header(b"authorization")
        principal = ANONYMOUS if header is None else await self._login(request, header)
        wants_refresh = query.get("offline_token") == ["true"]
        return await self._answer(request, principal, query.get("scope", []), refresh=wants_refresh)

    async def post(self, state: AppState, request: Request) -> Response:
        """POST /token: with a password, or with a refresh token."""
        form = await _form(request)
        self._check_service([form["service"]] if "service" in form else None)
        grant = form.get("grant_type")
        if grant == "password":
            principal = await self._typed(request, form)
        elif grant == "refresh_token":
            principal = await self._known(request, form.get("refresh_token", ""))
        else:
            raise RequestInvalid("the grant is neither password nor refresh_token")
        wants_refresh = grant == "password" and form.get("access_type") == "offline"
        return await self._answer(request, principal, [form.get("scope", "")], refresh=wants_refresh)

    def _check_service(self, values: list[str] | None) -> None:
        if values is not None and values != [self._service.service]:
            raise RequestInvalid("this is another service")

    async def _login(self, request: Request, header: str) -> Principal:
        try:
            credentials = parse_authorization(header, request.client)
        except BadCredentials as exc:
            raise self._refused(request, exc) from None
        return await self._known(request, credentials)

    async def _typed(self, request: Request, form: Mapping[str, str]) -> Principal:
        try:
            credentials = name_and_password(form.get("username", ""), form.get("password", ""), request.client)
        except BadCredentials as exc:
            raise self._refused(request, exc) from None
        return await self._known(request, credentials)

    async def _known(self, request: Request, shown: Any) -> Principal:
        """Whose the credentials, or the refresh token, are.

        Raises:
            Unauthorized: nobody's.
        """
        try:
            if isinstance(shown, str):
                return await self._service.refresh(shown)
            return await authenticate(self._service.authenticators, shown)
        except BadCredentials as exc:
            raise self._refused(request, exc) from None
        except AuthenticatorUnavailable as exc:
            raise StoreUnavailable(str(exc)) from exc

    def _refused(self, request: Request, exc: BadCredentials) -> Unauthorized:
        if self._audit is not None:
            more = {"method": request.method, "path": TOKEN}
            self._audit.write(Event("denial", str(ANONYMOUS), request.client, 401, reason=str(exc), more=more))
        self._brakes.note_failure(request.client)
        return Unauthorized("the credentials are wrong", f'Basic realm="{self._service.service}", charset="UTF-8"')

    async def _answer(self, request: Request, principal: Principal, scopes: list[str], *, refresh: bool) -> Response:
        self._brakes.check_request(str(principal) if principal is not ANONYMOUS else f"address {request.client}")
        try:
            asked = parse_scopes(scopes)
        except ValueError as exc:
            raise RequestInvalid(str(exc)) from None
        given = await self._service.give(principal, asked)
        if len(given.token) > MAX_BYTES:
            raise RequestInvalid("the token would be too large to be taken: ask for less at a time")
        document: dict[str, Any] = {
            "token": given.token,
            "access_token": given.token,
            "expires_in": given.seconds,
            "issued_at": datetime.fromtimestamp(given.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "scope": " ".join(
                f"repository:{name}:{','.join(sorted(words))}" if name else "registry:catalog:*"
                for name, words in given.scopes.items()
            ),
        }
        if refresh:
            token = await self._service.give_refresh_token(principal)
            if token is not None:
                document["refresh_token"] = token
        return json_response(200, document, [(b"cache-control", b"no-store")])


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a form, each of which may be there once.

    Raises:
        RequestInvalid: it is none, or one that has more than any client sends.
    """
    if request.content_type() != _FORM:
        raise RequestInvalid(f"the body must be {_FORM}")
    content = await request.content(_MAX_BODY)
    fields: dict[str, str] = {}
    try:
        texts = (content or b"").decode("ascii").split("&")
        if content is None or len(texts) > _MAX_FIELDS:
            raise RequestInvalid("the form is too large")
        for text in texts:
            key, _, value = text.partition("=")
            name = unquote_plus(key, errors="strict")
            if name in fields:
                raise RequestInvalid("a field of the form is there twice")
            fields[name] = unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        raise RequestInvalid("the form cannot be read") from None
    return fields


def token_routes(service: TokenService, brakes: Brakes | None = None, audit: AuditLog | None = None) -> Router:
    """``/token``, to merge into a ``router`` that has a ``Gate`` above it."""
    endpoint = _Endpoint(service, brakes or Brakes(), audit)
    return Router([Route(TOKEN, "GET", endpoint.get), Route(TOKEN, "POST", endpoint.post)])
