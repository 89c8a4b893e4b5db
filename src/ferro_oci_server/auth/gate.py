"""The gate: ASGI middleware above the router, which lets through what the policy allows.

server -> Gate -> what does it need (rights) -> who is it (authenticators) -> may it (policy) -> Router
            +-- 401 with a challenge, 403, 404 or 429, as the router would render them

1. The gate and the router judge by the same request, read once.
2. Whatever goes wrong in here is a denial.
3. What a client may not pull is to it like what is not there.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from ferro_oci_server.api import responses, routes
from ferro_oci_server.api.app import Receive, Router, Scope, Send
from ferro_oci_server.api.exchange import Exchange, Observer
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.api.requests import ACCESS, REQUEST, Request
from ferro_oci_server.auth.access import PrincipalAccess
from ferro_oci_server.auth.audit import AuditLog
from ferro_oci_server.auth.authenticators import Authenticator, Recalling, authenticate, find
from ferro_oci_server.auth.brakes import Brakes
from ferro_oci_server.auth.challenge import Challenge
from ferro_oci_server.auth.credentials import ClientCertificate, parse_authorization
from ferro_oci_server.auth.errors import AuthenticatorUnavailable, BadCredentials
from ferro_oci_server.auth.passage import UNKNOWN, Passage
from ferro_oci_server.auth.policy import Decision, Policy
from ferro_oci_server.auth.principals import ANONYMOUS, Action, Principal
from ferro_oci_server.auth.rights import REGISTRY, RIGHTS, Need, need
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.oci.errors import Denied, NameUnknown, OciError, TooManyRequests, Unauthorized
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["Gate"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_BEARER = b"Bearer "

_WITH_BODIES = frozenset({"POST", "PUT", "PATCH"})

_API_VERSION = (b"docker-distribution-api-version", b"registry/2.0")

# Somebody has to end uploads.
_RETRY_LATER = 60

_log = logging.getLogger("ferro_oci_server.auth")


class Gate:
    """Stands above a ``Router``, and lets through what its policy allows.

    It belongs right above: what it does not know it serves to nobody, so other pages of an application are not for it.
    """

    def __init__(  # noqa: PLR0913 (each is a part of its own, which a caller may leave out)
        self,
        app: App,
        *,
        policy: Policy,
        authenticators: Sequence[Authenticator] = (),
        challenge: Challenge | None = None,
        brakes: Brakes | None = None,
        audit: AuditLog | None = None,
        observers: Iterable[Observer] = (),
        limits: Limits | None = None,
        rights: Mapping[str, Mapping[str, Need]] = RIGHTS,
        count_uploads: Callable[[str], Awaitable[int]] | None = None,
    ) -> None:
        """Guard ``app``.

        ``observers`` are told of what is refused here; those of the router are not. ``count_uploads`` counts the open
        uploads of an owner (``AppState.count_uploads``); without it they are not limited.
        """
        self._app = app
        self._app_adds = isinstance(app, Router)
        self._policy = policy
        self._authenticators = tuple(authenticators)
        self._recalling = [it for it in self._authenticators if isinstance(it, Recalling)]
        self._challenge = challenge or Challenge()
        self._brakes = brakes or Brakes()
        self._audit = audit
        self._observers = tuple(observers)
        self._limits = limits or Limits()
        self._rights = rights
        self._count_uploads = count_uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one connection scope through, or refuse it."""
        if scope["type"] == "http":
            await self._guard(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request.of(scope, receive, self._limits)
        passage = Passage(request, self._audit)
        try:
            await self._admit(request, passage)
        except Exception as exc:
            if passage.pattern != UNKNOWN and request.method in _WITH_BODIES:
                await request.skip()
            await self._refuse(passage, exc, send)
            return
        scope = {**scope, REQUEST: request, ACCESS: passage.access}
        await self._app(scope, receive, passage.watch(send, adds=self._app_adds))

    async def _admit(self, request: Request, passage: Passage) -> None:
        """Find out what a request needs, who makes it, and whether that is allowed.

        Raises:
            OciError: it is not.
        """
        request.check()
        target = routes.target(request)
        passage.pattern = target.pattern
        passage.need = needed = need(self._rights, target, request.method)
        repository = request.repository() if routes.NAME in target.pattern else None
        if needed.action is None and not needed.login:
            return
        passage.repository = repository
        principal = await self._identify(request, needed, passage)
        passage.access = PrincipalAccess(principal, self._policy)
        if self._brakes.count_requests:
            self._brakes.check_request(f"address {request.client}" if principal.is_anonymous else str(principal))
        if needed.login:
            if principal is ANONYMOUS:
                raise self._challenge.raised(request, needed, "log in first")
            return
        await self._decide(request, needed, principal, repository, passage)
        if repository is not None and request.method in ("GET", "HEAD"):
            passage.is_public = (await self._policy.decide(ANONYMOUS, Action.PULL, repository)).allowed
        if target.pattern == routes.UPLOADS:
            await self._check_uploads(principal)

    async def _identify(self, request: Request, needed: Need, passage: Passage) -> Principal:
        """Who makes a request.

        Raises:
            Unauthorized: what it shows is wrong. It is never taken for anonymous then.
            TooManyRequests: something was wrong too often, from there.
        """
        header = request.headers.get(b"authorization")
        if header is not None and header.startswith(_BEARER):
            for it in self._recalling:
                known = it.recall(header[len(_BEARER) :])
                if known is not None:
                    passage.has_credentials, passage.principal = True, known
                    return known
        try:
            principal = await self._found(request, header)
        except BadCredentials as exc:
            passage.has_credentials, passage.reason = True, str(exc)
            self._brakes.note_failure(request.client)
            raise self._challenge.raised(request, needed, "the credentials are wrong", "invalid_token") from None
        except AuthenticatorUnavailable as exc:
            passage.has_credentials = True
            raise StoreUnavailable(str(exc)) from exc
        # A token of nobody in particular is shown, too.
        passage.has_credentials = header is not None or principal is not ANONYMOUS
        passage.principal = principal
        return principal

    async def _found(self, request: Request, header: bytes | None) -> Principal:
        """Whose the header is or, without one, the certificate; nobody's where none is shown, or looked at.

        Raises:
            BadCredentials, AuthenticatorUnavailable: as ``authenticate``.
        """
        if header is not None:
            credentials = parse_authorization(header.decode("latin-1"), request.client)
            return await authenticate(self._authenticators, credentials)
        if request.certificate is None:
            return ANONYMOUS
        return await find(self._authenticators, ClientCertificate(request.certificate)) or ANONYMOUS

    async def _decide(
        self,
        request: Request,
        needed: Need,
        principal: Principal,
        repository: RepositoryName | None,
        passage: Passage,
    ) -> None:
        """Ask the policy, and then the token.

        Raises:
            Unauthorized: an anonymous client may not, or the token is not good for it.
            NameUnknown: the client may not, and is not told whether it is there.
            Denied: the client may not.
        """
        assert needed.action is not None
        if repository is None and needed not in REGISTRY:
            raise Denied("there is no repository that this could be allowed in")
        decision = await self._ask(principal, needed.action, repository)
        passage.rule, passage.reason = decision.rule, "" if decision.allowed else str(decision)
        if not decision.allowed:
            if principal.is_anonymous:
                raise self._challenge.raised(request, needed, "log in first")
            if needed.action is Action.PULL:
                raise NameUnknown("the registry has no such repository")
            raise Denied("this is not allowed")
        if not principal.has_scope(needed.action, repository):
            passage.reason = "the token is not good for this"
            raise self._challenge.raised(request, needed, passage.reason, "insufficient_scope")

    async def _ask(self, principal: Principal, action: Action, repository: RepositoryName | None) -> Decision:
        if action is Action.CATALOG:
            return await self._policy.may_list_any(principal)
        return await self._policy.decide(principal, action, repository)

    async def _check_uploads(self, principal: Principal) -> None:
        most = self._brakes.max_open_uploads
        if most and self._count_uploads is not None and await self._count_uploads(principal.owner) >= most:
            raise TooManyRequests("too many uploads are open", _RETRY_LATER)

    async def _refuse(self, passage: Passage, exc: Exception, send: Send) -> None:
        request = passage.request
        exchange = Exchange(request)
        exchange.pattern = passage.pattern
        if not isinstance(exc, OciError):
            # Nobody is let in because something is broken.
            exchange.error, exchange.reference = exc, uuid4().hex
            is_ours = not isinstance(exc, StoreUnavailable)
            level = logging.ERROR if is_ours else logging.WARNING
            about = {"reference": exchange.reference, "problem": str(exc)}
            _log.log(level, "a request was denied", exc_info=exc if is_ours else None, extra=about)
        response = responses.error(exc, request.root, exchange.reference)
        response.headers.append(_API_VERSION)
        if isinstance(exc, Unauthorized):
            response.headers.append((b"cache-control", b"no-store"))
        exchange.status = response.status
        passage.refused(exc, response.status)
        body = b"" if request.method == "HEAD" else response.body
        exchange.sent = len(body)
        head: Any = {"type": "http.response.start", "status": response.status, "headers": response.headers}
        await send(head)
        await send({"type": "http.response.body", "body": body})
        for observe in self._observers:
            observe(exchange)
