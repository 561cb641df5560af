"""Tokens signed with a shared secret: who passes, who doesn't, and what the upstream is told of them."""

from __future__ import annotations

import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import Backend, Gateway, Response, reply, request, running, write_table
from .harness.gateway import SECRET
from .harness.guards import assert_refused, grown, samples
from .harness.tokens import as_user, bearer, claims, part, raw, signed

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
[[route]]
path = "/members/{rest:path}"
auth = "required"
[[route]]
path = "/guests/{rest:path}"
auth = "optional"
[[route]]
path = "/open/{rest:path}"
[[route]]
path = "/admins/{rest:path}"
auth = "required"
roles = ["admin", "auditor"]
[[route]]
path = "/own/{user_id}/{rest:path}"
auth = "required"
owner = "user_id"
"""
HEADER = {"alg": "HS256", "typ": "JWT"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Path:
    """A route for each kind of `auth`."""
    return write_table(tmp_path_factory.mktemp("tokens") / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)


@pytest.fixture(scope="module")
def enforcing(config: Path) -> Iterator[Gateway]:
    """The contract's defaults, and room for many failures."""
    with running(config, GATEWAY_AUTH_MODE="enforce", GATEWAY_AUTH_FAIL_LIMIT="1000000/second") as gateway:
        yield gateway
        written = gateway.output
    assert [piece for token in SENT for piece in token.split(".") if len(piece) >= 20 and piece in written] == []


SENT: list[str] = []
"""Tokens that were refused, and must not stand in the log."""


def assert_unauthenticated(answer: Response, token: str = "") -> None:
    """Assert a 401 that tells the class of the reason and nothing of the token."""
    assert_refused(answer, "unauthenticated")
    (challenge,) = answer.values("www-authenticate")
    assert challenge.split(" ")[0].rstrip(",") == "Bearer"
    said = "\r\n".join(line.decode("latin1") for line in answer.head.lines) + answer.data.decode()
    for piece in token.split("."):
        assert len(piece) < 8 or piece not in said
    if token:
        SENT.append(token)


def test_a_good_token_passes_and_its_user_is_told(enforcing: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/members")
    field = as_user("u1", "editor", "admin")
    assert enforcing.get(path, field, "X-User-Id: root", "X-User-Roles: superadmin", "X-User-Plan: gold").status == 200
    seen = backend.one(path)
    assert seen.values("x-user-id") == ["u1"]
    assert [item.strip() for item in (seen.value("x-user-roles") or "").split(",")] == ["editor", "admin"]
    assert seen.values("authorization") == [field.partition(": ")[2]]
    assert "x-user-plan" not in seen.names


@pytest.mark.parametrize("under", ["/open", "/guests"])
def test_what_clients_tell_of_themselves_is_removed(enforcing: Gateway, backend: Backend, under: str) -> None:
    path = backend.serve(reply(), under)
    told = ("X-User-Id: root", "x-user-id: r2", "X-USER-ROLES: superadmin", "X-User-Anything: 1", "X_User_Id: root")
    assert enforcing.get(path, *told).status == 200
    assert [name for name in backend.one(path).names if "user" in name] == []


GOOD: dict[str, Callable[[], str]] = {
    "no roles": signed,
    "a lower-case type": lambda: signed(typ="jwt"),
    "no type": lambda: raw({"alg": "HS256"}, claims()),
    "a key name": lambda: signed(kid="any"),
    "other claims": lambda: signed(claims(iss="anyone", aud=["any"], jti="1", iat=int(time.time()), deep={"a": [1]})),
    "an expiry with a fraction": lambda: signed(claims(exp=time.time() + 600.5)),
    "one that expired within the leeway": lambda: signed(claims(exp=int(time.time()) - 3)),
    "a start within the leeway": lambda: signed(claims(nbf=int(time.time()) + 25)),
    "a long one": lambda: signed(claims(text="x" * 3000)),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_good_tokens_pass(enforcing: Gateway, backend: Backend, make: Callable[[], str]) -> None:
    path, field = backend.serve(reply(), "/members"), bearer(make())
    assert [enforcing.get(path, field).status for _ in range(2)] == [200, 200]
    assert {seen.value("x-user-id") for seen in backend.seen(path)} == {"u1"}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_schemes_case_is_free(enforcing: Gateway, backend: Backend, scheme: str) -> None:
    path = backend.serve(reply(), "/members")
    assert enforcing.get(path, f"Authorization: {scheme} {signed()}").status == 200


def _tampered() -> str:
    head, _, signature = signed().split(".")
    return f"{head}.{part(json.dumps(claims(sub='root')).encode())}.{signature}"


def _unsigned(algorithm: str) -> str:
    return raw({"alg": algorithm, "typ": "JWT"}, claims()).rpartition(".")[0] + "."


def _claims_text(exp: str) -> bytes:
    return b'{"sub":"u1","exp":' + exp.encode() + b"}"


HOSTILE: dict[str, str] = {
    "unsigned": _unsigned("none"),
    "unsigned, in capitals": _unsigned("NONE"),
    "unsigned, in mixed case": _unsigned("nOnE"),
    "none with a signature": raw({"alg": "none"}, claims()),
    "without its signature": signed().rpartition(".")[0] + ".",
    "another secret": signed(key="s" * 48),
    "an empty secret": raw(HEADER, claims(), secret=""),
    "HS512 with the right secret": raw({"alg": "HS512"}, claims(), digest="sha512"),
    "HS384 with the right secret": raw({"alg": "HS384"}, claims(), digest="sha384"),
    "an algorithm in lower case": raw({"alg": "hs256"}, claims()),
    "an algorithm that is a list": raw({"alg": ["HS256"]}, claims()),
    "no algorithm": raw({"typ": "JWT"}, claims()),
    "other claims under a good signature": _tampered(),
    "one letter changed": signed()[:-10] + ("A" if signed()[-10] != "A" else "B") + signed()[-9:],
    "long expired": signed(claims(exp=int(time.time()) - 3600)),
    "expired beyond the leeway": signed(claims(exp=int(time.time()) - 35)),
    "no expiry": signed(claims(exp=None)),
    "an expiry of text": raw(HEADER, claims(exp=str(int(time.time()) + 86_400))),
    "an expiry without end": raw(HEADER, _claims_text("Infinity")),
    "an expiry that is no number": raw(HEADER, _claims_text("NaN")),
    "an expiry past all numbers": raw(HEADER, _claims_text("1e999")),
    "an expiry of many digits": raw(HEADER, _claims_text("9" * 5000)),
    "an expiry of true": raw(HEADER, claims(exp=True)),
    "an expiry below zero": raw(HEADER, claims(exp=-1)),
    "a start in the future": signed(claims(nbf=int(time.time()) + 40_000)),
    "a start of text": raw(HEADER, claims(nbf="tomorrow")),
    "no user": signed(claims(sub=None)),
    "an empty user": raw(HEADER, claims(sub="")),
    "a user that is a list": raw(HEADER, claims(sub=["u1"])),
    "a user with a comma": raw(HEADER, claims(sub="u1,root")),
    "a user with a line end": raw(HEADER, claims(sub="u1\r\nX-User-Roles: superadmin")),
    "a user with a NUL": raw(HEADER, claims(sub="u1\x00")),
    "a user beyond ASCII": raw(HEADER, claims(sub="ü1")),
    "a user that is a lone surrogate": raw(HEADER, b'{"sub":"\\ud800","exp":%d}' % claims()["exp"]),
    "a role with a comma": raw(HEADER, claims(roles=["editor,superadmin"])),
    "a role with a line end": raw(HEADER, claims(roles=["editor\nX-User-Id: root"])),
    "a role that is a number": raw(HEADER, claims(roles=[1])),
    "roles in an object": raw(HEADER, claims(roles={"superadmin": True})),
    "an unknown extension": raw({**HEADER, "crit": ["http://e.test/x"], "http://e.test/x": 1}, claims()),
    "an extension that is not there": raw({**HEADER, "crit": ["b64"]}, claims()),
    "an empty list of extensions": raw({**HEADER, "crit": []}, claims()),
    "an embedded key": raw({**HEADER, "jwk": {"kty": "oct", "k": part(SECRET.encode())}}, claims()),
    "its embedded key": raw({**HEADER, "jwk": {"kty": "oct", "k": part(b"m" * 32)}}, claims(), "m" * 32),
    "an unencoded payload": raw({**HEADER, "b64": False, "crit": ["b64"]}, claims()),
    "two parts": signed().rpartition(".")[0],
    "four parts": signed() + ".AAAA",
    "five parts": f"{signed()}.AAAA.AAAA",
    "one part": "A" * 60,
    "padding": raw(HEADER, claims()) + "=",
    "letters of the other alphabet": "+/" + signed()[2:],
    "a header that is no JSON": raw(b"HS256", claims()),
    "a header that is a list": raw(b'["HS256"]', claims()),
    "claims that are no JSON": raw(HEADER, b"u1"),
    "claims that are a list": raw(HEADER, b'["u1"]'),
    "claims that are nothing": raw(HEADER, b""),
    "claims in UTF-16": raw(HEADER, json.dumps(claims()).encode("utf-16")),
    "a header nested deeply": raw(b'{"alg":"HS256","a":' + b"[" * 5000 + b"]" * 5000 + b"}", claims()),
    "claims nested deeply": raw(HEADER, b'{"sub":"u1","exp":9e9,"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "two users": raw(HEADER, b'{"sub":"u1","sub":"root","exp":%d}' % claims()["exp"]),
    "over 16 KiB": signed(claims(text="x" * (math.ceil(16_500 * 3 / 4)))),
    "nothing but dots": "..",
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_token_is_refused_and_reaches_nobody(enforcing: Gateway, backend: Backend, token: str) -> None:
    for under in ("/members", "/guests"):
        path = backend.serve(reply(), under)
        for _ in range(2):  # a refusal is not remembered as a pass
            assert_unauthenticated(enforcing.get(path, bearer(token)), token)
        assert not backend.seen(path)
    path = backend.serve(reply(), "/open")
    assert enforcing.get(path, bearer(token)).status == 200
    assert "x-user-id" not in backend.one(path).names


FIELDS: dict[str, list[str]] = {
    "two fields": [bearer(signed()), bearer(signed())],
    "two fields, one of another scheme": [bearer(signed()), "Authorization: Basic dTE6cHc="],
    "two in one field": [f"{bearer(signed())}, Bearer {signed()}"],
    "more behind it": [f"{bearer(signed())} more"],
    "another scheme": [f"Authorization: Token {signed()}"],
    "Basic": ["Authorization: Basic dTE6cHc="],
    "no scheme": [f"Authorization: {signed()}"],
    "no token": ["Authorization: Bearer"],
    "an empty field": ["Authorization:"],
    "a tab": [f"Authorization: Bearer\t{signed()}"],
    "quotes": [f'Authorization: Bearer "{signed()}"'],
    "a name with an underscore": [f"X_Authorization: Bearer {signed()}"],
    "the proxy's field": [f"Proxy-Authorization: Bearer {signed()}"],
    "a cookie": [f"Cookie: access_token={signed()}; Authorization=Bearer {signed()}"],
    "bytes beyond ASCII": ["Authorization: Bearer \xe9\xe9.\xe9.\xe9"],
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_tokens_are_read_from_one_well_formed_field_only(
    enforcing: Gateway, backend: Backend, fields: list[str]
) -> None:
    path = backend.serve(reply(), "/members")
    answer = enforcing.get(path, *fields)
    if answer.status != 400:  # two fields may also count as malformed
        assert_unauthenticated(answer)
    assert not backend.seen(path)


@pytest.mark.parametrize("query", ["access_token", "token", "Authorization"])
def test_tokens_in_the_query_are_not_read(enforcing: Gateway, backend: Backend, query: str) -> None:
    path = backend.serve(reply(), "/members")
    assert_unauthenticated(enforcing.get(f"{path}?{query}={signed()}"))
    assert not backend.seen(path)


def test_a_challenge_tells_a_missing_token_from_a_bad_one(enforcing: Gateway) -> None:
    """RFC 6750 section 3.1: without any credentials no error is told."""
    missing = enforcing.get("/members/x")
    assert_unauthenticated(missing)
    assert "error" not in (missing.value("www-authenticate") or "")
    bad = enforcing.get("/members/x", bearer(HOSTILE["long expired"]))
    assert 'error="invalid_token"' in (bad.value("www-authenticate") or "")


def test_optional_routes_take_guests_and_users(enforcing: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/guests")
    assert [enforcing.get(path, *fields).status for fields in ([], [as_user()])] == [200, 200]
    assert [seen.value("x-user-id") for seen in backend.seen(path)] == [None, "u1"]


ROLES = {
    "none": ([], 403),
    "another": (["user", "editor"], 403),
    "in capitals": (["ADMIN"], 403),
    "part of it": (["adm", "administrator"], 403),
    "the one": (["admin"], 200),
    "the second": (["user", "auditor"], 200),
}


@pytest.mark.parametrize(("roles", "status"), ROLES.values(), ids=ROLES)
def test_a_route_asks_for_one_of_its_roles(enforcing: Gateway, backend: Backend, roles: list[str], status: int) -> None:
    path = backend.serve(reply(), "/admins")
    answer = enforcing.get(path, as_user("u1", *roles))
    assert answer.status == status
    if status == 403:
        assert_refused(answer, "forbidden")
    assert len(backend.seen(path)) == (status == 200)


def test_an_upload_is_refused_before_it_is_sent(enforcing: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/members")
    fields = ("Content-Length: 900000", "Expect: 100-continue")
    answer = enforcing.ask(request("POST", path, *fields))
    assert_unauthenticated(answer)
    assert not answer.interim
    assert not backend.seen(path)


def test_a_remembered_token_still_expires(tmp_path: Path, config: Path, backend: Backend) -> None:
    path = backend.serve(reply(), "/members")
    with running(config, GATEWAY_AUTH_MODE="enforce", JWT_LEEWAY="0") as gateway:
        field = bearer(signed(claims(exp=time.time() + 1.2)))
        assert [gateway.get(path, field).status for _ in range(3)] == [200] * 3
        deadline = time.monotonic() + 5
        while gateway.get(path, field).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert_unauthenticated(gateway.get(path, field))


def test_configured_claims_are_checked(config: Path, backend: Backend) -> None:
    path = backend.serve(reply(), "/members")
    own = {"iss": "https://id.test", "aud": "gateway"}
    cases: list[tuple[dict[str, object], int]] = [
        ({**own}, 200),
        ({**own, "aud": ["other", "gateway"]}, 200),
        ({**own, "iss": "https://id.test/"}, 401),
        ({**own, "iss": None}, 401),
        ({**own, "iss": ["https://id.test"]}, 401),
        ({**own, "aud": "gateways"}, 401),
        ({**own, "aud": []}, 401),
        ({**own, "aud": None}, 401),
        ({**own, "uid": None}, 401),
    ]
    settings = {"JWT_ISSUER": own["iss"], "JWT_AUDIENCE": own["aud"], "JWT_USER_CLAIM": "uid", "JWT_ROLES_CLAIM": "can"}
    with running(config, GATEWAY_AUTH_MODE="enforce", **settings) as gateway:
        tokens = [raw(HEADER, claims(**{"uid": "u7", "can": ["read"], **changed})) for changed, _ in cases]
        assert [gateway.get(path, bearer(token)).status for token in tokens] == [status for _, status in cases]
    assert {(seen.value("x-user-id"), seen.value("x-user-roles")) for seen in backend.seen(path)} == {("u7", "read")}


def test_observing_refuses_nobody_and_counts(config: Path, backend: Backend) -> None:
    fields: list[list[str]] = [[], [bearer(HOSTILE["unsigned"])], [as_user("u2")], [bearer(signed()), bearer(signed())]]
    paths = [backend.serve(reply(), under) for under in ("/members", "/admins", "/own/u1")]
    with running(config, GATEWAY_AUTH_MODE="observe", GATEWAY_AUTH_FAIL_LIMIT="2/minute") as gateway:

        def asked() -> None:
            for path, told in itertools.product(paths, fields * 3):
                assert gateway.get(path, *told).status == 200

        assert grown(gateway, "gateway_auth_decisions_total", asked)
    for path in paths:
        assert {seen.value("x-user-id") for seen in backend.seen(path)} == {None, "u2"}


def test_switched_off_nothing_is_read_or_told(config: Path, backend: Backend) -> None:
    paths = [backend.serve(reply(), under) for under in ("/members", "/guests", "/admins", "/own/u1")]
    with running(config, GATEWAY_AUTH_MODE="off", GATEWAY_AUTH_FAIL_LIMIT="1/minute") as gateway:
        for path in paths:
            for fields in ([], [bearer(HOSTILE["unsigned"])], [as_user("u2", "admin")]):
                assert gateway.get(path, *fields, "X-User-Id: root").status == 200
    assert not [name for path in paths for seen in backend.seen(path) for name in seen.names if "x-user" in name]


@pytest.fixture(scope="module")
def strict(config: Path) -> Iterator[Gateway]:
    """Two workers and five failures a minute for each address, which a trusted proxy tells."""
    with running(
        config,
        GATEWAY_AUTH_MODE="enforce",
        GATEWAY_AUTH_FAIL_LIMIT="5/minute",
        GATEWAY_WORKERS="2",
        GATEWAY_TRUSTED_PROXIES="127.0.0.0/8",
    ) as gateway:
        yield gateway


def test_after_so_many_failures_an_address_is_not_even_verified(strict: Gateway, backend: Backend) -> None:
    path, guests, public = (backend.serve(reply(), under) for under in ("/members", "/guests", "/open"))
    client, bad = "X-Forwarded-For: 203.0.113.5", bearer(HOSTILE["another secret"])
    assert [strict.get(path, client, as_user()).status for _ in range(20)] == [200] * 20
    assert [strict.get(path, client).status for _ in range(20)] == [401] * 20
    assert [strict.send("OPTIONS", path, client, bad).status for _ in range(20)] == [405] * 20
    assert [strict.get(path, client, bad).status for _ in range(12)] == [401] * 5 + [429] * 7
    for refused in (strict.get(path, client, as_user()), strict.get(guests, client, as_user())):
        assert_refused(refused, "rate_limited")
        assert 1 <= int(refused.value("retry-after") or 0) <= 60
    assert strict.get(public, client, bad).status == 200
    assert strict.get(path, "X-Forwarded-For: 203.0.113.6", as_user()).status == 200


def test_failures_count_wherever_and_however_they_come(strict: Gateway) -> None:
    """Over both workers, every route, every class of failure and fresh connections."""
    client = "X-Forwarded-For: 203.0.113.7"
    tokens = list(HOSTILE.values())
    paths = ("/members/x", "/guests/x", "/admins/x", "/own/u1/x")
    statuses = [strict.get(paths[n % 4], client, bearer(tokens[n])).status for n in range(12)]
    assert statuses == [401] * 5 + [429] * 7


def test_failures_at_once_are_few_more_at_most(strict: Gateway) -> None:
    statuses: list[int] = []
    raw_request = request("GET", "/members/x", "X-Forwarded-For: 203.0.113.8", bearer(HOSTILE["another secret"]))
    threads = [threading.Thread(target=lambda: statuses.append(strict.ask(raw_request).status)) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 5 <= statuses.count(401) <= 7
    assert statuses.count(429) == 60 - statuses.count(401)


def test_decisions_are_on_the_admin_listener(enforcing: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/members")
    name = "gateway_auth_decisions_total"
    passed = grown(enforcing, name, lambda: enforcing.get(path, as_user()))
    refused = grown(enforcing, name, lambda: enforcing.get(path, bearer(HOSTILE["long expired"])))
    assert (sum(passed.values()), sum(refused.values())) == (1, 1)
    assert not set(passed) & set(refused)
    assert all(len(labels) == 2 for labels in samples(enforcing, name))
