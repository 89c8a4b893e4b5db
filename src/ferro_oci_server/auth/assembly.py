"""The gate that the settings ask for."""

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from ferro_oci_server.api.app import Router
from ferro_oci_server.api.exchange import Observer
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.auth.api_keys import ApiKeys
from ferro_oci_server.auth.audit import AuditLog
from ferro_oci_server.auth.authenticators import Authenticator
from ferro_oci_server.auth.brakes import Brakes
from ferro_oci_server.auth.certificates import ClientCertificates
from ferro_oci_server.auth.challenge import Challenge
from ferro_oci_server.auth.gate import Gate
from ferro_oci_server.auth.htpasswd import Htpasswd
from ferro_oci_server.auth.issuers import Issuers
from ferro_oci_server.auth.patterns import Pattern
from ferro_oci_server.auth.policy import Policy, Rule, RulePolicy, Who
from ferro_oci_server.auth.policy_file import Document, PolicyFile
from ferro_oci_server.auth.principals import Action
from ferro_oci_server.auth.token_routes import token_routes
from ferro_oci_server.auth.tokens import TokenService
from ferro_oci_server.auth.watching import FileProblem
from ferro_oci_server.backends.meta.memory_credentials import InMemoryCredentials
from ferro_oci_server.config import PREFIX, Config, ConfigError
from ferro_oci_server.core.state import PACKAGE_NAME, AppState

__all__ = ["EVERYBODY_WHO_LOGS_IN", "check", "gate", "policy_of"]

_ALL = Rule(
    f"everybody who logs in ({PREFIX}POLICY is not set)", (Who("authenticated"),), frozenset(Action), (Pattern("*"),)
)
EVERYBODY_WHO_LOGS_IN = RulePolicy([_ALL])
"""What is allowed where no policy is named: a user may do everything, and nobody else anything."""


def check(config: Config) -> None:
    """See that everything that the settings name can be read.

    Raises:
        ConfigError: something cannot.
    """
    problems: list[str] = []
    for name, path, read in (("htpasswd", config.htpasswd, Htpasswd), ("policy", config.policy, PolicyFile)):
        try:
            if path is not None:
                read(path)
        except FileProblem as exc:
            problems += [f"{name}: {problem}" for problem in exc.problems]
    if problems:
        raise ConfigError(problems)


def gate(app: Router, state: AppState, config: Config, limits: Limits, observers: Iterable[Observer] = ()) -> Gate:
    """What stands above the application of settings that let clients log in.

    Raises:
        FileProblem: a file cannot be read, or makes no sense.
    """
    brakes = Brakes(
        failed_logins_per_minute=config.failed_logins_per_minute,
        requests_per_minute=config.requests_per_minute,
        max_open_uploads=config.max_open_uploads_per_principal,
    )
    audit = AuditLog(pulls=config.audit_pulls) if config.audit_log else None
    service = urlsplit(config.public_url).netloc if config.public_url else PACKAGE_NAME
    issuers = Issuers()
    policy = policy_of(config, lambda document: issuers.use(document.issuers))
    if isinstance(policy, PolicyFile):
        issuers.refresh = policy.current
    # What other workers do not know is worth nothing, but a store of a user's own need not keep any.
    store = state.credentials or InMemoryCredentials()
    # Those that can tell by its form whether something is theirs, first: a password costs the most to look at.
    authenticators: list[Authenticator] = [ApiKeys(store), issuers]
    if config.proxy_certificates:
        authenticators.append(ClientCertificates())
    if config.htpasswd is not None:
        authenticators.append(Htpasswd(config.htpasswd, brakes))
    if config.token_service:
        tokens = TokenService(service, store, policy, authenticators, config.token_seconds)
        app = app.merge(token_routes(tokens, brakes, audit))
        authenticators = [tokens, *authenticators]
    return Gate(
        app,
        policy=policy,
        authenticators=authenticators,
        challenge=Challenge(service, config.token_service, config.public_url),
        brakes=brakes,
        audit=audit,
        observers=observers,
        limits=limits,
        count_uploads=state.count_uploads,
    )


def policy_of(config: Config, on_change: Callable[[Document], None] | None = None) -> Policy:
    """The policy that the settings name.

    Raises:
        FileProblem: its file cannot be read, or makes no sense.
    """
    return EVERYBODY_WHO_LOGS_IN if config.policy is None else PolicyFile(config.policy, on_change)
