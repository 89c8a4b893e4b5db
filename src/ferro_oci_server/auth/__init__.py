"""Authentication and authorization: ASGI middleware above a ``Router``, for the command and for who embeds it.

    app = Gate(router(state), policy=PolicyFile(path), authenticators=[Htpasswd(users)])

A ``Policy`` and an ``Authenticator`` of your own are classes with one method each.
"""

from ferro_oci_server.auth.audit import AuditLog
from ferro_oci_server.auth.authenticators import Authenticator, Lasting
from ferro_oci_server.auth.brakes import Brakes
from ferro_oci_server.auth.challenge import Challenge
from ferro_oci_server.auth.credentials import BasicCredentials, BearerToken, ClientCertificate, Credentials
from ferro_oci_server.auth.errors import AuthenticatorUnavailable, BadCredentials
from ferro_oci_server.auth.gate import Gate
from ferro_oci_server.auth.htpasswd import Htpasswd
from ferro_oci_server.auth.policy import Decision, Policy, RulePolicy, Skipping
from ferro_oci_server.auth.policy_file import PolicyFile
from ferro_oci_server.auth.principals import ANONYMOUS, Action, Principal
from ferro_oci_server.auth.watching import FileProblem

__all__ = [
    "ANONYMOUS",
    "Action",
    "AuditLog",
    "Authenticator",
    "AuthenticatorUnavailable",
    "BadCredentials",
    "BasicCredentials",
    "BearerToken",
    "Brakes",
    "Challenge",
    "ClientCertificate",
    "Credentials",
    "Decision",
    "FileProblem",
    "Gate",
    "Htpasswd",
    "Lasting",
    "Policy",
    "PolicyFile",
    "Principal",
    "RulePolicy",
    "Skipping",
]
