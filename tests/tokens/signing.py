"""Real keys, each made once a run, and tokens put together by hand, so that a broken one can be signed too."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aiogateway.tokens.claims import Rules
from aiogateway.tokens.keys import StaticKey, pem_key, secret_key
from aiogateway.tokens.verifier import Verifier
from tests.clock import Clock

NOW = 1_800_000_000.0
SECRET = b"a secret that only the tests know" * 2
ISSUER, AUDIENCE = "https://issuer.example", "gateway"
CLAIMS: Mapping[str, Any] = {"sub": "u-1", "roles": ["editor", "admin"], "exp": NOW + 600}
ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")

_CURVES: Mapping[str, Callable[[], ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}


@cache
def private_key(name: str, number: int = 0) -> Any:
    """A key to sign with.

    :param name: an algorithm, or `RSA-1024`, `secp256k1`.
    :param number: other numbers give other keys.
    """
    if name.startswith("HS"):
        return SECRET + b"%d" % number
    if name in _CURVES:
        return ec.generate_private_key(_CURVES[name]())
    if name == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if name == "RSA-1024" else 2048)


def public_pem(name: str, number: int = 0) -> bytes:
    found: bytes = private_key(name, number).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def public_jwk(name: str, number: int = 0, **members: Any) -> dict[str, Any]:
    """The public half as a JWK, with further members."""
    reader = {"RSA-1024": "RS256", "secp256k1": "ES256"}.get(name, name)
    material = private_key(name, number)
    known = jwt.get_algorithm_by_name(reader).to_jwk(material.public_key(), as_dict=True)
    return {member: value for member, value in known.items() if member != "key_ops"} | members


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    algorithm: str = "RS256",
    claims: Mapping[str, Any] | bytes = CLAIMS,
    header: Mapping[str, Any] | bytes | None = None,
    number: int = 0,
    key: Any = None,
) -> str:
    """A token signed with `algorithm`, whatever its header says.

    :param claims: members, or the payload's very bytes.
    :param header: members beside `alg`, or the header's very bytes.
    :param number: of the key.
    :param key: another one to sign with.
    """
    head = header if isinstance(header, bytes) else json.dumps({"alg": algorithm, **(header or {})}).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{encoded(head)}.{encoded(body)}"
    key = private_key(algorithm, number) if key is None else key
    return f"{signed}.{encoded(jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), key))}"


def rules(**others: Any) -> Rules:
    """The contract's defaults, some of them changed."""
    return Rules(
        **{
            "algorithms": ALGORITHMS,
            "issuer": None,
            "audience": None,
            "leeway": 30.0,
            "user_claim": "sub",
            "roles_claim": "roles",
            **others,
        }
    )


def verifier_of(algorithm: str = "RS256", clock: Clock | None = None, most: int = 10, **others: Any) -> Verifier:
    """A verifier with one static key of one algorithm."""
    asked = rules(**{"algorithms": (algorithm,), **others})
    made = (
        secret_key(private_key(algorithm), asked.algorithms)
        if algorithm.startswith("HS")
        else pem_key(public_pem(algorithm), asked.algorithms)
    )
    return Verifier(asked, StaticKey(made), clock or Clock(NOW), most)
