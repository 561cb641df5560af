"""What a token says, and whether it may be believed: pure decisions over its text and its claims.

Owns the reasons for which a token is refused, and the identity that a good one gives. Rules:

- One token has one spelling: three parts of canonical base64url (RFC 7515 sections 2 and 3.1), without padding.
- Header and claims are one JSON object each, in UTF-8, no member twice (RFC 8725 sections 2.4 and 3.11).
- A header names an accepted algorithm, no key of its own, and no extension (RFC 7515 section 4.1).
- A claim that counts has exactly the type of RFC 7519; what goes on to upstreams is printable ASCII without commas.
- Nothing of a token is ever in an exception's text.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, NoReturn

MAX_TOKEN: Final = 16 * 1024
# Levels of arrays and objects in a header or in claims.
DEEPEST: Final = 100

# Reason -> what the client is told, fit for an `error_description` (RFC 6750 section 3).
REASONS: Final[Mapping[str, str]] = {
    "missing": "a bearer token is required",
    "repeated": "more than one Authorization field was sent",
    "malformed": "the Authorization field holds no well-formed bearer token",
    "too_large": "the token is larger than 16 KiB",
    "header": "the token's header names a key or an encoding of its own",
    "critical": "the token's header asks for an extension that is not known here",
    "algorithm": "the token is signed with an algorithm that is not accepted",
    "key": "the token is signed with a key that is not known",
    "signature": "the token's signature is not valid",
    "expired": "the token has expired",
    "not_yet_valid": "the token is not valid yet",
    "issuer": "the token comes from another issuer",
    "audience": "the token is meant for another audience",
    "claims": "the token's claims are incomplete or malformed",
}

# Keys are configured here, never brought along (RFC 8725 section 3.10); `b64` changes what is signed (RFC 7797).
_FORBIDDEN: Final = frozenset({"jku", "x5u", "jwk", "x5c", "b64"})
_PART: Final = "[A-Za-z0-9_-]+"
_COMPACT: Final = re.compile(rf"({_PART})\.({_PART})\.({_PART})")
_BEARER: Final = re.compile(rf"(?i:bearer) +({_PART}\.{_PART}\.{_PART})", re.ASCII)
# Seconds that a float holds exactly, and that any JSON reader takes alike (RFC 8259 section 6).
_LATEST: Final = 2**53


class Refused(Exception):
    """A token doesn't count.

    :param reason: a key of `REASONS`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token must be and say (contract, `JWT_*`).

    :param algorithms: accepted ones, as `RS256`.
    :param issuer: what `iss` must be; None: anything.
    :param audience: what must be in `aud`; None: anything.
    :param leeway: seconds that clocks may differ.
    :param user_claim: the claim that names the user.
    :param roles_claim: the claim that lists the user's roles.
    """

    algorithms: tuple[str, ...]
    issuer: str | None
    audience: str | None
    leeway: float
    user_claim: str
    roles_claim: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a verified token speaks of.

    :param until: Unix time in seconds from which it doesn't count any more.
    :param lines: `X-User-Id` and, where there are roles, `X-User-Roles`, for a head; without the last line end.
    :ivar who: the name that limits count under, which is no address's.
    """

    user: str
    roles: tuple[str, ...]
    until: float
    lines: bytes
    who: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "who", f"user {self.user}")


class Parts(NamedTuple):
    """A token taken apart; nothing of it is believed yet.

    :ivar algorithm: an accepted one.
    :ivar kid: the name of the key, if the header gives one.
    :ivar signed: what the signature is over.
    """

    algorithm: str
    kid: str | None
    payload: bytes
    signed: bytes
    signature: bytes


def bearer_token(values: Sequence[str]) -> str:
    """The token of a request (RFC 6750 section 2.1).

    :param values: of all its `Authorization` fields.
    :raises Refused: `missing`, `repeated`, `malformed`, `too_large`.
    """
    if len(values) != 1:
        raise Refused("repeated" if values else "missing")
    found = _BEARER.fullmatch(values[0])
    if found is None:
        raise Refused("malformed")
    token = found[1]
    if len(token) > MAX_TOKEN:
        raise Refused("too_large")
    return token


def taken_apart(token: str, algorithms: Sequence[str]) -> Parts:
    """A token's parts, its header checked.

    :param algorithms: accepted ones.
    :raises Refused: `malformed`, `too_large`, `header`, `critical`, `algorithm`.
    """
    if len(token) > MAX_TOKEN:
        raise Refused("too_large")
    found = _COMPACT.fullmatch(token)
    if found is None:
        raise Refused("malformed")
    header, payload, signature = map(_bytes_of, found.groups())
    algorithm, kid = _checked_header(header, algorithms)
    return Parts(algorithm, kid, payload, token[: found.end(2)].encode(), signature)


def identity_of(payload: bytes, rules: Rules, now: float) -> Identity:
    """The identity that a token's claims give; whoever asks has verified the signature.

    :param now: Unix time in seconds.
    :raises Refused: `claims`, `expired`, `not_yet_valid`, `issuer`, `audience`.
    """
    claims = _object(payload, "claims")
    until = _time(claims.get("exp")) + rules.leeway
    if now >= until:
        raise Refused("expired")
    if any(name in claims and _time(claims[name]) - rules.leeway > now for name in ("nbf", "iat")):
        raise Refused("not_yet_valid")
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        raise Refused("issuer")
    if rules.audience is not None and not _is_meant_for(rules.audience, claims.get("aud")):
        raise Refused("audience")
    user = claims.get(rules.user_claim)
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    held = claims.get(rules.roles_claim, [])
    roles = held if isinstance(held, list) else [held]
    if not all(_can_go_on(text) for text in (user, *roles)):
        raise Refused("claims")
    lines = f"X-User-Id: {user}"
    if roles:
        lines += f"\r\nX-User-Roles: {','.join(roles)}"
    return Identity(str(user), tuple(roles), until, lines.encode("ascii"))


def _bytes_of(part: str) -> bytes:
    """Base64url without padding (RFC 7515 section 2); other spellings of the same bytes don't count."""
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise Refused("malformed") from None
    if urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise Refused("malformed")
    return data


def _checked_header(data: bytes, algorithms: Sequence[str]) -> tuple[str, str | None]:
    """The algorithm and the key's name that a header states."""
    header = _object(data, "malformed")
    if not _FORBIDDEN.isdisjoint(header):
        raise Refused("header")
    if "crit" in header:  # no extension is known here, so any that must be understood isn't
        raise Refused("critical")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Refused("algorithm")
    kid = header.get("kid")
    if "kid" in header and not isinstance(kid, str):
        raise Refused("malformed")
    return algorithm, kid


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member comes twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


_json: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_number)


def _object(data: bytes, reason: str) -> dict[str, Any]:
    """A JSON object (RFC 8259), or the token is refused for `reason`."""
    try:
        found = _json.decode(data.decode())
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits, nested too deeply
        raise Refused(reason) from None
    if not isinstance(found, dict) or _is_deep(found):
        raise Refused(reason)
    return found


def _is_deep(value: object) -> bool:
    """Whether arrays and objects are nested in more than `DEEPEST` levels: Python's own limit differs by version."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _time(value: object) -> float:
    """A NumericDate (RFC 7519 section 2), in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LATEST <= value <= _LATEST:
        raise Refused("claims")
    return float(value)


def _is_meant_for(audience: str, claim: object) -> bool:
    """Whether `aud`, one string or several, holds the audience (RFC 7519 section 4.1.3)."""
    named = claim if isinstance(claim, list) else [claim]
    return audience in named and all(isinstance(name, str) for name in named)


def _can_go_on(text: object) -> bool:
    """Whether a user or a role can stand in a field's value, and in a list with commas (contract)."""
    return (
        isinstance(text, str)
        and text.isascii()
        and text.isprintable()
        and "," not in text
        and bool(text)
        and text == text.strip()
    )
