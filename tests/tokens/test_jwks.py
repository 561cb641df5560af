"""What is taken from a key set."""

from __future__ import annotations

from typing import Any

import jwt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.tokens.jwks import MAX_KEYS, Unusable, keys_of
from tests.tokens.signing import private_key, public_jwk

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")


def found(*entries: Any, algorithms: tuple[str, ...] = ALGORITHMS) -> list[tuple[str | None, set[str]]]:
    """The names and algorithms of the keys that are taken beside one that always is."""
    sentinel = public_jwk("EdDSA", kid="sentinel")
    taken = keys_of(orjson.dumps({"keys": [*entries, sentinel]}), (*algorithms, "EdDSA"))
    assert taken[-1].kid == "sentinel"
    return [(key.kid, set(key.algorithms)) for key in taken[:-1]]


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        (public_jwk("RS256", kid="a"), ("a", {"RS256", "PS256"})),
        (public_jwk("RS256", kid="a", alg="PS256"), ("a", {"PS256"})),
        (public_jwk("RS256", kid="a", use="sig", key_ops=["verify"]), ("a", {"RS256", "PS256"})),
        (public_jwk("RS256"), (None, {"RS256", "PS256"})),
        (public_jwk("ES256", kid=""), ("", {"ES256"})),
        (public_jwk("ES384", x5c=["MIIB"], x5t="AA"), (None, {"ES384"})),
        (public_jwk("EdDSA", alg="EdDSA"), (None, {"EdDSA"})),
    ],
)
def test_a_key_that_verifies_is_taken_with_the_algorithms_it_fits(
    entry: dict[str, Any], key: tuple[str | None, set[str]]
) -> None:
    assert found(entry) == [key]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "key",
        [],
        {},
        {"kty": "RSA"},
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"},
        public_jwk("RS256", use="enc"),
        public_jwk("RS256", use=None),
        public_jwk("RS256", use=["sig"]),
        public_jwk("RS256", key_ops=["encrypt"]),
        public_jwk("RS256", key_ops=[]),
        public_jwk("RS256", key_ops="verify"),
        public_jwk("RS256", key_ops=None),
        public_jwk("RS256", kid=7),
        public_jwk("RS256", kid=["a"]),
        public_jwk("RS256", alg="RS512"),
        public_jwk("RS256", alg="RSA-OAEP"),
        public_jwk("RS256", alg="none"),
        public_jwk("RS256", alg="HS256"),
        public_jwk("RS256", alg=None),
        public_jwk("RS256", alg=["RS256"]),
        public_jwk("RS256", kty="EC"),
        public_jwk("RS256", kty=["RSA"]),
        public_jwk("RS256", d="AQAB"),
        public_jwk("RS256", n=None),
        public_jwk("RS256", n=17),
        public_jwk("RS256", n=""),
        public_jwk("RS256", n="A"),
        public_jwk("RS256", e=""),
        public_jwk("RS256", e="AQ"),
        public_jwk("RS256", e="AQAA"),
        public_jwk("RSA-1024"),
        public_jwk("ES512"),
        public_jwk("secp256k1"),
        public_jwk("ES256", alg="ES384"),
        public_jwk("ES256", alg="RS256"),
        public_jwk("ES256", crv="P-384"),
        public_jwk("ES256", crv=None),
        public_jwk("ES256", crv={}),
        public_jwk("ES256", x="AA"),
        public_jwk("ES256", y=public_jwk("ES256")["x"]),
        public_jwk("EdDSA", crv="X25519"),
        public_jwk("EdDSA", x="AA"),
        public_jwk("EdDSA", x={}),
    ],
)
def test_a_key_that_is_of_no_use_or_lies_is_passed_over(entry: Any) -> None:
    assert found(entry) == []


@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
def test_a_private_key_in_a_set_is_passed_over(name: str) -> None:
    entry = jwt.get_algorithm_by_name(name).to_jwk(private_key(name), as_dict=True)
    assert found({**entry, "key_ops": ["verify"]}) == []


def test_keys_of_algorithms_that_are_not_accepted_are_passed_over() -> None:
    assert found(public_jwk("RS256"), public_jwk("ES256"), algorithms=("ES256",)) == [(None, {"ES256"})]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"keys":' * 5000, "no JSON"),
        (b"null", "no key set"),
        (b"[]", "no key set"),
        (b"{}", "no key set"),
        (b'{"keys":{}}', "no key set"),
        (b'{"keys":"RS256"}', "no key set"),
        (b'{"keys":[]}', "no usable key"),
        (b'{"keys":[{},null,7]}', "no usable key"),
    ],
)
def test_an_answer_without_a_usable_key_is_none(body: bytes, fault: str) -> None:
    with pytest.raises(Unusable, match=f"^{fault}$"):
        keys_of(body, ALGORITHMS)


def test_a_set_is_read_up_to_a_hundred_keys() -> None:
    body = orjson.dumps({"keys": [public_jwk("ES256", kid=str(number)) for number in range(MAX_KEYS + 1)]})
    assert [key.kid for key in keys_of(body, ALGORITHMS)] == [str(number) for number in range(MAX_KEYS)]


ENTRIES = [public_jwk(name) for name in ("RS256", "ES256", "ES384", "EdDSA")]
VALUES = st.sampled_from(
    [
        "RSA",
        "EC",
        "OKP",
        "oct",
        "P-256",
        "P-521",
        "Ed25519",
        "Ed448",
        "RS256",
        "none",
        "sig",
        "verify",
        "AQAB",
        "_" * 900,
    ]
) | st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
MEMBERS = st.sampled_from(["kty", "n", "e", "x", "y", "crv", "kid", "use", "key_ops", "alg"])


@given(st.sampled_from(ENTRIES), st.dictionaries(MEMBERS, VALUES, max_size=3), st.sets(MEMBERS, max_size=2))
def test_whatever_a_set_holds_it_gives_public_keys_or_is_unusable(
    entry: dict[str, Any], changed: dict[str, Any], removed: set[str]
) -> None:
    made = {name: value for name, value in {**entry, **changed}.items() if name not in removed}
    try:
        taken = keys_of(orjson.dumps({"keys": [made]}, default=str), ALGORITHMS)
    except Unusable:
        return
    for key in taken:
        assert key.algorithms <= set(ALGORITHMS)
        assert not hasattr(key.material, "sign")
        assert not any(key.signed(name, b"message", bytes(64)) for name in ALGORITHMS)
