"""Whether a token is good: its text, its key, its signature, its claims, in this order.

Rules: a token that was found good is remembered until it expires or the keys change; one that was not is looked at
anew each time. What is remembered is bounded in number and in size; the oldest goes first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiogateway.settings import ConfigError, Fault, Settings
from aiogateway.settings.faults import ENVIRONMENT
from aiogateway.tokens.claims import Identity, Refused, Rules, identity_of, taken_apart
from aiogateway.tokens.jwks import Jwks
from aiogateway.tokens.keys import Keys, StaticKey, pem_key, secret_key

MOST: Final = 4096
# Characters of a token that is remembered; usual ones have less than a thousand.
LONGEST: Final = 4096


class Verifier:
    """Verifies tokens, and remembers those that were good.

    :param clock: Unix time in seconds.
    :param most: how many tokens are remembered.
    """

    def __init__(self, rules: Rules, keys: Keys, clock: Callable[[], float] = time.time, most: int = MOST) -> None:
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._most = most
        self._known: dict[str, Identity] = {}
        self._generation = keys.generation()

    async def start(self) -> None:
        """Begin to get keys; doesn't wait for them."""
        await self._keys.start()

    async def close(self) -> None:
        """End what `start` began; harmless without it, or twice."""
        await self._keys.close()

    def remembered(self, token: str) -> Identity | None:
        """Whom a token speaks of that was found good before and still is; None: `verify` it."""
        if self._keys.generation() != self._generation:
            self._forget()
        identity = self._known.get(token)
        if identity is None or self._clock() < identity.until:
            return identity
        del self._known[token]
        return None

    async def verify(self, token: str) -> Identity:
        """Whom a token speaks of.

        :raises Refused: it isn't good.
        :raises Unavailable: there is no key to tell with.
        """
        parts = taken_apart(token, self._rules.algorithms)
        candidates = await self._keys.candidates(parts.kid, parts.algorithm)
        if not candidates:
            raise Refused("key")
        if not any(key.signed(parts.algorithm, parts.signed, parts.signature) for key in candidates):
            raise Refused("signature")
        identity = identity_of(parts.payload, self._rules, self._clock())
        if len(token) <= LONGEST:
            self._remember(token, identity)
        return identity

    def _remember(self, token: str, identity: Identity) -> None:
        """Called in the same turn of the loop in which the keys were got: what was verified before goes first."""
        if self._keys.generation() != self._generation:
            self._forget()
        if len(self._known) >= self._most and token not in self._known:
            del self._known[next(iter(self._known))]
        self._known[token] = identity

    def _forget(self) -> None:
        self._known.clear()
        self._generation = self._keys.generation()


def verifier_from(settings: Settings) -> Verifier | None:
    """The verifier that the settings ask for; None when there is no key, or tokens aren't read.

    :raises ConfigError: a key can't be used.
    """
    if settings.auth_mode == "off" or (keys := _keys_from(settings)) is None:
        return None
    rules = Rules(
        settings.jwt_algorithms,
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_leeway,
        settings.jwt_user_claim,
        settings.jwt_roles_claim,
    )
    return Verifier(rules, keys)


def _keys_from(settings: Settings) -> Keys | None:
    algorithms = settings.jwt_algorithms
    if settings.jwt_jwks_url is not None:
        return Jwks(settings.jwt_jwks_url, algorithms)
    for variable, held, read in (
        ("JWT_SECRET", settings.jwt_secret, secret_key),
        ("JWT_PUBLIC_KEY", settings.jwt_public_key, pem_key),
    ):
        if held is not None:
            try:
                return StaticKey(read(held.get_secret_value().encode(), algorithms))
            except ValueError as error:
                raise ConfigError([Fault(ENVIRONMENT, variable, "", str(error))]) from None
    return None
