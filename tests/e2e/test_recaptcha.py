"""reCAPTCHA against a real verifier: who passes, what the upstream gets, and what a broken verifier comes to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from .harness import Backend, Gateway, Peer, chunked, elapsed, eventually, reply, request, running, write_table
from .harness.answers import silence
from .harness.guards import assert_refused, grown

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
[[route]]
path = "/human/{rest:path}"
recaptcha = true
[[route]]
path = "/action/{rest:path}"
recaptcha = "login"
[[route]]
path = "/open/{rest:path}"
"""
KEY = "e2e-recaptcha-" + "s" * 26
TOKEN = "03AGdBq2-a_token.of-the_widget"
TIMEOUT = 0.6
LATE = 1.5
"""Seconds by which an answer may come late on a busy machine."""
URLENCODED = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=edge"
LIMIT = 64 << 10
FORM = b"email=a%40b.test&recaptcha_token=" + TOKEN.encode()


@pytest.fixture(scope="module")
def verifier() -> Iterator[Backend]:
    """The verifier, at `/siteverify`."""
    with Backend() as running_verifier:
        yield running_verifier


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, backend: Backend, verifier: Backend) -> Iterator[Gateway]:
    """A gateway with a key, hostnames and little patience, laid over the packaged table."""
    upstreams = f'extends = "packaged"\n[main]\nurl = "{backend.url}"\n'
    with running(
        write_table(tmp_path_factory.mktemp("recaptcha") / "config", upstreams, ROUTES),
        RECAPTCHA_SECRET_KEY=KEY,
        RECAPTCHA_VERIFY_URL=f"{verifier.url}/siteverify",
        RECAPTCHA_HOSTNAMES="app.test, www.app.test",
        RECAPTCHA_TIMEOUT=str(TIMEOUT),
        AUTH_SERVICE_URL=backend.url,
        GATEWAY_TRUSTED_PROXIES="127.0.0.0/8",
    ) as gateway:
        assert "RECAPTCHA" not in gateway.output, "a key that is there is nothing to warn of"
        yield gateway
        written = gateway.output
    assert not [secret for secret in (KEY, TOKEN, "a%40b.test", "a@b.test") if secret in written]


@pytest.fixture
def gateway(program: Gateway, verifier: Backend) -> Gateway:
    """The gateway, and a verifier that is content again."""
    says(verifier, good())
    return program


def good(**more: Any) -> dict[str, Any]:
    """A verdict of success."""
    return {"success": True, "challenge_ts": "2026-11-24T03:00:00Z", "hostname": "app.test", **more}


def says(verifier: Backend, verdict: object, status: int = 200, *fields: str) -> int:
    """Let the verifier answer so from now on; how often it was asked before."""
    body = verdict if isinstance(verdict, bytes) else json.dumps(verdict).encode()
    verifier.serve(reply(status, body, *fields), at="/siteverify")
    return len(verifier.seen("/siteverify"))


def field(name: str, value: bytes) -> bytes:
    """A part that is a field."""
    return b'--edge\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"


END = b"--edge--\r\n"
PART = field("recaptcha_token", TOKEN.encode())


def test_the_verifier_is_asked_as_documented(gateway: Gateway, verifier: Backend, backend: Backend) -> None:
    path, before = backend.serve(reply(200, b"in"), "/human"), says(verifier, good())
    answer = gateway.send("POST", path, URLENCODED, "X-Forwarded-For: 6.6.6.6, 203.0.113.77", body=FORM)
    assert (answer.status, answer.data) == (200, b"in")
    (asked,) = verifier.seen("/siteverify")[before:]
    assert (asked.method, asked.target) == ("POST", "/siteverify")
    assert (asked.value("content-type") or "").startswith("application/x-www-form-urlencoded")
    form = {"secret": [KEY], "response": [TOKEN], "remoteip": ["203.0.113.77"]}
    assert parse_qs(asked.body.data.decode(), strict_parsing=True) == form
    assert not {"cookie", "authorization", "x-forwarded-for"} & asked.names


T = TOKEN.encode()
FORMS: dict[str, tuple[str, bytes, bytes]] = {
    "first": (URLENCODED, b"recaptcha_token=" + T + b"&a=1&b=2", b"a=1&b=2"),
    "between": (URLENCODED, b"a=1&recaptcha_token=" + T + b"&b=2", b"a=1&b=2"),
    "last": (URLENCODED, b"a=1&b=2&recaptcha_token=" + T, b"a=1&b=2"),
    "alone": (URLENCODED, b"recaptcha_token=" + T, b""),
    "beside odd pairs": (
        URLENCODED,
        b"a=%7e+x&b=%C3%A9\xe9&A=1&a=%7E&recaptcha_token=" + T + b"&c&d=&=e",
        b"a=%7e+x&b=%C3%A9\xe9&A=1&a=%7E&c&d=&=e",
    ),
    "in another's value": (
        URLENCODED,
        b"a=recaptcha_token%3Dx&xrecaptcha_token=1&recaptcha_token=" + T,
        b"a=recaptcha_token%3Dx&xrecaptcha_token=1",
    ),
    "with a charset": (f"{URLENCODED}; charset=UTF-8", b"a=1&recaptcha_token=" + T, b"a=1"),
    "multipart, first": (MULTIPART, PART + field("a", b"1") + END, field("a", b"1") + END),
    "multipart, between": (
        MULTIPART,
        field("a", b"\r\n\x00\xff--edg") + PART + field("b", b"") + END,
        field("a", b"\r\n\x00\xff--edg") + field("b", b"") + END,
    ),
    "multipart, last": (MULTIPART, field("a", b"1") + PART + END, field("a", b"1") + END),
    "multipart, with a file": (
        MULTIPART,
        field("a", b"1").replace(b'"a"', b'"a"; filename="f"\r\nContent-Type: image/png') + PART + END,
        field("a", b"1").replace(b'"a"', b'"a"; filename="f"\r\nContent-Type: image/png') + END,
    ),
}


@pytest.mark.parametrize("coding", ["length", "chunks"])
@pytest.mark.parametrize(("kind", "body", "rest"), FORMS.values(), ids=FORMS)
def test_the_token_is_taken_out_and_all_else_stays(
    gateway: Gateway, backend: Backend, kind: str, body: bytes, rest: bytes, coding: str
) -> None:
    path = backend.serve(reply(), "/human")
    if coding == "length":
        raw = request("POST", f"{path}?q=%7e", kind, body=body)
    else:
        head = request("POST", f"{path}?q=%7e", kind, "Transfer-Encoding: chunked")
        raw = head + chunked(*(body[at : at + 5] for at in range(0, len(body), 5)))
    with gateway.client() as client:
        assert client.ask(raw).status == 200
        assert client.ask(request("GET", backend.serve(reply(), "/open"))).status == 200
    seen = backend.one(path)
    assert (seen.body.data, seen.target) == (rest, f"{path}?q=%7e")
    assert seen.values("content-type") == [kind.partition(": ")[2]]


def test_the_packaged_logins_are_checked_and_login1_goes_to_login(
    gateway: Gateway, verifier: Backend, backend: Backend
) -> None:
    for path, target in (("/v2/login1", "/v2/login"), ("/v2/verify-login-otp", "/v2/verify-login-otp")):
        before = len(backend.seen(target))
        assert gateway.send("POST", path, URLENCODED, body=FORM).status == 200
        (seen,) = backend.seen(target)[before:]
        assert (seen.target, seen.body.data) == (target, b"email=a%40b.test")
        says(verifier, {"success": False, "error-codes": ["invalid-input-response"]})
        assert_refused(gateway.send("POST", path, URLENCODED, body=FORM), "recaptcha_failed")
        assert len(backend.seen(target)) == before + 1
        says(verifier, good())
    assert not backend.seen("/v2/login1")


FAILED, ILL = ("recaptcha_failed",), ("recaptcha_failed", "recaptcha_unavailable")
UNUSABLE = ("recaptcha_unconfigured", "recaptcha_unavailable")
VERDICTS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "v2": ("/human", good(), ()),
    "another of the hostnames": ("/human", good(hostname="www.app.test"), ()),
    "v3 without an action asked for": ("/human", good(score=0.9, action="anything"), ()),
    "the least score": ("/human", good(score=0.5), ()),
    "a whole score": ("/human", good(score=1), ()),
    "v3 and its action": ("/action", good(score=0.7, action="login"), ()),
    "failed": ("/human", {"success": False}, FAILED),
    "failed, and why": ("/human", {"success": False, "error-codes": ["timeout-or-duplicate"]}, FAILED),
    "failed with all else good": ("/action", good(success=False, score=0.9, action="login"), FAILED),
    "a score too low": ("/human", good(score=0.49), FAILED),
    "a score of nothing": ("/human", good(score=0), FAILED),
    "a score below all": ("/human", good(score=-1), FAILED),
    "another action": ("/action", good(score=0.9, action="signup"), FAILED),
    "another action's case": ("/action", good(score=0.9, action="Login"), FAILED),
    "no action": ("/action", good(score=0.9), FAILED),
    "v2 where v3 is asked for": ("/action", good(), FAILED),
    "its action and a score too low": ("/action", good(score=0.1, action="login"), FAILED),
    "another hostname": ("/human", good(hostname="evil.test"), FAILED),
    "a longer hostname": ("/human", good(hostname="app.test.evil.test"), FAILED),
    "a subdomain": ("/human", good(hostname="x.app.test"), FAILED),
    "no hostname": ("/human", {"success": True}, FAILED),
    "an empty hostname": ("/human", good(hostname=""), FAILED),
    "hostnames": ("/human", good(hostname=["app.test"]), ILL),
    "a hostname of null": ("/human", good(hostname=None), ILL),
    "success as text": ("/human", good(success="true"), ILL),
    "success as a number": ("/human", good(success=1), ILL),
    "success as a list": ("/human", good(success=[True]), ILL),
    "success as null": ("/human", good(success=None), ILL),
    "no success": ("/human", {"hostname": "app.test", "score": 0.9}, ILL),
    "a score as text": ("/human", good(score="0.9"), ILL),
    "a score of true": ("/human", good(score=True), ILL),
    "a score in a list": ("/human", good(score=[0.9]), ILL),
    "a score of no number": ("/human", good(score=float("nan")), ILL),
    "a score without end": ("/human", good(score=float("inf")), ILL),
    "actions": ("/action", good(score=0.9, action=["login"]), ILL),
    "error codes as text": ("/human", {"success": False, "error-codes": "invalid"}, ILL),
    "error codes as a number": ("/human", {"success": False, "error-codes": 5}, ILL),
    "error codes of all kinds": ("/human", {"success": False, "error-codes": [1, None, {"a": []}, ["b"]]}, ILL),
    "our key is wrong": ("/human", {"success": False, "error-codes": ["invalid-input-secret"]}, UNUSABLE),
    "our key is missing": ("/human", {"success": False, "error-codes": ["missing-input-secret"]}, UNUSABLE),
    "our key is wrong too": ("/human", {"success": False, "error-codes": ["a", "invalid-input-secret"]}, UNUSABLE),
}


@pytest.mark.parametrize(("under", "verdict", "codes"), VERDICTS.values(), ids=VERDICTS)
def test_a_verdict_decides(
    gateway: Gateway, verifier: Backend, backend: Backend, under: str, verdict: dict[str, Any], codes: tuple[str, ...]
) -> None:
    path, before = backend.serve(reply(), under), says(verifier, verdict)
    answer = gateway.send("POST", path, URLENCODED, body=FORM)
    assert len(verifier.seen("/siteverify")) == before + 1
    if not codes:
        assert answer.status == 200
        assert backend.one(path).body.data == b"email=a%40b.test"
        return
    assert answer.status in (400, 503)
    document = assert_refused(answer, answer.json()["code"])
    assert document["code"] in codes
    if document["code"] == "recaptcha_failed":
        assert document["detail"] == "Invalid reCAPTCHA"
    assert not backend.seen(path)


def drip(peer: Peer) -> None:
    """A verdict that comes letter by letter and never ends."""
    peer.read_body()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.send(b"1\r\n \r\n")
        time.sleep(0.05)


def endless(peer: Peer) -> None:
    """A verdict that is larger than any."""
    peer.read_body()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        peer.send(b" " * (1 << 16))


SUCCESS = json.dumps(good()).encode()


def cut_off(peer: Peer) -> None:
    """A verdict that is shorter than was told."""
    peer.read_body()
    peer.send(reply(200, SUCCESS)[:-9])
    peer.close()


BROKEN: dict[str, Callable[[Peer], None] | bytes] = {
    "500": reply(500, SUCCESS),
    "404": reply(404, SUCCESS),
    "503": reply(503, SUCCESS, "Retry-After: 1"),
    "a page": reply(200, b"<!doctype html><title>Sign in</title>", kind="text/html"),
    "nothing": reply(200, b""),
    "half a verdict": reply(200, SUCCESS[:-5]),
    "two verdicts": reply(200, SUCCESS + SUCCESS),
    "a list": reply(200, b"[" + SUCCESS + b"]"),
    "true": reply(200, b"true"),
    "null": reply(200, b"null"),
    "text": reply(200, json.dumps(SUCCESS.decode()).encode()),
    "bytes that are no UTF-8": reply(200, SUCCESS.replace(b"app", b"\xff")),
    "nested deeply": reply(200, b"[" * 50_000),
    "five MiB": reply(200, SUCCESS[:-1] + b',"x":"' + b"x" * (5 << 20) + b'"}'),
    "compressed garbage": reply(200, SUCCESS, "Content-Encoding: gzip"),
    "no HTTP": b"220 mail.test ESMTP\r\n",
    "a close": Peer.close,
    "a reset": Peer.reset,
    "a body cut off": cut_off,
    "silence": silence,
    "a drip": drip,
    "an endless one": endless,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_verifier_is_503_in_time_and_lets_nobody_pass(
    gateway: Gateway, verifier: Backend, backend: Backend, broken: Callable[[Peer], None] | bytes
) -> None:
    verifier.serve(broken, at="/siteverify")
    path = backend.serve(reply(), "/human")
    with elapsed() as taken:
        answer = gateway.send("POST", path, URLENCODED, body=FORM)
    assert taken.seconds < TIMEOUT + LATE
    document = assert_refused(answer, "recaptcha_unavailable")
    assert document["retryable"] and answer.value("retry-after")
    assert TOKEN.encode() not in answer.data
    assert not backend.seen(path)
    says(verifier, good())
    assert gateway.send("POST", path, URLENCODED, body=FORM).status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_verifier_is_not_followed(
    gateway: Gateway, verifier: Backend, backend: Backend, status: int
) -> None:
    verifier.serve(reply(200, SUCCESS), at="/elsewhere")
    says(verifier, b"", status, f"Location: {verifier.url}/elsewhere")
    path = backend.serve(reply(), "/human")
    assert_refused(gateway.send("POST", path, URLENCODED, body=FORM), "recaptcha_unavailable")
    assert not verifier.seen("/elsewhere")
    assert not backend.seen(path)


def test_a_slow_verifier_holds_nobody_else_up(gateway: Gateway, verifier: Backend, backend: Backend) -> None:
    verifier.serve(silence, at="/siteverify")
    path, clients = backend.serve(reply(), "/human"), [gateway.client() for _ in range(30)]
    with elapsed() as taken:
        for client in clients:
            client.send(request("POST", path, URLENCODED, body=FORM))
        assert gateway.get(backend.serve(reply(), "/open")).status == 200
        assert any(client.silent(0) for client in clients)
        for client in clients:
            assert_refused(client.read(), "recaptcha_unavailable")
            client.leave()
    assert taken.seconds < TIMEOUT + LATE
    assert not backend.seen(path)


def test_a_client_that_leaves_during_the_check_reaches_nobody(
    gateway: Gateway, verifier: Backend, backend: Backend
) -> None:
    go_on = threading.Event()

    def slowly(peer: Peer) -> None:
        peer.read_body()
        peer.wait(go_on)
        peer.send(reply(200, SUCCESS))

    verifier.serve(slowly, at="/siteverify")
    path, before = backend.serve(reply(), "/human"), len(verifier.seen("/siteverify"))
    with gateway.client() as client:
        client.send(request("POST", path, URLENCODED, body=FORM))
        eventually(lambda: len(verifier.seen("/siteverify")) > before, "the verifier is asked")
        client.reset()
    go_on.set()
    says(verifier, good())
    assert gateway.send("POST", backend.serve(reply(), "/human"), URLENCODED, body=FORM).status == 200
    assert not backend.seen(path)


TOKENLESS: dict[str, tuple[list[str], bytes | None]] = {
    "no token": ([URLENCODED], b"email=a"),
    "an empty token": ([URLENCODED], b"email=a&recaptcha_token="),
    "no value": ([URLENCODED], b"recaptcha_token"),
    "two tokens": ([URLENCODED], b"recaptcha_token=x&recaptcha_token=" + T),
    "two tokens, one encoded": ([URLENCODED], b"recaptcha_token=x&recaptcha%5ftoken=" + T),
    "another case": ([URLENCODED], b"Recaptcha_Token=" + T),
    "an empty form": ([URLENCODED], b""),
    "no body": ([URLENCODED], None),
    "multipart, no token": ([MULTIPART], field("a", b"1") + END),
    "multipart, an empty token": ([MULTIPART], field("recaptcha_token", b"") + END),
    "multipart, two tokens": ([MULTIPART], PART + PART + END),
    "multipart, the token as a file": ([MULTIPART], PART.replace(b'n"', b'n"; filename="t"', 1) + END),
    "multipart, no end": ([MULTIPART], field("a", b"1") + PART),
    "multipart, another boundary": ([MULTIPART], (PART + END).replace(b"--edge", b"--ridge")),
}


@pytest.mark.parametrize(("fields", "body"), TOKENLESS.values(), ids=TOKENLESS)
def test_without_one_token_the_verifier_is_not_even_asked(
    gateway: Gateway, verifier: Backend, backend: Backend, fields: list[str], body: bytes | None
) -> None:
    path, before = backend.serve(reply(), "/human"), says(verifier, good())
    answer = gateway.send("POST", f"{path}?recaptcha_token={TOKEN}", *fields, body=body)
    assert answer.status in (400, 415)
    assert_refused(answer, answer.json()["code"])
    assert len(verifier.seen("/siteverify")) == before
    assert not backend.seen(path)


KINDS: dict[str, list[str]] = {
    "JSON": ["Content-Type: application/json"],
    "text": ["Content-Type: text/plain"],
    "none": [],
    "compressed": [URLENCODED, "Content-Encoding: gzip"],
    "another multipart": ["Content-Type: multipart/mixed; boundary=edge"],
}


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_other_kinds_of_bodies_are_415(
    gateway: Gateway, verifier: Backend, backend: Backend, fields: list[str]
) -> None:
    path, before = backend.serve(reply(), "/human"), says(verifier, good())
    assert_refused(gateway.send("POST", path, *fields, body=FORM), "unsupported_form")
    assert len(verifier.seen("/siteverify")) == before
    assert not backend.seen(path)


@pytest.mark.parametrize("coding", ["length", "announced", "chunks"])
def test_a_form_over_64_kib_is_413(gateway: Gateway, verifier: Backend, backend: Backend, coding: str) -> None:
    path, before = backend.serve(reply(), "/human"), says(verifier, good())
    body = FORM + b"&x=" + b"x" * (LIMIT + 1 - len(FORM) - 3)
    raw = {
        "length": request("POST", path, URLENCODED, body=body),
        "announced": request("POST", path, URLENCODED, f"Content-Length: {LIMIT + 1}"),
        "chunks": request("POST", path, URLENCODED, "Transfer-Encoding: chunked") + chunked(body[:9000], body[9000:]),
    }[coding]
    assert_refused(gateway.ask(raw), "body_too_large")
    assert len(verifier.seen("/siteverify")) == before
    assert not backend.seen(path)


def test_a_form_of_just_64_kib_passes(gateway: Gateway, backend: Backend) -> None:
    path, body = backend.serve(reply(), "/human"), FORM + b"&x=" + b"x" * (LIMIT - len(FORM) - 3)
    assert gateway.send("POST", path, URLENCODED, body=body).status == 200
    assert backend.one(path).body.count == LIMIT - len(FORM) + len(b"email=a%40b.test")


def test_outcomes_are_on_the_admin_listener(gateway: Gateway, verifier: Backend, backend: Backend) -> None:
    path, name = backend.serve(reply(), "/human"), "gateway_recaptcha_total"
    found = []
    for verdict in (good(), {"success": False}, b"<html>", {"success": False, "error-codes": ["invalid-input-secret"]}):
        says(verifier, verdict)
        ((outcome, count),) = grown(gateway, name, lambda: gateway.send("POST", path, URLENCODED, body=FORM)).items()
        assert count == 1
        found.append(outcome)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("key", ["", "your_secret_key"])
def test_without_a_key_start_up_warns_and_nobody_passes(
    tmp_path_factory: pytest.TempPathFactory, backend: Backend, verifier: Backend, key: str
) -> None:
    config = write_table(tmp_path_factory.mktemp("keyless") / "c", f'main = {{ url = "{backend.url}" }}', ROUTES)
    settings = {"RECAPTCHA_SECRET_KEY": key, "RECAPTCHA_VERIFY_URL": f"{verifier.url}/siteverify"}
    before, path = says(verifier, good()), backend.serve(reply(), "/human")
    with running(config, **settings) as gateway:
        warned = [line for line in gateway.output.splitlines() if "RECAPTCHA_SECRET_KEY" in line]
        assert len(warned) == 1 and "warning" in warned[0]
        answer = gateway.send("POST", path, URLENCODED, body=FORM)
        assert not assert_refused(answer, "recaptcha_unconfigured")["retryable"]
        assert gateway.send("POST", path, URLENCODED, body=b"").status == 503
        assert gateway.get(backend.serve(reply(), "/open")).status == 200
    assert len(verifier.seen("/siteverify")) == before
    assert not backend.seen(path)
