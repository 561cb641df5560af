"""Which algorithms a key goes with, and which keys are none."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from aiogateway.settings.values import ALGORITHMS
from aiogateway.tokens.keys import Key, StaticKey, pem_key, secret_key
from tests.tokens.signing import SECRET, private_key, public_pem

ALL = tuple(ALGORITHMS)
RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("RS256", RSA),
        ("ES256", {"ES256"}),
        ("ES384", {"ES384"}),
        ("ES512", {"ES512"}),
        ("EdDSA", {"EdDSA"}),
    ],
)
def test_a_public_key_goes_with_the_algorithms_of_its_kind(name: str, fitting: set[str]) -> None:
    assert pem_key(public_pem(name), ALL).algorithms == fitting
    with pytest.raises(ValueError, match="fits none"):
        pem_key(public_pem(name), [other for other in ALL if other not in fitting])


def test_a_secret_goes_with_hmac_alone() -> None:
    assert secret_key(SECRET, ALL).algorithms == {"HS256", "HS384", "HS512"}


def test_what_others_have_too_is_no_secret() -> None:
    key = private_key("RS256")
    pkcs8 = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for known in (
        public_pem("RS256"),
        key.private_bytes(*pkcs8),
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        b'{"kty":"oct","k":"AAAA"}',
    ):
        with pytest.raises(ValueError, match="must be a secret of its own") as raised:
            secret_key(known, ALL)
        assert str(raised.value.__cause__) == "None"


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        SECRET,
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        public_pem("EdDSA")[:40],
        private_key("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
)
def test_what_is_no_public_key_in_pem_is_no_key(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"^must be a public key in PEM$"):
        pem_key(pem, ALL)


def test_a_short_rsa_key_and_an_unknown_curve_are_no_keys() -> None:
    with pytest.raises(ValueError, match="2048 bits"):
        pem_key(public_pem("RSA-1024"), ALL)
    with pytest.raises(ValueError, match="fits none"):
        pem_key(public_pem("secp256k1"), ALL)


def test_a_key_is_never_used_with_an_algorithm_that_is_not_its_own() -> None:
    key = secret_key(public_pem("ES256").hex().encode(), ("HS256",))
    assert not key.signed("HS512", b"x", b"y")
    assert not key.signed("none", b"x", b"")
    assert not Key(None, frozenset({"ES256"}), None).signed("RS256", b"x", b"y")


async def test_a_static_key_is_asked_whatever_the_kid() -> None:
    key = pem_key(public_pem("ES256"), ALL)
    keys = StaticKey(key)
    await keys.start()
    assert await keys.candidates("any", "ES256") == (key,)
    assert await keys.candidates(None, "ES256") == (key,)
    assert await keys.candidates(None, "RS256") == ()
    assert keys.generation() == 0
    await keys.close()
