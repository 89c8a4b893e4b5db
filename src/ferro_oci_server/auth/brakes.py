"""Brakes: what one client may do so often, and no more often for a while. None of them ever locks for good.

They count in one process: of several workers each lets as much through.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from math import ceil
from time import monotonic

from ferro_oci_server.oci.errors import TooManyRequests

__all__ = ["Brake", "Brakes"]

# Twenty megabytes at most, and more names than can be tried before the first is forgiven.
_MAX_KEYS = 100_000
_MAX_KEY = 64


class Brake:
    """Lets something happen so often a minute for each key: as often at once, and then evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = monotonic) -> None:
        """``per_minute`` of 0 brakes nothing."""
        self._seconds = 60 / per_minute if per_minute else 0.0
        self._most = 60.0 - self._seconds if per_minute else 0.0
        self._clock = clock
        # When all that has happened will be forgiven.
        self._forgiven: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str) -> float:
        """How many seconds until it may happen; 0 for now."""
        forgiven = self._forgiven.get(_short(key))
        return 0.0 if forgiven is None else max(0.0, forgiven - self._clock() - self._most)

    def take(self, key: str) -> None:
        """It happens."""
        if not self._seconds:
            return
        now, key = self._clock(), _short(key)
        self._forgiven[key] = max(now, self._forgiven.pop(key, now)) + self._seconds
        if len(self._forgiven) > _MAX_KEYS:
            self._forgiven.popitem(last=False)


def _short(key: str) -> str:
    """A key of a bounded length: names are whatever somebody types."""
    return key if len(key) <= _MAX_KEY else hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()


def _network(address: str) -> str:
    """Where an address is from: of IPv6 one customer has a whole network of them."""
    try:
        found = IPv6Address(address)
    except ValueError:
        return address
    return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False))


class Brakes:
    """Those that authentication has."""

    def __init__(
        self, *, failed_logins_per_minute: int = 30, requests_per_minute: int = 0, max_open_uploads: int = 100
    ) -> None:
        """The numbers are for each address or user, and for each principal; 0 brakes nothing."""
        self._failures = Brake(failed_logins_per_minute)
        self._requests = Brake(requests_per_minute) if requests_per_minute else None
        self.count_requests = requests_per_minute > 0
        self.max_open_uploads = max_open_uploads

    def check_login(self, user: str, address: str) -> None:
        """Let somebody try to log in with a password.

        Raises:
            TooManyRequests: that user, or somebody from that address, has failed too often.
        """
        self._check(max(self._failures.wait(f"user {user}"), self._failures.wait(f"address {_network(address)}")))

    def note_failed_user(self, user: str) -> None:
        """Count a wrong password of a user."""
        self._failures.take(f"user {user}")

    def note_failure(self, address: str) -> None:
        """Count credentials that were wrong.

        Raises:
            TooManyRequests: too many were, from there.
        """
        key = f"address {_network(address)}"
        wait = self._failures.wait(key)
        self._failures.take(key)
        self._check(wait)

    def check_request(self, key: str) -> None:
        """Let a principal make a request.

        Raises:
            TooManyRequests: it has made too many.
        """
        if self._requests is not None:
            self._check(self._requests.wait(key))
            self._requests.take(key)

    @staticmethod
    def _check(wait: float) -> None:
        if wait > 0:
            raise TooManyRequests("too often: come again later", ceil(wait))
