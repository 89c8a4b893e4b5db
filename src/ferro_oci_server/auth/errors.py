"""What goes wrong before it is known who a client is."""

__all__ = ["AuthenticatorUnavailable", "BadCredentials"]


class BadCredentials(Exception):
    """Raised when credentials are not what they claim to be; nothing of them is in the text."""


class AuthenticatorUnavailable(Exception):
    """Raised when it cannot be known now whether credentials are right; the client may come again."""
