"""Requests that name a user: in the path, the query, a form or JSON; nobody speaks for another.

`/…/{user_id}` stands for what the upstream would read as well: a request that it could read as another user's must not
reach it. Multipart and long bodies: `test_owner_uploads`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .harness import Backend, Gateway, chunked, reply, request, running, write_table
from .harness.guards import assert_refused
from .harness.tokens import as_user

ROUTES = """
auth = "required"
rate_limit = "off"
upstream = "main"
[[route]]
path = "/path/{user_id}/{rest:path}"
owner = "user_id"
[[route]]
path = "/slashed/{user_id}/{rest:path}"
owner = "user_id"
encoded_slash = true
[[route]]
path = "/query/{rest:path}"
owner = "user_id"
[[route]]
path = "/form/{rest:path}"
owner = "form:user_id"
[[route]]
path = "/json/{rest:path}"
owner = "json:user_id"
[[route]]
path = "/optional/{rest:path}"
auth = "optional"
owner = "user_id"
"""
URLENCODED = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    """A gateway that knows owners."""
    config = write_table(tmp_path_factory.mktemp("owner") / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)
    with running(config, GATEWAY_AUTH_MODE="enforce") as gateway:
        yield gateway


PATHS = {
    "one's own": ("u1", 200),
    "percent-encoded": ("%75%31", 200),
    "another's": ("u2", 403),
    "another's, percent-encoded": ("%75%32", 403),
    "encoded twice": ("%2575%2531", 403),
    "in capitals": ("U1", 403),
    "a prefix": ("u", 403),
    "with more behind it": ("u10", 403),
    "a space behind it": ("u1%20", 403),
    "a plus behind it": ("u1+", 403),
    "a NUL behind it": ("u1%00", 400),
    "a slash behind it": ("u1%2Fx", 400),
    "a parameter behind it": ("u1;u2", 403),
    "a dot segment behind it": ("u1/../u2", 400),
    "an encoded dot segment": ("u1/%2e%2e/u2", 400),
    "a full-width letter": ("%EF%BD%95%31", 403),
    "bytes that are no UTF-8": ("u1%ff", 403),
    "an empty segment": ("/u1", 404),
}


@pytest.mark.parametrize(("segment", "status"), PATHS.values(), ids=PATHS)
def test_a_user_in_the_path(owned: Gateway, backend: Backend, segment: str, status: int) -> None:
    before = len(backend.requests)
    answer = owned.get(f"/path/{segment}/x", as_user("u1"))
    assert answer.status == status or (status == 403 and answer.status == 400)
    assert len(backend.requests) - before == (status == 200)


def test_a_slash_in_a_user_is_compared_decoded(owned: Gateway, backend: Backend) -> None:
    assert owned.get("/slashed/a%2Fb/x", as_user("a/b")).status == 200
    assert owned.get("/slashed/a%2Fc/x", as_user("a/b")).status == 403
    assert owned.get("/slashed/a%252Fb/x", as_user("a/b")).status == 403


QUERIES = {
    "one's own": ("user_id=u1", 200),
    "among others": ("a=1&user_id=u1&b=%20;", 200),
    "percent-encoded": ("user_id=%75%31", 200),
    "its name percent-encoded": ("user%5Fid=u1", 200),
    "another's": ("user_id=u2", 403),
    "another's, percent-encoded": ("user%5Fid=%75%32", 403),
    "absent": ("", 403),
    "absent among others": ("user=u1&id=u1", 403),
    "empty": ("user_id=", 403),
    "without a value": ("user_id", 403),
    "one's own and another's": ("user_id=u1&user_id=u2", 403),
    "another's and one's own": ("user_id=u2&user_id=u1", 403),
    "twice one's own": ("user_id=u1&user_id=u1", 403),
    "once more with a percent-encoded name": ("user_id=u1&user%5Fid=u2", 403),
    "once more with all of its name encoded": ("user_id=u1&%75%73%65%72%5f%69%64=u2", 403),
    "once more without a value": ("user_id=u1&user_id", 403),
    "once more and empty": ("user_id=u1&user_id=", 403),
    "a semicolon between": ("user_id=u1;user_id=u2", 403),
    "a space behind it": ("user_id=u1+", 403),
    "a NUL behind it": ("user_id=u1%00", 403),
    "in capitals": ("user_id=U1", 403),
    "encoded twice": ("user_id=%2575%2531", 403),
    "behind many others": ("a=1&" * 500 + "user_id=u1&user_id=u2", 403),
    "bytes that are no UTF-8": ("user_id=u1%ff", 403),
}


@pytest.mark.parametrize(("query", "status"), QUERIES.values(), ids=QUERIES)
def test_a_user_in_the_query(owned: Gateway, backend: Backend, query: str, status: int) -> None:
    path = backend.serve(reply(), "/query")
    answer = owned.get(f"{path}?{query}", as_user("u1"))
    assert answer.status == status or (status == 403 and answer.status == 400)
    if answer.status == 403:
        assert_refused(answer, "forbidden")
    assert [seen.target for seen in backend.seen(path)] == ([f"{path}?{query}"] if status == 200 else [])


FORMS = {name: (query.encode(), status) for name, (query, status) in QUERIES.items() if "b=%20;" not in query} | {
    "a plus for a space in another field": (b"text=a+b&user_id=u1&x=%zz", 200),
    "its name in capitals beside it": (b"user_id=u1&USER_ID=u2", 403),
    "its name in brackets beside it": (b"user_id=u1&user_id[]=u2", 403),
    "raw bytes": (b"user_id=u1\xff", 403),
    "a line end behind it": (b"user_id=u1\r\n", 403),
    "a form in a form": (b"x=user_id%3Du1", 403),
    "a body of another kind": (b'{"user_id":"u1"}', 403),
}


@pytest.mark.parametrize("kind", [URLENCODED, f"{URLENCODED}; charset=utf-8", URLENCODED.title()])
def test_forms_pass_as_they_came(owned: Gateway, backend: Backend, kind: str) -> None:
    path, body = backend.serve(reply(), "/form"), b"a=%7E+&user_id=%75%31&b=1&b=2"
    assert owned.send("POST", path, kind, as_user("u1"), body=body).status == 200
    assert backend.one(path).body.data == body
    assert backend.one(path).values("content-type") == [kind.partition(": ")[2]]


@pytest.mark.parametrize("coding", ["length", "chunks"])
@pytest.mark.parametrize(("body", "status"), FORMS.values(), ids=FORMS)
def test_a_user_in_a_form(owned: Gateway, backend: Backend, body: bytes, status: int, coding: str) -> None:
    path = backend.serve(reply(), "/form")
    answer = owned.ask(framed(path, URLENCODED, body, coding))
    assert answer.status == status or (status == 403 and answer.status == 400)
    assert [seen.body.data for seen in backend.seen(path)] == ([body] if status == 200 else [])


def framed(path: str, kind: str, body: bytes, coding: str, user: str = "u1") -> bytes:
    """A POST of a user's, its body with a length, or in chunks of one to seven bytes."""
    if coding == "length":
        return request("POST", path, kind, as_user(user), body=body)
    head = request("POST", path, kind, as_user(user), "Transfer-Encoding: chunked")
    return head + chunked(*(body[at : at + 7] for at in range(0, len(body), 7)))


DOCUMENTS = {
    "one's own": (b'{"user_id":"u1"}', 200),
    "among others": (b' {"a":[{"user_id":"u2"}],"user_id": "u1", "b":{"user_id":"u3"}} ', 200),
    "escaped": (b'{"user_id":"\\u0075\\u0031"}', 200),
    "its name escaped": (b'{"user\\u005fid":"u1"}', 200),
    "another's": (b'{"user_id":"u2"}', 403),
    "absent": (b"{}", 403),
    "empty": (b'{"user_id":""}', 403),
    "null": (b'{"user_id":null}', 403),
    "a list": (b'{"user_id":["u1"]}', 403),
    "an object": (b'{"user_id":{"u1":1}}', 403),
    "within another": (b'{"data":{"user_id":"u1"}}', 403),
    "in a list": (b'[{"user_id":"u1"}]', 403),
    "twice": (b'{"user_id":"u1","user_id":"u2"}', 403),
    "twice, one's own last": (b'{"user_id":"u2","user_id":"u1"}', 403),
    "once more, escaped": (b'{"user_id":"u1","user\\u005fid":"u2"}', 403),
    "two documents": (b'{"user_id":"u1"}{"user_id":"u2"}', 403),
    "two lines": (b'{"user_id":"u1"}\n{"user_id":"u2"}', 403),
    "in UTF-16": (json.dumps({"user_id": "u1"}).encode("utf-16"), 403),
    "with a comment": (b'{"user_id":"u1"/*,"user_id":"u2"*/}', 403),
    "cut off": (b'{"user_id":"u1"', 403),
    "empty body": (b"", 403),
    "no JSON": (b"user_id=u1", 403),
    "a form in JSON": (b'"user_id=u1"', 403),
    "nested deeply": (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b',"user_id":"u2"}', 403),
    "a huge number": (b'{"user_id":"u2","a":' + b"9" * 10_000 + b"}", 403),
    "bytes that are no UTF-8": (b'{"user_id":"u1\xff"}', 403),
    "a lone surrogate": (b'{"user_id":"u1\\ud800"}', 403),
}


@pytest.mark.parametrize("coding", ["length", "chunks"])
@pytest.mark.parametrize(("body", "status"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_user_in_json(owned: Gateway, backend: Backend, body: bytes, status: int, coding: str) -> None:
    path = backend.serve(reply(), "/json")
    answer = owned.ask(framed(path, JSON, body, coding))
    assert answer.status == status or (status == 403 and answer.status == 400)
    assert [seen.body.data for seen in backend.seen(path)] == ([body] if status == 200 else [])


KINDS = {
    "a form, text": ("/form", ["Content-Type: text/plain"]),
    "a form, JSON": ("/form", [JSON]),
    "a form, no type": ("/form", []),
    "a form, an empty type": ("/form", ["Content-Type:"]),
    "a form, a longer type": ("/form", ["Content-Type: application/x-www-form-urlencodedx"]),
    "a form, two types": ("/form", [URLENCODED, JSON]),
    "a form, twice its type": ("/form", [URLENCODED, URLENCODED]),
    "a form, two types in one": ("/form", [f"{URLENCODED}, application/json"]),
    "a form, multipart without a boundary": ("/form", ["Content-Type: multipart/form-data"]),
    "a form, another multipart": ("/form", ["Content-Type: multipart/mixed; boundary=b"]),
    "a form, compressed": ("/form", [URLENCODED, "Content-Encoding: gzip"]),
    "a form in UTF-16": ("/form", [f"{URLENCODED}; charset=utf-16"]),
    "JSON, a form": ("/json", [URLENCODED]),
    "JSON, text": ("/json", ["Content-Type: text/plain"]),
    "JSON, no type": ("/json", []),
    "JSON, compressed": ("/json", [JSON, "Content-Encoding: deflate"]),
}


@pytest.mark.parametrize(("under", "fields"), KINDS.values(), ids=KINDS)
def test_a_body_of_another_kind_is_refused(owned: Gateway, backend: Backend, under: str, fields: list[str]) -> None:
    path = backend.serve(reply(), under)
    body = b"user_id=u1" if under == "/form" else b'{"user_id":"u1"}'
    answer = owned.send("POST", path, as_user("u1"), *fields, body=body)
    if answer.status != 400:  # where a field is repeated
        assert_refused(answer, "unsupported_form")
    assert not backend.seen(path)


@pytest.mark.parametrize("under", ["/form", "/json"])
def test_a_request_without_a_body_has_no_owner(owned: Gateway, backend: Backend, under: str) -> None:
    path = backend.serve(reply(), under)
    for fields in ([], [URLENCODED if under == "/form" else JSON]):
        assert owned.send("POST", f"{path}?user_id=u1", as_user("u1"), *fields).status in (400, 403, 415)
        assert owned.send("GET", f"{path}?user_id=u1", as_user("u1"), *fields).status in (400, 403, 415)
    assert not backend.seen(path)


def test_the_superadmin_passes_for_all(owned: Gateway, backend: Backend) -> None:
    chief = as_user("chief", "superadmin")
    cases = [
        ("/query", "?user_id=u1&user_id=u2", "GET", [], None),
        ("/form", "", "POST", [URLENCODED], b"user_id=u2&user_id=u3"),
        ("/json", "", "POST", [JSON], b'{"user_id":"u2"}'),
        ("/path/u2", "", "GET", [], None),
    ]
    for under, query, method, fields, body in cases:
        path = backend.serve(reply(), under)
        assert owned.send(method, path + query, chief, *fields, body=body).status == 200
        assert backend.one(path).body.data == (body or b"")
        assert backend.one(path).value("x-user-id") == "chief"


@pytest.mark.parametrize("role", ["SUPERADMIN", "superadmins", "super", "admin"])
def test_no_other_role_does(owned: Gateway, role: str) -> None:
    assert_refused(owned.get("/query/x?user_id=u2", as_user("u1", role)), "forbidden")


def test_a_guest_owns_nothing(owned: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/optional")
    assert owned.get(f"{path}?user_id=u1").status in (401, 403)
    assert owned.get(f"{path}?user_id=").status in (401, 403)
    assert owned.get(f"{path}?user_id=u1", "X-User-Id: u1").status in (401, 403)
    assert not backend.seen(path)
    assert owned.get(f"{path}?user_id=u1", as_user("u1")).status == 200


def test_without_a_token_a_body_is_not_even_read(owned: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/form")
    answer = owned.ask(request("POST", path, URLENCODED, "Content-Length: 500"))
    assert_refused(answer, "unauthenticated")
    assert not backend.seen(path)
