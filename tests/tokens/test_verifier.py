"""Good tokens, how long they are remembered, and the verifier that settings ask for."""

from __future__ import annotations

import asyncio

import pytest

from aiogateway.settings import ConfigError, read
from aiogateway.tokens import Identity, Refused, Unavailable, Verifier, verifier_from
from aiogateway.tokens.jwks import COOLDOWN, REFRESH_AFTER, Jwks
from aiogateway.tokens.verifier import LONGEST
from tests.clock import Clock, eventually
from tests.tokens.issuer import issuing, jwks_of
from tests.tokens.signing import (
    ALGORITHMS,
    AUDIENCE,
    CLAIMS,
    ISSUER,
    NOW,
    SECRET,
    private_key,
    public_jwk,
    public_pem,
    rules,
    token,
    verifier_of,
)


async def refusal(verifier: Verifier, text: str) -> str:
    with pytest.raises(Refused) as refused:
        await verifier.verify(text)
    return refused.value.reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_good_token_gives_its_identity_and_is_remembered(algorithm: str) -> None:
    verifier = verifier_of(algorithm)
    text = token(algorithm)
    assert verifier.remembered(text) is None
    identity = await verifier.verify(text)
    assert (identity.user, identity.roles) == ("u-1", ("editor", "admin"))
    assert verifier.remembered(text) is identity
    assert verifier.remembered(text + "A") is None


async def test_a_token_is_remembered_until_it_expires() -> None:
    clock = Clock(NOW)
    verifier = verifier_of(clock=clock)
    text = token()
    identity = await verifier.verify(text)
    clock.now = identity.until - 0.001
    assert verifier.remembered(text) is identity
    clock.now = identity.until
    assert verifier.remembered(text) is None
    assert len(verifier._known) == 0
    assert await refusal(verifier, text) == "expired"


async def test_a_token_that_was_refused_is_looked_at_anew() -> None:
    clock = Clock(NOW)
    verifier = verifier_of(clock=clock)
    text = token(claims={**CLAIMS, "nbf": NOW + 100})
    for _ in range(2):
        assert await refusal(verifier, text) == "not_yet_valid"
        assert verifier.remembered(text) is None
    clock.advance(70)
    assert isinstance(await verifier.verify(text), Identity)


async def test_the_oldest_is_forgotten_when_there_are_too_many() -> None:
    verifier = verifier_of("HS256", most=3)
    texts = [token("HS256", claims={**CLAIMS, "sub": f"u{number}"}) for number in range(5)]
    for text in texts:
        await verifier.verify(text)
    await verifier.verify(texts[-1])
    assert [verifier.remembered(text) is not None for text in texts] == [False, False, True, True, True]


async def test_a_very_long_token_is_verified_each_time() -> None:
    verifier = verifier_of("HS256")
    longest = token("HS256", claims={**CLAIMS, "x": "y" * 2880})
    longer = token("HS256", claims={**CLAIMS, "x": "y" * 3000})
    assert len(longest) <= LONGEST < len(longer)
    for text, kept in ((longest, True), (longer, False)):
        await verifier.verify(text)
        assert (verifier.remembered(text) is not None) is kept


async def test_with_an_issuer_and_an_audience_only_tokens_of_both_count() -> None:
    verifier = verifier_of("ES256", issuer=ISSUER, audience=AUDIENCE)
    both = {**CLAIMS, "iss": ISSUER, "aud": ["other", AUDIENCE]}
    assert isinstance(await verifier.verify(token("ES256", claims=both)), Identity)
    assert await refusal(verifier, token("ES256", claims={**both, "iss": "https://evil.example"})) == "issuer"
    assert await refusal(verifier, token("ES256", claims={**both, "aud": "other"})) == "audience"
    assert await refusal(verifier, token("ES256")) == "issuer"


async def test_a_withdrawn_keys_tokens_are_forgotten_even_if_nothing_else_is_asked() -> None:
    async with issuing() as issuer:
        monotonic = Clock()
        jwks = jwks_of(issuer, monotonic)
        verifier = Verifier(rules(), jwks, Clock(NOW))
        await verifier.start()
        try:
            text = token(header={"kid": "r0"})
            identity = await verifier.verify(text)
            issuer.gives(public_jwk("RS256", 1, kid="r1"))
            monotonic.advance(REFRESH_AFTER)
            assert verifier.remembered(text) is identity
            await eventually(lambda: verifier.remembered(text) is None, "other keys")
            assert await refusal(verifier, text) == "key"
            fresh = token(header={"kid": "r1"}, number=1)
            await verifier.verify(fresh)
            assert verifier.remembered(fresh) is not None
        finally:
            await verifier.close()


async def test_keys_with_one_name_or_none_are_each_tried() -> None:
    async with issuing() as issuer:
        issuer.gives(public_jwk("RS256", 1, kid="a"), public_jwk("RS256", kid="a"), public_jwk("ES256"))
        verifier = Verifier(rules(), jwks_of(issuer, Clock()), Clock(NOW))
        await verifier.start()
        try:
            assert isinstance(await verifier.verify(token(header={"kid": "a"})), Identity)
            assert isinstance(await verifier.verify(token()), Identity)
            assert isinstance(await verifier.verify(token("ES256", header={"kid": "b"})), Identity)
            assert await refusal(verifier, token(header={"kid": "b"})) == "key"
            assert await refusal(verifier, token("EdDSA")) == "key"
            assert await refusal(verifier, token("RS256", key=private_key("RS256", 2))) == "signature"
        finally:
            await verifier.close()


async def test_an_issuers_public_key_is_no_secret_even_if_hmac_is_accepted() -> None:
    async with issuing() as issuer:
        issuer.gives(public_jwk("RS256", kid="r0"), {"kty": "oct", "kid": "o", "k": "c2VjcmV0"})
        verifier = Verifier(rules(), Jwks(issuer.url, ALGORITHMS), Clock(NOW))
        await verifier.start()
        try:
            for kid in ("r0", "o"):
                assert await refusal(verifier, token("HS256", header={"kid": kid})) == "key"
        finally:
            await verifier.close()


async def test_without_any_key_a_token_cannot_be_told_good_or_bad_but_a_broken_one_can() -> None:
    async with issuing() as issuer:
        issuer.says(b"", 500)
        monotonic = Clock()
        verifier = Verifier(rules(), jwks_of(issuer, monotonic), Clock(NOW))
        await verifier.start()
        try:
            with pytest.raises(Unavailable):
                await verifier.verify(token(header={"kid": "r0"}))
            assert await refusal(verifier, "a.b.c") == "malformed"
            issuer.gives(public_jwk("RS256", kid="r0"))
            monotonic.advance(COOLDOWN)
            assert isinstance(await verifier.verify(token(header={"kid": "r0"})), Identity)
        finally:
            await verifier.close()


async def test_a_verifier_closed_before_it_was_started_or_twice_is_harmless() -> None:
    verifier = verifier_from(read({"JWT_JWKS_URL": "http://127.0.0.1:9/keys"}))
    assert verifier is not None
    await verifier.close()
    await verifier.start()
    await verifier.close()
    await verifier.close()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("environ", "algorithm"),
    [
        ({"JWT_SECRET": SECRET.decode() + "0"}, "HS256"),
        ({"JWT_PUBLIC_KEY": public_pem("RS256").decode()}, "RS256"),
        ({"JWT_PUBLIC_KEY": public_pem("ES256").decode()}, "ES256"),
        ({"JWT_PUBLIC_KEY": public_pem("EdDSA").decode(), "JWT_ALGORITHMS": "EdDSA"}, "EdDSA"),
    ],
)
async def test_the_settings_key_verifies_with_their_rules(environ: dict[str, str], algorithm: str) -> None:
    verifier = verifier_from(
        read(
            {
                **environ,
                "JWT_ISSUER": ISSUER,
                "JWT_AUDIENCE": AUDIENCE,
                "JWT_LEEWAY": "0",
                "JWT_USER_CLAIM": "uid",
                "JWT_ROLES_CLAIM": "groups",
            }
        )
    )
    assert verifier is not None
    await verifier.start()
    claims = {"uid": 7, "groups": "staff", "iss": ISSUER, "aud": AUDIENCE, "exp": 2**40}
    identity = await verifier.verify(token(algorithm, claims=claims))
    assert (identity.user, identity.roles, identity.until) == ("7", ("staff",), 2**40)
    assert await refusal(verifier, token(algorithm, claims={**claims, "exp": 1})) == "expired"
    await verifier.close()


async def test_the_settings_key_set_is_fetched() -> None:
    async with issuing() as issuer:
        verifier = verifier_from(read({"JWT_JWKS_URL": issuer.url}))
        assert verifier is not None
        await verifier.start()
        assert isinstance(await verifier.verify(token(claims={**CLAIMS, "exp": 2**40})), Identity)
        await verifier.close()


@pytest.mark.parametrize(
    "environ",
    [
        {"GATEWAY_AUTH_MODE": "observe"},
        {"GATEWAY_AUTH_MODE": "off"},
        {"GATEWAY_AUTH_MODE": "off", "JWT_JWKS_URL": "http://127.0.0.1:9/keys"},
    ],
)
def test_without_a_key_or_when_tokens_are_not_read_there_is_no_verifier(environ: dict[str, str]) -> None:
    assert verifier_from(read(environ)) is None


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"JWT_SECRET": public_pem("RS256").decode()}, "JWT_SECRET: must be a secret of its own"),
        ({"JWT_PUBLIC_KEY": public_pem("RSA-1024").decode()}, "JWT_PUBLIC_KEY: must have at least 2048 bits"),
    ],
)
def test_a_key_that_cannot_be_used_is_a_fault_of_the_configuration(environ: dict[str, str], fault: str) -> None:
    settings = read(environ, need_key=False)
    with pytest.raises(ConfigError, match=fault) as raised:
        verifier_from(settings)
    assert "BEGIN" not in str(raised.value)
