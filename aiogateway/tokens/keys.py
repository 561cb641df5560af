"""Keys that tokens are verified with, and where they come from.

Rules: a key is used with the algorithms that fit its kind, and no others (RFC 8725 section 3.1): PyJWT says which do,
once, when the key is made. What others may know, as a public key, is never taken for a secret. A short RSA key is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from aiogateway.settings.checks import MIN_RSA
from aiogateway.settings.values import ALGORITHMS

_ALGORITHMS: Final = {name: jwt.get_algorithm_by_name(name) for name in ALGORITHMS}
# What PyJWT and cryptography raise about a key or a signature that they can't use.
FOREIGN: Final = (jwt.PyJWTError, UnsupportedAlgorithm, TypeError, ValueError)


class Unavailable(Exception):
    """There is no key at all, and none can be had just now."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    :param kid: its name in a key set, if it has one.
    :param algorithms: those it may be used with; never empty.
    :param material: as PyJWT takes it: a secret, or a public key.
    """

    kid: str | None
    algorithms: frozenset[str]
    material: Any

    def signed(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether a signature over `message` is this key's."""
        if algorithm not in self.algorithms:
            return False
        try:
            return _ALGORITHMS[algorithm].verify(message, self.material, signature)
        except FOREIGN:
            return False


class Keys(Protocol):
    """A source of keys. Whoever starts it closes it."""

    async def start(self) -> None:
        """Begin to get keys; doesn't wait for them."""

    async def close(self) -> None:
        """End what `start` began; harmless without it."""

    def generation(self) -> int:
        """A number that changes when the keys do. To ask is to use them, which may begin a refresh that is due."""

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The few keys that may have signed a token; none when it can't be verified.

        :param kid: the key's name in the token's header.
        :raises Unavailable: no key is known.
        """


class StaticKey:
    """The one key of `JWT_SECRET` or `JWT_PUBLIC_KEY`; a token's `kid` doesn't matter to it."""

    def __init__(self, key: Key) -> None:
        self._key = key

    async def start(self) -> None:
        """Nothing is to be got."""

    async def close(self) -> None:
        """Nothing was begun."""

    def generation(self) -> int:
        return 0

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        return (self._key,) if algorithm in self._key.algorithms else ()


def secret_key(secret: bytes, algorithms: Iterable[str]) -> Key:
    """A shared secret as a key.

    :raises ValueError: it is a public key, a certificate or a JWK, which others have too, or no algorithm fits.
    """
    try:
        return _key(secret, None, [name for name in algorithms if ALGORITHMS[name] == "secret"])
    except ValueError:
        raise ValueError("must be a secret of its own, not a key or certificate in PEM, SSH, DER or JWK form") from None


def pem_key(pem: bytes, algorithms: Iterable[str]) -> Key:
    """A public key in PEM.

    :raises ValueError: it is none, is too short, or no algorithm fits.
    """
    try:
        material = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be a public key in PEM") from None
    return public_key(material, None, algorithms)


def public_key(material: object, kid: str | None, algorithms: Iterable[str]) -> Key:
    """A public key of cryptography's as a key.

    :raises ValueError: it is too short, or no algorithm fits.
    """
    if isinstance(material, RSAPublicKey) and material.key_size < MIN_RSA:
        raise ValueError(f"must have at least {MIN_RSA} bits")
    return _key(material, kid, algorithms)


def _key(material: object, kid: str | None, algorithms: Iterable[str]) -> Key:
    fitting = frozenset(name for name in algorithms if _fits(name, material))
    if not fitting:
        raise ValueError("fits none of the algorithms")
    return Key(kid, fitting, material)


def _fits(algorithm: str, material: object) -> bool:
    """Whether PyJWT takes a key for an algorithm: its kind and curve fit, and it isn't a public key for a secret."""
    try:
        _ALGORITHMS[algorithm].prepare_key(material)
    except FOREIGN:
        return False
    return True
