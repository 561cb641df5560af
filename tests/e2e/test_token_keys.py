"""Public keys: from a PEM, and from a key set that a real HTTP server gives, changes, loses and mangles."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .harness import Backend, Gateway, eventually, reply, request, run_to_exit, running, write_table
from .harness.answers import silence
from .harness.guards import assert_refused
from .harness.tokens import bearer, claims, jwk, key_set, part, raw, signed

ROUTES = """
rate_limit = "off"
upstream = "main"
[[route]]
path = "/members/{rest:path}"
[[route]]
path = "/open/{rest:path}"
auth = "public"
"""
COOLDOWN = 30.0
"""Seconds between two fetches of a key set, as long as there are keys."""

RSA, RSA_NEXT, RSA_EVIL = (rsa.generate_private_key(65537, 2048) for _ in range(3))
EC, EC_EVIL = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
PRIVATE: dict[str, Any] = {"RS256": RSA, "ES256": EC}


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """The public half in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Path:
    """A route that wants a token and one that doesn't."""
    return write_table(tmp_path_factory.mktemp("keys") / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)


@dataclass
class Federated:
    """A gateway whose keys come from `issuer`, and when it may have fetched them first."""

    gateway: Gateway
    issuer: Backend
    since: float

    def fetches(self) -> int:
        """How often the set was asked for."""
        return len(self.issuer.seen("/keys"))

    def statuses(self, tokens: Sequence[str]) -> list[int]:
        """The answers to tokens sent at once."""
        return at_once(self.gateway, tokens)


@pytest.fixture(scope="module")
def federated(config: Path) -> Iterator[Federated]:
    """Keys from a set of two."""
    with Backend() as issuer:
        issuer.serve(reply(200, key_set(jwk(RSA, "rs1", "RS256"), jwk(EC, "es1", "ES256"))), at="/keys")
        with enforcing(config, JWT_JWKS_URL=f"{issuer.url}/keys") as gateway:
            assert gateway.get("/members/x", bearer(rs1())).status == 200
            yield Federated(gateway, issuer, time.monotonic())


def enforcing(config: Path, **settings: str) -> Any:
    """A gateway without a secret."""
    return running(
        config, GATEWAY_AUTH_MODE="enforce", GATEWAY_AUTH_FAIL_LIMIT="1000000/second", JWT_SECRET="", **settings
    )


def rs1(key: rsa.RSAPrivateKey = RSA, kid: str = "rs1", **changed: Any) -> str:
    """A token signed with RS256."""
    return signed(claims(**changed), key, "RS256", kid=kid)


def at_once(gateway: Gateway, tokens: Sequence[str]) -> list[int]:
    """The statuses of requests with these tokens, all sent before one is read."""
    clients = [gateway.client() for _ in tokens]
    for client, token in zip(clients, tokens, strict=True):
        client.send(request("GET", "/members/x", bearer(token)))
    statuses = [client.read().status for client in clients]
    for client in clients:
        client.leave()
    return statuses


def by_hmac(header: dict[str, Any], secret: bytes) -> str:
    """A token whose secret is what everybody knows."""
    told = ".".join(part(json.dumps(piece).encode()) for piece in (header, claims(sub="root")))
    return f"{told}.{part(hmac.new(secret, told.encode(), hashlib.sha256).digest())}"


def with_signature(header: dict[str, Any], signature: bytes) -> str:
    """A token with a signature of its own making."""
    return raw(header, claims(sub="root")).rpartition(".")[0] + "." + part(signature)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_public_key_in_pem_verifies(config: Path, backend: Backend, algorithm: str) -> None:
    key, other = PRIVATE[algorithm], {"RS256": RSA_EVIL, "ES256": EC_EVIL}[algorithm]
    text = pem(key)
    hostile = [
        signed(claims(), other, algorithm),
        by_hmac({"alg": "HS256"}, text.encode()),
        by_hmac({"alg": "HS256"}, text.strip().encode()),
        by_hmac({"alg": algorithm}, text.encode()),
        raw({"alg": "none"}, claims()).rpartition(".")[0] + ".",
        with_signature({"alg": algorithm}, bytes(64)),
        with_signature({"alg": algorithm}, b""),
        with_signature({"alg": "ES256"}, b"\x30\x06\x02\x01\x00\x02\x01\x00"),
        with_signature({"alg": algorithm}, b"\x00" * 5000),
        signed(claims(), other, algorithm, jwk=jwk(other, "x", algorithm)),
        signed(claims(), key, algorithm, jku="http://127.0.0.1:1/keys"),
        *([signed(claims(), RSA, name) for name in ("RS384", "RS512", "PS256")] if algorithm == "RS256" else []),
    ]
    with enforcing(config, JWT_PUBLIC_KEY=text) as gateway:
        path = backend.serve(reply(), "/members")
        assert gateway.get(path, bearer(signed(claims(sub="u9"), key, algorithm))).status == 200
        assert backend.one(path).value("x-user-id") == "u9"
        assert [gateway.get(path, bearer(token)).status for token in hostile] == [401] * len(hostile)
        assert len(backend.seen(path)) == 1


def test_two_sources_of_keys_end_the_start() -> None:
    code, output = run_to_exit(["serve"], GATEWAY_AUTH_MODE="enforce", JWT_PUBLIC_KEY=pem(RSA))
    assert code == 1
    assert "JWT_SECRET" in output and "JWT_PUBLIC_KEY" in output and "Traceback" not in output


def test_the_keys_of_a_set_verify(federated: Federated, backend: Backend) -> None:
    path = backend.serve(reply(), "/members")
    for token in (rs1(), signed(claims(), EC, "ES256", kid="es1")):
        assert federated.gateway.get(path, bearer(token)).status == 200
    assert federated.fetches() == 1


def test_tokens_that_bring_or_name_keys_of_their_own_are_refused(federated: Federated, backend: Backend) -> None:
    path = backend.serve(reply(), "/members")
    evil = backend.serve(reply(200, key_set(jwk(RSA_EVIL, "rs1", "RS256"))), "/evil")
    where = f"{backend.url}{evil}"
    hostile = [
        rs1(RSA_EVIL),
        rs1(RSA_EVIL, kid="es1"),
        rs1(kid="es1"),
        rs1(kid="../../dev/null"),
        rs1(kid=where),
        signed(claims(), RSA_EVIL, "RS256", kid="rs1", jku=where),
        signed(claims(), RSA_EVIL, "RS256", kid="unknown", jku=where),
        signed(claims(), RSA_EVIL, "RS256", kid="rs1", x5u=where),
        signed(claims(), RSA_EVIL, "RS256", kid="rs1", jwk=jwk(RSA_EVIL, "rs1", "RS256")),
        signed(claims(), EC_EVIL, "ES256", kid="es1"),
        signed(claims(), EC, "ES256", kid="rs1"),
        by_hmac({"alg": "HS256", "kid": "rs1"}, pem(RSA).encode()),
        by_hmac({"alg": "HS256", "kid": "rs1"}, jwk(RSA, "rs1", "RS256")["n"].encode()),
        with_signature({"alg": "ES256", "kid": "es1"}, bytes(64)),
        with_signature({"alg": "ES256", "kid": ["es1"]}, bytes(64)),
        with_signature({"alg": "ES256", "kid": {"es1": 1}}, bytes(64)),
        with_signature({"alg": "RS256", "kid": None}, bytes(256)),
    ]
    assert [federated.gateway.get(path, bearer(token)).status for token in hostile] == [401] * len(hostile)
    assert not backend.seen(path)
    assert not backend.seen(evil)


def test_a_flood_of_unknown_names_costs_the_issuer_nothing(federated: Federated) -> None:
    before = federated.fetches()
    assert federated.statuses([rs1(RSA_EVIL, kid=f"made-up-{number}") for number in range(60)]) == [401] * 60
    assert federated.statuses([rs1()]) == [200]
    assert federated.fetches() == before


def test_without_any_key_nobody_passes(config: Path, backend: Backend) -> None:
    """A redirect isn't followed, secrets in a set are none, a silent issuer is waited for in bounded time."""
    with Backend() as issuer:
        good = key_set(jwk(RSA, "rs1", "RS256"))
        issuer.serve(reply(200, good), at="/elsewhere")
        issuer.serve(reply(302, b"", f"Location: {issuer.url}/elsewhere"), at="/redirecting")
        issuer.serve(reply(200, key_set({"kty": "oct", "k": part(b"k" * 32), "kid": "rs1"})), at="/secret")
        issuer.serve(reply(200, b"<html>it works</html>", kind="text/html"), at="/page")
        issuer.serve(silence, at="/silent")
        hostile = by_hmac({"alg": "HS256", "kid": "rs1"}, b"k" * 32)
        for where in ("/redirecting", "/secret", "/page", "/silent"):
            with enforcing(config, JWT_JWKS_URL=f"{issuer.url}{where}") as gateway:
                path = backend.serve(reply(), "/members")
                refused = gateway.get(path, bearer(rs1()))
                assert assert_refused(refused, "auth_unavailable")["retryable"]
                assert refused.value("retry-after")
                assert gateway.get(path, bearer(hostile)).status in (401, 503)
                assert gateway.get(path).status == 401
                assert gateway.get(backend.serve(reply(), "/open")).status == 200
                assert not backend.seen(path)
                if where == "/redirecting":
                    assert not issuer.seen("/elsewhere")
                    assert set(at_once(gateway, [rs1(kid=f"k{number}") for number in range(60)])) == {503}
                    assert len(issuer.seen(where)) <= 3
                    issuer.serve(reply(200, good), at=where)
                    eventually(lambda: gateway.get(path, bearer(rs1())).status == 200, "the keys are there", 8)  # noqa: B023


def test_a_new_key_is_found_with_one_fetch_and_outlives_the_issuer(federated: Federated) -> None:
    """Waits until a fetch is due again: it is the last test here, so that the others take up most of that time."""
    gateway, issuer = federated.gateway, federated.issuer
    go_on = threading.Event()

    def slowly(peer: Any) -> None:
        peer.wait(go_on)
        peer.send(reply(200, key_set(jwk(RSA_NEXT, "rs2", "RS256"))))

    issuer.serve(slowly, at="/keys")
    time.sleep(max(0.0, federated.since + COOLDOWN + 0.5 - time.monotonic()))
    before = federated.fetches()
    tokens = [rs1(RSA_EVIL, kid=f"again-{number}") for number in range(40)] + [rs1(RSA_NEXT, "rs2") for _ in range(5)]
    answered: list[list[int]] = []
    flood = threading.Thread(target=lambda: answered.append(federated.statuses(tokens)))
    flood.start()
    eventually(lambda: federated.fetches() > before, "the set is fetched")
    assert gateway.get("/members/x", bearer(rs1(sub="meanwhile"))).status == 200  # known keys wait for nothing
    go_on.set()
    flood.join()
    assert answered == [[401] * 40 + [200] * 5]
    assert federated.fetches() == before + 1
    assert gateway.get("/members/x", bearer(rs1(sub="late"))).status == 401, "the old key is gone from the set"
    issuer.close()
    users = [f"u{number}" for number in range(10)]
    assert federated.statuses([rs1(RSA_NEXT, "rs2", sub=user) for user in users]) == [200] * 10
