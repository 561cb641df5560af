"""Tokens made to get in: each is refused, and for its own reason."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given
from hypothesis import strategies as st

from aiogateway.tokens import REASONS, Identity, Refused
from aiogateway.tokens.claims import MAX_TOKEN
from tests.tokens.signing import CLAIMS, NOW, encoded, private_key, public_jwk, public_pem, token, verifier_of

EXPIRY = int(NOW) + 600


async def verdict(text: str, algorithm: str = "RS256", **rules: Any) -> Identity | str:
    """The identity that a token gives, or the reason of the refusal."""
    verifier = verifier_of(algorithm, **rules)
    try:
        return await verifier.verify(text)
    except Refused as refused:
        assert verifier.remembered(text) is None
        return refused.reason


def hmac_with(secret: bytes, header: bytes = b'{"alg":"HS256"}') -> str:
    """Signed as HS256 with bytes that everybody knows; PyJWT wouldn't take them, another tool would."""
    hs256 = jwt.get_algorithm_by_name("HS256")
    signed = f"{encoded(header)}.{encoded(json.dumps(CLAIMS).encode())}"
    return f"{signed}.{encoded(hs256.sign(signed.encode(), secret))}"


def parts(text: str | None = None) -> list[str]:
    return (text or token()).split(".")


def resigned(header: bytes, signature: bytes = b"") -> str:
    """The claims of a good token under another header; the signature is the good one's if none is given."""
    _, payload, good = parts()
    return f"{encoded(header)}.{payload}.{encoded(signature) if signature else good}"


def with_claims(**claims: Any) -> Callable[[], str]:
    return lambda: token(claims={**CLAIMS, **claims})


def with_payload(payload: bytes) -> Callable[[], str]:
    return lambda: token(claims=payload)


def with_header(**members: Any) -> Callable[[], str]:
    return lambda: token(header=members)


def other_spelling() -> str:
    """The same signature bytes with other low bits in the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = token()
    return good[:-1] + alphabet[alphabet.index(good[-1]) ^ 1]


def padded() -> str:
    header, payload, signature = parts()
    return f"{header}.{payload}.{signature}{'=' * (-len(signature) % 4)}"


NONE = [f'{{"alg":"{spelling}"}}'.encode() for spelling in ("none", "None", "NONE", "nOnE", "", "null", " none")]
HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    **{f"alg {header!r}, signed": (partial(resigned, header), "algorithm") for header in NONE},
    "alg none, no signature": (lambda: resigned(NONE[0])[: -len(parts()[2])], "malformed"),
    "alg none, no third part": (lambda: ".".join(resigned(NONE[0]).split(".")[:2]), "malformed"),
    "alg none, any signature": (lambda: resigned(NONE[0], b"x"), "algorithm"),
    "HS256 with the public key's PEM": (lambda: hmac_with(public_pem("RS256")), "algorithm"),
    "HS256 with the PEM less its end": (lambda: hmac_with(public_pem("RS256").rstrip()), "algorithm"),
    "HS256 with nothing": (lambda: hmac_with(b""), "algorithm"),
    "RS256 that is an HMAC of the PEM": (lambda: hmac_with(public_pem("RS256"), b'{"alg":"RS256"}'), "signature"),
    "RS512 with the right key": (lambda: token("RS512", key=private_key("RS256")), "algorithm"),
    "RS256 that is RS512": (lambda: token("RS512", header=b'{"alg":"RS256"}', key=private_key("RS256")), "signature"),
    "RS256 that is PS256": (lambda: token("PS256", header=b'{"alg":"RS256"}', key=private_key("RS256")), "signature"),
    "RS256 that is ES256": (lambda: token("ES256", header=b'{"alg":"RS256"}'), "signature"),
    "ES256 with a key of its own": (lambda: token("ES256"), "algorithm"),
    "another RSA key": (lambda: token(number=1), "signature"),
    "no signature": (lambda: ".".join([*parts()[:2], ""]), "malformed"),
    "one byte as signature": (lambda: ".".join([*parts()[:2], "AA"]), "signature"),
    "zeros as signature": (lambda: ".".join([*parts()[:2], encoded(bytes(256))]), "signature"),
    "a signature too long": (lambda: ".".join([*parts()[:2], encoded(bytes(9000))]), "signature"),
    "the signature of other claims": (lambda: ".".join([*parts()[:2], parts(token(claims=b"{}"))[2]]), "signature"),
    "claims exchanged": (lambda: ".".join([parts()[0], encoded(b'{"sub":"root"}'), parts()[2]]), "signature"),
    "header exchanged": (lambda: resigned(b'{"alg":"RS256","typ":"JWT"}'), "signature"),
    "jku": (with_header(jku="https://evil.example/keys"), "header"),
    "x5u": (with_header(x5u="https://evil.example/chain"), "header"),
    "jwk": (lambda: token(number=1, header={"jwk": public_jwk("RS256", 1)}), "header"),
    "x5c": (with_header(x5c=["MIIB"]), "header"),
    "crit unknown": (with_header(crit=["http://example.com/x"], **{"http://example.com/x": 1}), "critical"),
    "crit empty": (with_header(crit=[]), "critical"),
    "b64 false": (with_header(b64=False), "header"),
    "b64 false and critical": (with_header(b64=False, crit=["b64"]), "header"),
    "kid a number": (with_header(kid=1), "malformed"),
    "alg twice": (lambda: token(header=b'{"alg":"none","alg":"RS256"}'), "malformed"),
    "header a list": (lambda: token(header=b'["RS256"]'), "malformed"),
    "header no JSON": (lambda: token(header=b"RS256"), "malformed"),
    "header nested deeply": (lambda: token(header=b'{"alg":"RS256","x":' + b"[" * 10_000), "malformed"),
    "exp missing": (with_payload(b'{"sub":"u"}'), "claims"),
    "exp a string": (with_claims(exp=str(EXPIRY)), "claims"),
    "exp true": (with_claims(exp=True), "claims"),
    "exp null": (with_claims(exp=None), "claims"),
    "exp NaN": (with_payload(b'{"sub":"u","exp":NaN}'), "claims"),
    "exp Infinity": (with_payload(b'{"sub":"u","exp":Infinity}'), "claims"),
    "exp 1e999": (with_payload(b'{"sub":"u","exp":1e999}'), "claims"),
    "exp of 5000 digits": (with_payload(b'{"sub":"u","exp":' + b"9" * 5000 + b"}"), "claims"),
    "exp of 400 digits": (with_claims(exp=10**400), "claims"),
    "exp negative": (with_claims(exp=-EXPIRY), "expired"),
    "exp past the leeway": (with_claims(exp=NOW - 30), "expired"),
    "exp twice": (with_payload(b'{"sub":"u","exp":1,"exp":%d}' % EXPIRY), "claims"),
    "nbf in the future": (with_claims(nbf=NOW + 31), "not_yet_valid"),
    "nbf a string": (with_claims(nbf="0"), "claims"),
    "iat in the future": (with_claims(iat=NOW + 31), "not_yet_valid"),
    "sub missing": (with_payload(b'{"exp":%d}' % EXPIRY), "claims"),
    "sub empty": (with_claims(sub=""), "claims"),
    "sub with a comma": (with_claims(sub="u,root"), "claims"),
    "sub with a line end": (with_claims(sub="u\r\nX-User-Roles: superadmin"), "claims"),
    "sub not ASCII": (with_claims(sub="\u00fc"), "claims"),
    "sub a lone surrogate": (with_payload(b'{"sub":"\\ud800","exp":%d}' % EXPIRY), "claims"),
    "sub true": (with_claims(sub=True), "claims"),
    "sub twice": (with_payload(b'{"sub":"u","sub":"root","exp":%d}' % EXPIRY), "claims"),
    "roles with a comma": (with_claims(roles=["editor,superadmin"]), "claims"),
    "roles an object": (with_claims(roles={"superadmin": True}), "claims"),
    "roles of numbers": (with_claims(roles=[1]), "claims"),
    "roles with a line end": (with_claims(roles=["a\nb"]), "claims"),
    "claims a list": (with_payload(b"[1]"), "claims"),
    "claims no JSON": (with_payload(b"sub=u"), "claims"),
    "claims not UTF-8": (with_payload(b'{"sub":"u\xff","exp":%d}' % EXPIRY), "claims"),
    "claims nested deeply": (with_payload(b'{"sub":' * 1700), "claims"),
    "claims nested 10,000 deep": (with_payload(b"[" * 10_000), "claims"),
    "four parts": (lambda: f"{token()}.AA", "malformed"),
    "five parts, as encrypted ones": (lambda: f"{token()}.AA.AA", "malformed"),
    "trailing garbage": (lambda: f"{token()} x", "malformed"),
    "a trailing dot": (lambda: f"{token()}.", "malformed"),
    "padding": (padded, "malformed"),
    "white space inside": (lambda: token().replace(".", ". ", 1), "malformed"),
    "a line end behind": (lambda: f"{token()}\n", "malformed"),
    "a space before": (lambda: f" {token()}", "malformed"),
    "plain base64": (lambda: ".".join([*parts()[:2], "+/+/"]), "malformed"),
    "another spelling of the signature": (other_spelling, "malformed"),
    "one byte too many": (with_payload(b" " * MAX_TOKEN), "too_large"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_token_is_refused(make: Callable[[], str], reason: str) -> None:
    assert await verdict(make()) == reason


async def test_the_token_that_these_are_made_from_is_good() -> None:
    found = await verdict(token())
    assert isinstance(found, Identity)
    assert found.user == "u-1"


@pytest.mark.parametrize("curve", ["ES384", "ES512", "secp256k1"])
async def test_a_signature_over_another_curve_does_not_count(curve: str) -> None:
    other = private_key(curve)
    assert await verdict(token("ES256", key=other), "ES256") == "signature"


async def test_a_signature_in_der_does_not_count() -> None:
    """RFC 7518 section 3.4 wants r and s alone; cryptography gives DER."""
    signed = ".".join(parts(token("ES256"))[:2])
    der = private_key("ES256").sign(signed.encode(), ECDSA(SHA256()))
    assert await verdict(f"{signed}.{encoded(der)}", "ES256") == "signature"


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(32) + b"\x01" * 32, bytes(63), b"x"])
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_no_signature_of_special_numbers_counts(algorithm: str, signature: bytes) -> None:
    signed = ".".join(parts(token(algorithm))[:2])
    assert await verdict(f"{signed}.{encoded(signature)}", algorithm) == "signature"


async def test_with_a_secret_no_public_key_counts() -> None:
    assert await verdict(token("RS256"), "HS256") == "algorithm"
    assert await verdict(token("HS256", number=1), "HS256") == "signature"
    assert isinstance(await verdict(token("HS256"), "HS256"), Identity)


GOOD = {algorithm: token(algorithm) for algorithm in ("HS256", "ES256", "EdDSA")}


@given(st.sampled_from(sorted(GOOD)), st.data())
async def test_a_good_token_that_was_changed_anywhere_is_refused(algorithm: str, data: st.DataObject) -> None:
    good = GOOD[algorithm]
    place = data.draw(st.integers(0, len(good) - 1))
    cut = data.draw(st.integers(0, 3))
    put = data.draw(st.text(alphabet=st.sampled_from("Aa9-_.= \u00e9\udc80"), max_size=4) | st.text(max_size=4))
    changed = good[:place] + put + good[place + cut :]
    found = await verdict(changed, algorithm)
    assert changed == good or found in REASONS


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=80))
@example(b'{"alg":"ES256"}', b"{}", bytes(64))
async def test_whatever_the_bytes_nothing_but_a_refusal_comes_out(header: bytes, payload: bytes, end: bytes) -> None:
    text = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload, end)).decode()
    assert await verdict(text, "ES256") in REASONS


HEADERS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["alg", "kid", "crit", "jku", "b64", "typ"]),
    st.sampled_from(["ES256", "none", "HS256", "", None, True, 0, [], ["exp"], {}]),
)


@given(HEADERS)
async def test_whatever_the_header_only_a_harmless_one_is_good_though_the_signature_is(header: dict[str, Any]) -> None:
    found = await verdict(token("ES256", header=json.dumps(header).encode()), "ES256")
    if isinstance(found, Identity):
        assert header["alg"] == "ES256"
        assert header.keys() <= {"alg", "kid", "typ"}
        assert isinstance(header.get("kid", ""), str)
    else:
        assert found in REASONS


@given(st.text(max_size=200))
async def test_whatever_the_text_nothing_but_a_refusal_comes_out(text: str) -> None:
    assert await verdict(text, "ES256") in {"malformed", "algorithm"}
