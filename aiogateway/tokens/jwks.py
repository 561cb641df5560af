"""Keys from a JWK Set (RFC 7517), fetched over HTTP and kept.

Owns what is taken from a set, and when it is fetched. Rules:

- One fetch at a time, whoever wants it and however many; a waiter that goes away doesn't end it.
- A fetch begins when a key is asked for that isn't known, and in the background when the set has grown old; never
  sooner than a cooldown after the last one, so that made-up key names cost the issuer nothing.
- A good answer replaces the whole set. On any other the old keys stay, however old they are.
- No redirects, no proxies from the environment, no compression, bounded time and size.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
import jwt
import orjson
import structlog
from yarl import URL

from aiogateway.tokens.keys import FOREIGN, Key, Unavailable, public_key

# Seconds.
TIMEOUT: Final = 5.0
REFRESH_AFTER: Final = 600.0
COOLDOWN: Final = 30.0
COOLDOWN_WITHOUT_KEYS: Final = 2.0

MAX_BODY: Final = 1 << 20
MAX_KEYS: Final = 100
# Signature checks that one token may cost, where a set doesn't tell its keys apart.
MAX_CANDIDATES: Final = 5

# `kty` -> an algorithm by whose name PyJWT reads such keys. Secrets (`oct`) have no place in a public set.
_READ_AS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
# Members of secret and private keys (RFC 7518 section 6).
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

log = structlog.get_logger(__name__)


class Unusable(Exception):
    """An answer holds no key set that can be used; the text says why, and nothing of the answer."""


def keys_of(body: bytes, algorithms: Sequence[str]) -> tuple[Key, ...]:
    """The usable keys of a JWK Set; others are passed over (RFC 7517 section 5).

    :param algorithms: accepted ones.
    :raises Unusable: it is no set, or holds no usable key.
    """
    try:
        held = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unusable("no JSON") from None
    entries = held.get("keys") if isinstance(held, dict) else None
    if not isinstance(entries, list):
        raise Unusable("no key set")
    found = tuple(key for entry in entries[:MAX_KEYS] if (key := _key_of(entry, algorithms)) is not None)
    if not found:
        raise Unusable("no usable key")
    return found


def _key_of(entry: object, algorithms: Sequence[str]) -> Key | None:
    """One JWK as a key; None when it isn't one that verifies signatures with an accepted algorithm."""
    if not isinstance(entry, dict) or not _PRIVATE.isdisjoint(entry):
        return None
    kty, kid, pinned = entry.get("kty"), entry.get("kid"), entry.get("alg")
    operations = entry.get("key_ops", ["verify"])
    if (
        not isinstance(kty, str)
        or kty not in _READ_AS
        or not isinstance(kid, str | None)
        or entry.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
    ):
        return None
    names = algorithms if "alg" not in entry else [name for name in algorithms if name == pinned]
    try:
        return public_key(jwt.PyJWK(entry, _READ_AS[kty]).key, kid, names)
    except FOREIGN:
        return None


class Jwks:
    """The keys of one issuer. `start` it inside an event loop.

    :param url: of the set. What it holds beside scheme, host and path is never logged.
    :param algorithms: accepted ones.
    :param clock: seconds, monotonic.
    :param timeout: seconds for one fetch as a whole.
    :raises ValueError: it is no URL.
    """

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
    ) -> None:
        self._url = URL(url)
        self._where = str(self._url.with_user(None).with_query(None).with_fragment(None))
        self._algorithms = algorithms
        self._clock = clock
        self._timeout = timeout
        self._keys: tuple[Key, ...] = ()
        self._generation = 0
        self._old_at = 0.0
        self._next_fetch = clock()
        self._failing = False
        self._session: aiohttp.ClientSession | None = None
        self._flight: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the session and begin the first fetch; a failing one doesn't fail the start."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        self._fetch()

    async def close(self) -> None:
        """End a fetch under way and close the session; harmless without one, or twice."""
        session, self._session = self._session, None
        try:
            if self._flight is not None:
                self._flight.cancel()
                await asyncio.wait([self._flight])
        finally:
            if session is not None:
                await session.close()

    def generation(self) -> int:
        """A number that changes when the keys do; begins a refresh when they have grown old."""
        if self._keys and self._clock() >= self._old_at:
            self._fetch()
        return self._generation

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that may have signed a token: those of its name, else those without a name.

        Without a name in the token, all that fit. In any case at most `MAX_CANDIDATES`.

        :raises Unavailable: no key is known.
        """
        unknown = kid is not None and all(key.kid != kid for key in self._keys)
        if (unknown or not self._keys) and (flight := self._fetch()) is not None:
            await asyncio.wait([flight])  # unlike the flight's own await, cancelled without cancelling it
        if not self._keys:
            raise Unavailable
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        named = [key for key in fitting if kid is not None and key.kid == kid]
        return (named or [key for key in fitting if kid is None or key.kid is None])[:MAX_CANDIDATES]

    def _fetch(self) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one if the last is long enough ago."""
        if self._flight is None and self._session is not None and self._clock() >= self._next_fetch:
            self._flight = asyncio.create_task(self._fly(self._session))
            self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flight = None
        self._next_fetch = self._clock() + (COOLDOWN if self._keys else COOLDOWN_WITHOUT_KEYS)

    async def _fly(self, session: aiohttp.ClientSession) -> None:
        try:
            keys = keys_of(await self._read(session), self._algorithms)
        except (Unusable, aiohttp.ClientError, OSError, TimeoutError) as error:
            self._tell(str(error) if isinstance(error, Unusable) else type(error).__name__)
            return
        self._old_at = self._clock() + REFRESH_AFTER
        if keys != self._keys:
            self._keys = keys
            self._generation += 1
        self._tell("")

    async def _read(self, session: aiohttp.ClientSession) -> bytes:
        async with session.get(self._url, allow_redirects=False) as response:
            if response.status != 200:
                raise Unusable(f"status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    raise Unusable("more than 1 MiB")
            return bytes(body)

    def _tell(self, fault: str) -> None:
        """Log once when fetches begin to fail, and once when they end to."""
        if bool(fault) == self._failing:
            return
        self._failing = bool(fault)
        if fault:
            log.warning("the key set can't be fetched", url=self._where, fault=fault, keys=len(self._keys))
        else:
            log.info("the key set can be fetched again", url=self._where, keys=len(self._keys))
