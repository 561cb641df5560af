"""Who may read what from another origin: every kind of answer, every trick with an Origin, and preflights.

Every route stands here twice: below `/a` for allow-listed origins, below `/p` for all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from .harness import (
    PATIENT,
    Backend,
    Gateway,
    Peer,
    Response,
    assert_problem,
    chunked,
    reply,
    request,
    run_to_exit,
    running,
)
from .harness import write_table as write
from .harness.answers import silence
from .harness.guards import assert_refused
from .harness.tokens import as_user

ALLOWED = ("https://dash.test", "https://dash.test:8443", "http://localhost:3000")
DASH, STRANGER = ALLOWED[0], "https://customer.test"
EXPOSED = ["X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy", "Server-Timing"]
LISTS = {"/a": "allowlist", "/p": "public"}

ROUTE = """
[[route]]
path = "{under}/{path}"
cors = "{cors}"
"""
ROUTES: dict[str, str] = {
    "b/{rest:path}": "",
    "reads": 'methods = ["GET"]',
    "tiny": 'max_body = "1 KiB"',
    "members": 'auth = "required"',
    "admins": 'auth = "required"\nroles = ["admin"]',
    "own": 'auth = "required"\nowner = "form:user_id"',
    "limited": 'rate_limit = "1/minute"',
    "human": "recaptcha = true",
    "gone": 'upstream = "gone"',
}

OF_UPSTREAMS = (
    "Access-Control-Allow-Origin: *",
    "access-control-allow-credentials: true",
    "ACCESS-CONTROL-EXPOSE-HEADERS: X-Inner",
    "Access-Control-Allow-Methods: TRACE",
    "Access-Control-Allow-Private-Network: true",
    "Access-Control-Max-Age: 5",
    "Vary: Accept-Encoding",
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, backend: Backend, closed_port: int) -> Iterator[Gateway]:
    """A gateway with every guard on; the limits of `/a/limited` and `/p/limited` are used up."""
    routes = 'auth = "public"\nrate_limit = "off"\nupstream = "main"\n'
    for under, cors in LISTS.items():
        for path, keys in ROUTES.items():
            routes += ROUTE.replace("{path}", path).replace("{under}", under).replace("{cors}", cors) + keys + "\n"
    upstreams = (
        f'main = {{ url = "{backend.url}", {PATIENT} }}\ngone = {{ url = "http://127.0.0.1:{closed_port}", {PATIENT} }}'
    )
    config = write(tmp_path_factory.mktemp("cors") / "config", upstreams, routes)
    for under in LISTS:
        for status in (200, 204, 304, 307, 400, 404, 500):
            body = b"" if status in (204, 304) else b'{"detail":"said"}'
            backend.serve(reply(status, body, *OF_UPSTREAMS), at=f"{under}/b/{status}")
        backend.serve(reply(200, b"", *OF_UPSTREAMS), at=f"{under}/b/head")
        backend.serve(b"nothing of HTTP\r\n\r\n", at=f"{under}/b/broken")
        backend.serve(silence, at=f"{under}/b/silent")
        backend.serve(stream, at=f"{under}/b/stream")
        for path in ("reads", "tiny", "members", "admins", "own", "limited", "human"):
            backend.serve(reply(200, b"ok", *OF_UPSTREAMS), at=f"{under}/{path}")
    with running(
        config,
        ALLOWED_ORIGINS=", ".join(ALLOWED),
        GATEWAY_AUTH_MODE="enforce",
        GATEWAY_RATE_LIMIT="600/minute",
        GATEWAY_TIMEOUT_SHORT="0.4",
    ) as gateway:
        for under in LISTS:
            assert gateway.get(f"{under}/limited").status == 200
        yield gateway


def stream(peer: Peer) -> None:
    """An event stream of one event."""
    fields = "\r\n".join(("HTTP/1.1 200 OK", "Content-Type: text/event-stream", *OF_UPSTREAMS))
    peer.send(f"{fields}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunked(b"data: 1\n\n"))


def access(answer: Response) -> dict[str, str]:
    """The answer's Access-Control fields; none may be repeated."""
    found = [pair for pair in answer.head.fields if pair[0].startswith("access-control-")]
    assert len(dict(found)) == len(found), found
    return dict(found)


def listed(answer: Response, name: str) -> list[str]:
    """A field's items."""
    return [item.strip() for value in answer.values(name) for item in value.split(",")]


def assert_due(answer: Response, origin: str | None, cors: str) -> None:
    """Assert that an answer (no preflight's) carries just the fields that its origin is due."""
    assert "origin" in [item.lower() for item in listed(answer, "vary")], answer.values("vary")
    found = access(answer)
    if origin in ALLOWED:
        assert found.pop("access-control-allow-origin") == origin
        assert found.pop("access-control-allow-credentials") == "true"
    elif cors == "public" and origin is not None:
        assert found.pop("access-control-allow-origin") == "*"
    elif "access-control-allow-origin" not in found:
        assert found == {}
        return
    else:  # without an Origin nobody is told apart
        assert cors == "public" and found.pop("access-control-allow-origin") == "*"
    assert listed(answer, "access-control-expose-headers") == EXPOSED
    assert set(found) == {"access-control-expose-headers"}


FORM = "Content-Type: application/x-www-form-urlencoded"
ANSWERS: dict[str, tuple[int, bytes, str]] = {
    "200 of the upstream": (200, request("GET", "@/b/200"), ""),
    "200 to HEAD": (200, request("HEAD", "@/b/head"), ""),
    "an event stream": (200, request("GET", "@/b/stream"), ""),
    "200 to a user": (200, request("GET", "@/members", as_user()), ""),
    "204 of the upstream": (204, request("DELETE", "@/b/204"), ""),
    "304 of the upstream": (304, request("GET", "@/b/304", 'If-None-Match: "a"'), ""),
    "307 of the upstream": (307, request("GET", "@/b/307"), ""),
    "400 of the upstream": (400, request("GET", "@/b/400"), ""),
    "404 of the upstream": (404, request("GET", "@/b/404"), ""),
    "500 of the upstream": (500, request("GET", "@/b/500"), "upstream_error"),
    "401 without a token": (401, request("GET", "@/members"), "unauthenticated"),
    "401 for a bad token": (401, request("GET", "@/members", "Authorization: Bearer a.b.c"), "unauthenticated"),
    "403 for want of a role": (403, request("GET", "@/admins", as_user()), "forbidden"),
    "403 for another's": (403, request("POST", "@/own", FORM, as_user(), body=b"user_id=u2"), "forbidden"),
    "405": (405, request("POST", "@/reads", body=b""), "method_not_allowed"),
    "413": (413, request("POST", "@/tiny", body=bytes(1025)), "body_too_large"),
    "413 for chunks": (
        413,
        request("POST", "@/tiny", "Transfer-Encoding: chunked") + chunked(bytes(1025)),
        "body_too_large",
    ),
    "415": (415, request("POST", "@/own", "Content-Type: text/plain", as_user(), body=b"a"), "unsupported_form"),
    "417": (417, request("POST", "@/b/200", "Expect: wonders", body=b""), "expectation_failed"),
    "429": (429, request("GET", "@/limited"), "rate_limited"),
    "502": (502, request("GET", "@/b/broken"), "upstream_bad_response"),
    "503 of a dead upstream": (503, request("GET", "@/gone"), "upstream_unreachable"),
    "503 for want of a key": (503, request("POST", "@/human", FORM, body=b"a=b"), "recaptcha_unconfigured"),
    "504": (504, request("GET", "@/b/silent"), "upstream_timeout"),
}


def ask_from(gateway: Gateway, raw: bytes, under: str, origins: tuple[str | None, ...]) -> Iterator[Response]:
    """The same request from several origins at once; `@` in its target becomes `under`."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.client()) for _ in origins]
        for client, origin in zip(clients, origins, strict=True):
            field = b"" if origin is None else f"\r\nOrigin: {origin}".encode("latin1")
            line, rest = raw.replace(b"@", under.encode(), 1).split(b"\r\n", 1)
            client.send(line + field + b"\r\n" + rest)
        yield from [client.read() for client in clients]


@pytest.mark.parametrize("under", LISTS)
@pytest.mark.parametrize(("status", "raw", "code"), ANSWERS.values(), ids=ANSWERS)
def test_every_kind_of_answer_carries_what_its_origin_is_due(
    guarded: Gateway, status: int, raw: bytes, code: str, under: str
) -> None:
    origins = (*ALLOWED, STRANGER, None)
    for origin, answer in zip(origins, ask_from(guarded, raw, under, origins), strict=True):
        assert answer.status == status
        assert_due(answer, origin, LISTS[under])
        if code and code != "upstream_error":
            assert_refused(answer, code)


UNROUTED = {
    "404": (request("GET", "/nothing/here"), "route_not_found"),
    "404 near a public route": (request("GET", "/p/nothing"), "route_not_found"),
    "400": (request("GET", "/a/b/%2e%2e/members"), "bad_request"),
    "405 for OPTIONS in another form": (request("OPTIONS", "/a/b/200"), "method_not_allowed"),
}


@pytest.mark.parametrize(("raw", "code"), UNROUTED.values(), ids=UNROUTED)
def test_answers_without_a_route_go_by_the_allow_list(guarded: Gateway, raw: bytes, code: str) -> None:
    origins = (*ALLOWED, STRANGER, None)
    for origin, answer in zip(origins, ask_from(guarded, raw, "", origins), strict=True):
        assert_problem(answer, code)
        assert_due(answer, origin, "allowlist")


LOOK_ALIKES = {
    "null": "null",
    "empty": "",
    "a star": "*",
    "a longer name": "https://dash.test.evil.test",
    "a longer last label": "https://dash.testing",
    "a shorter name": "https://dash.tes",
    "a prefix": "https://evildash.test",
    "a prefix with a hyphen": "https://evil-dash.test",
    "a subdomain": "https://www.dash.test",
    "another scheme": "http://dash.test",
    "https for http": "https://localhost:3000",
    "no scheme": "dash.test",
    "only slashes": "//dash.test",
    "one slash": "https:/dash.test",
    "its port spelled out": "https://dash.test:443",
    "another port": "https://dash.test:8080",
    "a longer port": "https://dash.test:84430",
    "a port with a zero": "https://dash.test:08443",
    "an empty port": "https://dash.test:",
    "no port": "http://localhost",
    "an address for its name": "http://127.0.0.1:3000",
    "upper case": "HTTPS://DASH.TEST",
    "one capital": "https://Dash.test",
    "a trailing slash": "https://dash.test/",
    "a trailing dot": "https://dash.test.",
    "userinfo": "https://user@dash.test",
    "userinfo that looks like it": "https://dash.test@evil.test",
    "a path that looks like it": "https://evil.test/https://dash.test",
    "a fragment": "https://evil.test#https://dash.test",
    "a backslash": "https://evil.test\\.dash.test",
    "an escaped dot": "https://dash%2Etest",
    "a letter that looks like it": "https://d\xe0sh.test",
    "a NEL behind it": "https://dash.test\x85",
    "a tab within": "https://dash\t.test",
    "two with a space": "https://dash.test https://evil.test",
    "two with a comma": "https://dash.test, https://evil.test",
    "two with a comma, ours last": "https://evil.test,https://dash.test",
    "quotes": '"https://dash.test"',
    "a very long one": "https://" + "a." * 2000 + "dash.test",
}


@pytest.mark.parametrize("origin", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_no_other_origin_passes_for_an_allow_listed_one(guarded: Gateway, origin: str) -> None:
    with guarded.client() as client:
        for under in LISTS:
            answer = client.ask(request("GET", f"{under}/b/200", f"Origin: {origin}"))
            assert answer.status == 200
            assert_no_more_than_public(answer, under)
            assert_no_more_than_public(client.ask(asking(f"{under}/b/200", origin)), under)


def assert_no_more_than_public(answer: Response, under: str) -> None:
    """Assert that an answer is readable for nobody, or, on a public route, for all without credentials."""
    assert answer.status < 500
    assert "origin" in [item.lower() for item in listed(answer, "vary")]
    found = access(answer)
    assert "access-control-allow-credentials" not in found
    assert found.get("access-control-allow-origin") in ((None,) if under == "/a" else (None, "*"))
    if under == "/a":
        assert found == {}


SEVERAL = {"ours first": (DASH, STRANGER), "ours last": (STRANGER, DASH), "twice ours": (DASH, DASH)}


@pytest.mark.parametrize("origins", SEVERAL.values(), ids=SEVERAL)
@pytest.mark.parametrize("under", LISTS)
def test_several_origins_are_nobody(guarded: Gateway, under: str, origins: tuple[str, str]) -> None:
    fields = [f"Origin: {origin}" for origin in origins]
    for raw in (
        request("GET", f"{under}/b/200", *fields),
        request("OPTIONS", f"{under}/b/200", *fields, "Access-Control-Request-Method: GET"),
    ):
        assert_no_more_than_public(guarded.ask(raw), under)


def asking(path: str, origin: str, method: str = "GET", *fields: str) -> bytes:
    """A preflight."""
    return request("OPTIONS", path, f"Origin: {origin}", f"Access-Control-Request-Method: {method}", *fields)


def assert_granted(answer: Response, origin: str, method: str, *names: str) -> None:
    """Assert that a preflight lets a script of this origin send that method and those fields."""
    assert answer.status in (200, 204)
    assert "origin" in [item.lower() for item in listed(answer, "vary")]
    found = access(answer)
    credentials = found.get("access-control-allow-credentials")
    shown = (found["access-control-allow-origin"], credentials)
    assert shown == ((origin, "true") if origin in ALLOWED else ("*", None))
    assert method in listed(answer, "access-control-allow-methods")
    assert set(names) <= {name.lower() for name in listed(answer, "access-control-allow-headers")}
    assert int(found["access-control-max-age"]) > 0


PREFLIGHTS = {
    "GET": ("b/200", "GET"),
    "POST": ("b/200", "POST"),
    "PUT": ("b/200", "PUT"),
    "PATCH": ("b/200", "PATCH"),
    "DELETE": ("b/200", "DELETE"),
    "HEAD": ("reads", "HEAD"),
    "where a token is wanted": ("members", "GET"),
    "where a role is wanted": ("admins", "POST"),
    "where an owner is wanted": ("own", "POST"),
    "where the limit is used up": ("limited", "GET"),
    "where reCAPTCHA is wanted": ("human", "POST"),
    "where the upstream is dead": ("gone", "GET"),
}


@pytest.mark.parametrize("under", LISTS)
@pytest.mark.parametrize(("path", "method"), PREFLIGHTS.values(), ids=PREFLIGHTS)
def test_a_preflight_is_answered_here(guarded: Gateway, backend: Backend, path: str, method: str, under: str) -> None:
    before = len(backend.seen(f"{under}/{path}"))
    wanted = "Access-Control-Request-Headers: authorization,content-type,x-anything"
    names = ("authorization", "content-type", "x-anything")
    for origin in ALLOWED if under == "/a" else (*ALLOWED, STRANGER):
        answer = guarded.ask(asking(f"{under}/{path}", origin, method, wanted))
        assert_granted(answer, origin, method, *names)
        assert answer.data == b""
    assert len(backend.seen(f"{under}/{path}")) == before


def test_preflights_are_never_limited(guarded: Gateway) -> None:
    with guarded.client() as client:
        for _ in range(50):
            assert_granted(client.ask(asking("/a/limited", DASH)), DASH, "GET")
    assert_refused(guarded.get("/a/limited", f"Origin: {DASH}"), "rate_limited")


def test_a_path_without_a_route_grants_preflights_so_that_its_404_can_be_read(guarded: Gateway) -> None:
    assert_granted(guarded.ask(asking("/nothing/here", DASH, "POST")), DASH, "POST")
    assert access(guarded.ask(asking("/nothing/here", STRANGER, "POST"))) == {}


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PUT", "get", "GET, PUT", "*", "G\xe9T", ""])
def test_a_preflight_grants_no_method_that_the_route_lacks(guarded: Gateway, backend: Backend, method: str) -> None:
    answer = guarded.ask(asking("/a/reads", DASH, method))
    granted = listed(answer, "access-control-allow-methods")
    assert answer.status < 500
    assert not {"PUT", "POST", "TRACE", "CONNECT", "*"} & {item.upper() for item in granted}
    assert all(seen.method != "OPTIONS" for seen in backend.seen("/a/reads"))


FIELDS = {
    "no origin": ["Access-Control-Request-Method: GET"],
    "no method": [f"Origin: {DASH}"],
    "neither": [],
    "headers alone": [f"Origin: {DASH}", "Access-Control-Request-Headers: x"],
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_options_that_is_no_preflight_is_405(guarded: Gateway, backend: Backend, fields: list[str]) -> None:
    answer = guarded.send("OPTIONS", "/a/reads", *fields)
    assert_problem(answer, "method_not_allowed")
    assert {"GET", "HEAD"} <= set(listed(answer, "allow"))
    assert all(seen.method != "OPTIONS" for seen in backend.seen("/a/reads"))


def test_a_preflights_body_is_not_the_next_request(guarded: Gateway) -> None:
    with guarded.client() as client:
        preflight = asking("/a/b/200", DASH, "POST", "Content-Length: 5") + b"hello"
        client.send(preflight + request("GET", "/a/b/200", f"Origin: {DASH}"))
        assert_granted(client.read(), DASH, "POST")
        assert client.read().status == 200


@pytest.mark.parametrize("wanted", ["x" * 4000, ",".join(f"x-{number}" for number in range(500)), "a b", "\xe9", ",,"])
def test_odd_lists_of_wanted_fields_cost_nothing(guarded: Gateway, wanted: str) -> None:
    answer = guarded.ask(asking("/a/b/200", DASH, "GET", f"Access-Control-Request-Headers: {wanted}"))
    assert answer.status < 500
    assert "\xe9" not in str(answer.head.fields)


@pytest.mark.parametrize("entry", ["*", "https://*.dash.test", "https://dash.test/", "null"])
def test_a_malformed_entry_of_the_allow_list_ends_the_start(entry: str) -> None:
    code, output = run_to_exit(["serve"], ALLOWED_ORIGINS=f"https://dash.test,{entry}")
    assert code == 1
    assert "ALLOWED_ORIGINS" in output and "Traceback" not in output


def test_by_default_the_platforms_own_origins_are_allowed(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    for origin in ("https://machineagents.ai", "https://staging.machineagents.ai", "http://localhost:3000"):
        assert access(gateway.get(path, f"Origin: {origin}"))["access-control-allow-origin"] == origin
    for origin in ("https://www.machineagents.ai", "http://machineagents.ai", "http://localhost"):
        assert access(gateway.get(path, f"Origin: {origin}")) == {}
