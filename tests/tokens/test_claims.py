"""What a field, a header and claims must be like."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.tokens.claims import DEEPEST, MAX_TOKEN, REASONS, Refused, bearer_token, identity_of, taken_apart
from tests.tokens.signing import AUDIENCE, CLAIMS, ISSUER, NOW, encoded, rules


def judged(claims: dict[str, Any] | bytes, now: float = NOW, **others: Any) -> str:
    """`good`, or the reason of the refusal."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    try:
        identity_of(payload, rules(**others), now)
    except Refused as refused:
        return refused.reason
    return "good"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["Bearer a.b.c"], "a.b.c"),
        (["bearer a.b.c"], "a.b.c"),
        (["BEARER   a-_9.b.c"], "a-_9.b.c"),
        (["Bearer " + "a" * (MAX_TOKEN - 4) + ".b.c"], "a" * (MAX_TOKEN - 4) + ".b.c"),
    ],
)
def test_one_field_with_a_bearer_token_holds_it(values: list[str], found: str) -> None:
    assert bearer_token(values) == found


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "missing"),
        (["Bearer a.b.c", "Bearer a.b.c"], "repeated"),
        (["Bearer a.b.c", ""], "repeated"),
        ([""], "malformed"),
        (["Bearer"], "malformed"),
        (["Bearer "], "malformed"),
        (["Bearera.b.c"], "malformed"),
        (["Bearer\ta.b.c"], "malformed"),
        (["a.b.c"], "malformed"),
        (["Basic a.b.c"], "malformed"),
        (["Token a.b.c"], "malformed"),
        ([" Bearer a.b.c"], "malformed"),
        (["Bearer a.b.c "], "malformed"),
        (["Bearer a.b.c\n"], "malformed"),
        (["Bearer a.b .c"], "malformed"),
        (["Bearer a.b.c, Bearer a.b.c"], "malformed"),
        (["Bearer a.b.c,"], "malformed"),
        (["Bearer a.b.c x"], "malformed"),
        (["Bearer a.b"], "malformed"),
        (["Bearer a.b."], "malformed"),
        (["Bearer .b.c"], "malformed"),
        (["Bearer a..c"], "malformed"),
        (["Bearer a.b.c.d"], "malformed"),
        (["Bearer a.b.c.d.e"], "malformed"),
        (["Bearer a.b.c="], "malformed"),
        (["Bearer a.b+/.c"], "malformed"),
        (["Bearer a.b.\u017f"], "malformed"),
        (["Bearer a.b.\u0663"], "malformed"),
        (['Bearer "a.b.c"'], "malformed"),
        (["Bearer a.b.c\udcff"], "malformed"),
        (["Bearer " + "a" * (MAX_TOKEN - 3) + ".b.c"], "too_large"),
    ],
)
def test_any_other_field_is_refused(values: list[str], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        bearer_token(values)
    assert refused.value.reason == reason


@given(st.lists(st.text(), max_size=2) | st.text(alphabet="Bearer .abc=", max_size=30).map(lambda text: [text]))
def test_what_is_read_from_a_field_is_a_token_or_refused(values: list[str]) -> None:
    try:
        token = bearer_token(values)
    except Refused as refused:
        assert refused.reason in REASONS
    else:
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", token, re.ASCII)
        assert values[0].endswith(f" {token}")


def opened(header: bytes) -> str:
    """`good`, or the reason of the refusal."""
    try:
        taken_apart(f"{encoded(header)}.e30.AA", ("RS256", "ES256"))
    except Refused as refused:
        return refused.reason
    return "good"


@pytest.mark.parametrize(
    ("header", "verdict"),
    [
        (b'{"alg":"RS256"}', "good"),
        (b' { "alg" : "ES256" , "kid" : "" , "typ" : "JWT" , "x5t" : "other" } ', "good"),
        (b"{}", "algorithm"),
        (b'{"alg":null}', "algorithm"),
        (b'{"alg":["RS256"]}', "algorithm"),
        (b'{"alg":{"RS256":1}}', "algorithm"),
        (b'{"alg":"rs256"}', "algorithm"),
        (b'{"alg":"RS256 "}', "algorithm"),
        (b'{"alg":"RS512"}', "algorithm"),
        (b'{"alg":"HS256"}', "algorithm"),
        (b'{"Alg":"RS256"}', "algorithm"),
        (b'{"alg":"RS256","kid":7}', "malformed"),
        (b'{"alg":"RS256","kid":null}', "malformed"),
        (b'{"alg":"RS256","kid":["a"]}', "malformed"),
        (b'{"alg":"none","alg":"RS256"}', "malformed"),
        (b'{"alg":"RS256","x":{"y":1,"y":1}}', "malformed"),
        (b'{"alg":"RS256","x":NaN}', "malformed"),
        (b'{"alg":"RS256"} x', "malformed"),
        (b'{"alg":"RS256","x":"\xff"}', "malformed"),
        ('\ufeff{"alg":"RS256"}'.encode(), "malformed"),
        ('{"alg":"RS256"}'.encode("utf-16"), "malformed"),
        (b'["RS256"]', "malformed"),
        (b'"RS256"', "malformed"),
        (b"null", "malformed"),
        (b"{", "malformed"),
        (b"\x00", "malformed"),
        (b'{"alg":"RS256","x":' + b"[" * 10_000, "malformed"),
        (b'{"alg":"RS256","x":' + b"[" * 6_000 + b"]" * 6_000 + b"}", "malformed"),
        (b'{"alg":"RS256","x":' + b"9" * 5000 + b"}", "malformed"),
        *((b'{"alg":"RS256","%b":"a"}' % name, "header") for name in (b"jku", b"x5u", b"jwk", b"x5c", b"b64")),
        (b'{"alg":"RS256","jku":null}', "header"),
        (b'{"alg":"RS256","crit":[]}', "critical"),
        (b'{"alg":"RS256","crit":["exp"],"exp":1}', "critical"),
        (b'{"alg":"RS256","crit":null}', "critical"),
    ],
)
def test_a_header_names_an_accepted_algorithm_and_nothing_that_would_change_the_key(
    header: bytes, verdict: str
) -> None:
    assert opened(header) == verdict


@pytest.mark.parametrize(
    "text",
    [
        "e30.e30.e31",  # the last character's low bits are no part of the byte
        "e30.e30.AB",
        "e30.e30.A",
        "e30.e3.AA",
        "e30.e30=.AA",
        "e30.e 30.AA",
        "e30.e30.AA\n",
        "e30.e30",
        "",
        "..",
        "e30.e30.AA.",
        "\udcff.e30.AA",
    ],
)
def test_a_token_has_one_spelling(text: str) -> None:
    with pytest.raises(Refused, match=r"^malformed$"):
        taken_apart(text, ("RS256",))


def test_a_token_too_large_is_not_looked_at() -> None:
    with pytest.raises(Refused, match=r"^too_large$"):
        taken_apart("a" * (MAX_TOKEN + 1), ("RS256",))


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "good"),
        ({"exp": NOW}, "good"),
        ({"exp": int(NOW) - 29}, "good"),
        ({"exp": NOW - 29.5}, "good"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": -1}, "expired"),
        ({"exp": -1e300}, "claims"),
        ({"exp": 2**53}, "good"),
        ({"exp": 2**53 + 1}, "claims"),
        ({"exp": 1e300}, "claims"),
        ({"exp": 10**400}, "claims"),
        ({"exp": None}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": str(int(NOW) + 600)}, "claims"),
        ({"exp": [NOW + 600]}, "claims"),
        ({"exp": {}}, "claims"),
        ({"exp": float("nan")}, "claims"),
        ({"exp": float("inf")}, "claims"),
        ({"nbf": NOW + 30}, "good"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"nbf": "0"}, "claims"),
        ({"nbf": False}, "claims"),
        ({"nbf": None}, "claims"),
        ({"iat": NOW + 30}, "good"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"iat": -5}, "good"),
        ({"iat": "now"}, "claims"),
        ({"iat": float("-inf")}, "claims"),
        ({"sub": 17}, "good"),
        ({"sub": "mail@example.com"}, "good"),
        ({"sub": "two words"}, "good"),
        ({"sub": None}, "claims"),
        ({"sub": ""}, "claims"),
        ({"sub": " "}, "claims"),
        ({"sub": " u"}, "claims"),
        ({"sub": "u "}, "claims"),
        ({"sub": "a,b"}, "claims"),
        ({"sub": "a\r\nX-User-Roles: superadmin"}, "claims"),
        ({"sub": "a\n"}, "claims"),
        ({"sub": "a\tb"}, "claims"),
        ({"sub": "a\x00"}, "claims"),
        ({"sub": "a\x7f"}, "claims"),
        ({"sub": "\u00e9"}, "claims"),
        ({"sub": "\u2028"}, "claims"),
        ({"sub": "\ud800"}, "claims"),
        ({"sub": True}, "claims"),
        ({"sub": 1.5}, "claims"),
        ({"sub": ["u"]}, "claims"),
        ({"sub": {"id": "u"}}, "claims"),
        ({"roles": []}, "good"),
        ({"roles": "editor"}, "good"),
        ({"roles": None}, "claims"),
        ({"roles": ""}, "claims"),
        ({"roles": [""]}, "claims"),
        ({"roles": "a,superadmin"}, "claims"),
        ({"roles": ["a,superadmin"]}, "claims"),
        ({"roles": ["a", "b\r\nX: y"]}, "claims"),
        ({"roles": ["a", 1]}, "claims"),
        ({"roles": ["a", None]}, "claims"),
        ({"roles": ["a", ["b"]]}, "claims"),
        ({"roles": {"superadmin": True}}, "claims"),
        ({"roles": True}, "claims"),
        ({"roles": 7}, "claims"),
        ({"roles": ["\u017fuperadmin"]}, "claims"),
    ],
)
def test_a_claim_that_counts_has_its_type_and_its_time(changed: dict[str, Any], verdict: str) -> None:
    assert judged({**CLAIMS, **changed}) == verdict


@pytest.mark.parametrize(
    ("claims", "verdict"),
    [
        ({"iss": ISSUER}, "good"),
        ({}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"iss": ISSUER.upper()}, "issuer"),
    ],
)
def test_an_issuer_that_is_asked_for_must_be_the_very_one(claims: dict[str, Any], verdict: str) -> None:
    assert judged({**CLAIMS, **claims}, issuer=ISSUER) == verdict


@pytest.mark.parametrize(
    ("claims", "verdict"),
    [
        ({"aud": AUDIENCE}, "good"),
        ({"aud": ["other", AUDIENCE]}, "good"),
        ({}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": "other"}, "audience"),
        ({"aud": f"{AUDIENCE} other"}, "audience"),
        ({"aud": AUDIENCE[:-1]}, "audience"),
        ({"aud": [[AUDIENCE]]}, "audience"),
        ({"aud": [AUDIENCE, 7]}, "audience"),
        ({"aud": {AUDIENCE: 1}}, "audience"),
    ],
)
def test_an_audience_that_is_asked_for_must_be_among_the_tokens(claims: dict[str, Any], verdict: str) -> None:
    assert judged({**CLAIMS, **claims}, audience=AUDIENCE) == verdict


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"u"',
        b'{"sub":"u","exp":9e9,"exp":1}',
        b'{"sub":"u","sub":"root","exp":9e9}',
        b'{"sub":"u","exp":9e9,"x":{"a":1,"a":2}}',
        b'{"sub":"u","exp":Infinity}',
        b'{"sub":"u","exp":NaN}',
        b'{"sub":"u","exp":9e9,"x":-Infinity}',
        b'{"sub":"u","exp":1e999}',
        b'{"sub":"u","exp":9e9,"x":' + b"1" * 5000 + b"}",
        b'{"sub":"u","exp":9e9,"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"sub":"u","exp":9e9,"x":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}",
        b'{"x":' * 10_000,
        b'{"sub":"u\xff","exp":9e9}',
        b'{"sub":"u","exp":9e9}\x00',
        b"{'sub':'u','exp':9e9}",
        b'{"sub":"u\n","exp":9e9}',
        '{"sub":"u","exp":9e9}'.encode("utf-16-le"),
        b'\xef\xbb\xbf{"sub":"u","exp":9e9}',
    ],
)
def test_claims_are_one_strict_json_object(payload: bytes) -> None:
    assert judged(payload) == "claims"


@pytest.mark.parametrize(
    ("claims", "user", "roles", "lines"),
    [
        ({}, "u-1", ("editor", "admin"), b"X-User-Id: u-1\r\nX-User-Roles: editor,admin"),
        ({"sub": 17, "roles": "a b"}, "17", ("a b",), b"X-User-Id: 17\r\nX-User-Roles: a b"),
        ({"roles": []}, "u-1", (), b"X-User-Id: u-1"),
    ],
)
def test_an_identity_has_the_lines_for_an_upstream(
    claims: dict[str, Any], user: str, roles: tuple[str, ...], lines: bytes
) -> None:
    identity = identity_of(json.dumps({**CLAIMS, **claims}).encode(), rules(), NOW)
    assert (identity.user, identity.roles, identity.lines) == (user, roles, lines)
    assert identity.until == CLAIMS["exp"] + 30


def test_claims_may_be_nested_as_deep_as_is_allowed() -> None:
    deep = b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1)
    assert identity_of(b'{"sub":"u","exp":9e9,"x":%b}' % deep, rules(), NOW).user == "u"


def test_user_and_roles_come_from_the_claims_that_are_configured() -> None:
    payload = json.dumps({"sub": "no", "uid": "yes", "groups": ["g"], "roles": ["no"], "exp": NOW + 1}).encode()
    identity = identity_of(payload, rules(user_claim="uid", roles_claim="groups"), NOW)
    assert (identity.user, identity.roles) == ("yes", ("g",))


def test_every_reason_has_words_that_fit_an_error_description() -> None:
    for words in REASONS.values():
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", words)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["sub", "roles", "exp", "nbf", "iat", "iss", "aud"])


@given(st.dictionaries(NAMES, JSON), st.booleans())
def test_whatever_the_claims_they_give_clean_lines_or_are_refused(claims: dict[str, Any], complete: bool) -> None:
    payload = json.dumps({**CLAIMS, **claims} if complete else claims).encode()
    try:
        identity = identity_of(payload, rules(), NOW)
    except Refused as refused:
        assert refused.reason in REASONS
    else:
        assert re.fullmatch(rb"X-User-Id: [\x20-\x7e]+(\r\nX-User-Roles: [\x20-\x7e]+)?", identity.lines)
        assert identity.until > NOW


@given(st.binary(max_size=60))
def test_whatever_the_payload_nothing_but_a_refusal_comes_out(payload: bytes) -> None:
    assert judged(payload) in {"claims", "expired", "not_yet_valid"}
