"""Users and passwords in a file of ``htpasswd -B``: a line each, ``name:hash``, the hash of bcrypt.

1. Only bcrypt, with a cost of at least 10 and at most 15: what is faster can be guessed, and what is slower stops us.
2. Checking a password takes a tenth of a second or more, so it has threads of its own, and few may wait for them.
   That a password was right is remembered for a minute, under a key that nobody else has.
3. A wrong password takes as long for a user that is not there as for one that is, whatever the cost of its hash.
4. A file that changes is read again. One with a line that makes no sense is not taken: the old set counts.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import bcrypt

from ferro_oci_server.auth.brakes import Brakes
from ferro_oci_server.auth.credentials import BasicCredentials, Credentials
from ferro_oci_server.auth.errors import AuthenticatorUnavailable, BadCredentials
from ferro_oci_server.auth.principals import Principal
from ferro_oci_server.auth.watching import WatchedFile

__all__ = ["Htpasswd", "Users", "parse_users"]

KIND = "user"

_LINE = re.compile(r"([^:\s#][^:\x00-\x1f]{0,254}):(\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53})", re.ASCII)
_LEAST_COST, _MOST_COST = 10, 15

# bcrypt looks at no more, so a longer password would be known by its beginning.
_MAX_PASSWORD = 72

_THREADS = 2
_MAX_WAITING = 50
_REMEMBERED_SECONDS = 60.0
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Users:
    """The users of a file, and hashes of no password: one of each cost up to the highest in the file."""

    hashes: Mapping[str, bytes]
    dummies: Sequence[bytes]

    def is_right(self, user: str, password: bytes) -> bool:
        """Whether a user has a password. That it is wrong takes as long for every user, and for one that is not there.

        A cost is twice the work of the one before. So what a cheaper hash has left is all the costs from its own to the
        highest but one.
        """
        digest = self.hashes.get(user)
        if digest is None:
            _matches(password, self.dummies[-1])
            return False
        if _matches(password, digest):
            return True
        for dummy in self.dummies[_cost(digest) - _LEAST_COST : -1]:
            _matches(password, dummy)
        return False


def parse_users(content: bytes) -> Users:
    """Read a file of users.

    Raises:
        ValueError: a line makes no sense; every one is named, by its number alone.
    """
    hashes: dict[str, bytes] = {}
    problems: list[str] = []
    highest = _LEAST_COST
    for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _LINE.fullmatch(text)
        if found is None:
            problems.append(f"line {number}: expected a name, a colon and a hash of bcrypt, as htpasswd -B makes them")
            continue
        name, digest, cost = found[1], found[2], int(found[3])
        if not _LEAST_COST <= cost <= _MOST_COST:
            problems.append(f"line {number}: expected a cost from {_LEAST_COST} to {_MOST_COST} (htpasswd -B -C 12)")
        if name in hashes:
            problems.append(f"line {number}: this user is there twice")
        hashes[name] = digest.encode("ascii")
        highest = max(highest, cost)
    if problems:
        raise ValueError("\n".join(problems))
    # Of no password: the salts are random, and nothing comes out as what stands behind them.
    return Users(hashes, [bcrypt.gensalt(cost) + b"." * 31 for cost in range(_LEAST_COST, highest + 1)])


class Htpasswd:
    """An ``Authenticator`` of names and passwords."""

    def __init__(self, path: Path, brakes: Brakes | None = None) -> None:
        """Read the file.

        Raises:
            FileProblem: it cannot be read, or makes no sense.
        """
        self._file = WatchedFile(path, parse_users)
        self._brakes = brakes or Brakes()
        self._pool = ThreadPoolExecutor(_THREADS, "bcrypt")
        self._waiting = 0
        self._key = secrets.token_bytes(32)
        self._users = self._file.content
        self._remembered: OrderedDict[bytes, float] = OrderedDict()

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Who has this name and password.

        Raises:
            BadCredentials: nobody has.
            TooManyRequests: there were too many wrong ones.
            AuthenticatorUnavailable: too many wait to be checked.
        """
        if not isinstance(credentials, BasicCredentials):
            return None
        users = await self._file.current()
        if users is not self._users:
            self._users = users
            self._remembered.clear()
        password = credentials.password.encode("utf-8")
        if len(password) > _MAX_PASSWORD:
            # Nobody's; and a token or a key, which is longer, is somebody else's to look at.
            return None
        proof = self._proof(credentials.user, password)
        if self._remembered.get(proof, 0.0) < monotonic():
            await self._check(users, credentials, password)
            if users is self._users:
                # Else the file has changed meanwhile, and what was right may not be any more.
                self._remember(proof)
        return Principal(KIND, credentials.user)

    async def stamp(self, principal: Principal) -> str | None:
        """Changes with the password."""
        digest = (await self._file.current()).hashes.get(principal.name) if principal.kind == KIND else None
        return None if digest is None else hashlib.sha256(digest).hexdigest()[:16]

    async def _check(self, users: Users, credentials: BasicCredentials, password: bytes) -> None:
        self._brakes.check_login(credentials.user, credentials.address)
        if self._waiting >= _MAX_WAITING:
            raise AuthenticatorUnavailable("too many passwords wait to be checked")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._pool, users.is_right, credentials.user, password)
        finally:
            self._waiting -= 1
        if not right:
            self._brakes.note_failed_user(credentials.user)
            raise BadCredentials("wrong user or password")

    def _proof(self, user: str, password: bytes) -> bytes:
        # The length goes first, so that no two pairs look alike.
        name = user.encode("utf-8")
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + password, "sha256")

    def _remember(self, proof: bytes) -> None:
        self._remembered[proof] = monotonic() + _REMEMBERED_SECONDS
        self._remembered.move_to_end(proof)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def _cost(digest: bytes) -> int:
    return int(digest[4:6])


def _matches(password: bytes, digest: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, digest)
    except ValueError:
        # The salt, or the password, is nothing that bcrypt takes.
        return False
