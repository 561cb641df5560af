"""Tokens for the gateway under test: good ones, and ones that no good issuer makes."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt

from .gateway import SECRET

USER = "u1"


def claims(**changed: Any) -> dict[str, Any]:
    """The claims of a good token, a day to live, with `changed` over them; a claim set to None is left out.

    Tables of tokens are made when tests are collected, and used much later.
    """
    made = {"sub": USER, "exp": int(time.time()) + 86_400, **changed}
    return {name: value for name, value in made.items() if value is not None}


def signed(payload: dict[str, Any] | None = None, key: Any = SECRET, algorithm: str = "HS256", **header: Any) -> str:
    """A token as PyJWT makes it; `header` adds members to its header."""
    return jwt.encode(claims() if payload is None else payload, key, algorithm, headers=header)


def bearer(token: str) -> str:
    """The field line that carries a token."""
    return f"Authorization: Bearer {token}"


def as_user(user: str = USER, *roles: str) -> str:
    """The field line of a good token for a user."""
    return bearer(signed(claims(sub=user, roles=list(roles))))


def part(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(
    header: bytes | dict[str, Any], payload: bytes | dict[str, Any], secret: str = SECRET, digest: str = "sha256"
) -> str:
    """A token whose parts are what they are, with a good HMAC over them."""
    texts = (data if isinstance(data, bytes) else json.dumps(data).encode() for data in (header, payload))
    told = ".".join(part(text) for text in texts)
    return f"{told}.{part(hmac.new(secret.encode(), told.encode(), digest).digest())}"


def key_set(*entries: dict[str, Any]) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": entries}).encode()


def jwk(key: Any, kid: str, algorithm: str) -> dict[str, Any]:
    """The public half of a private key as a JWK."""
    kind = jwt.get_algorithm_by_name(algorithm)
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": algorithm, "use": "sig"}
