"""Paths that hide which route they mean: none meets a laxer policy than the one its upstream would apply.

In the table every route that has to be guarded goes to one backend, and every laxer one beside it, which takes almost
anything, to another. So what the open backend sees was let by.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Backend, Gateway, running, write_table

ROUTES = """
auth = "public"
upstream = "guarded"

[[route]]
path = "/v2/login"

[[route]]
path = "/v2/Reports"

[[route]]
path = "/v2/docs/"

[[route]]
path = "/v2/export.csv"

[[route]]
path = "/v2/select-model"

[[route]]
path = "/v2/users/{user}/keys"

[[route]]
path = "/v2/admin/{rest:path}"

[[route]]
path = "/v2/{name}"
upstream = "open"

[[route]]
path = "/v2/select-{rest}"
upstream = "open"

[[route]]
path = "/v2/users/{user}/{what}"
upstream = "open"

[[route]]
path = "/v2/{rest:path}"
upstream = "open"

[[route]]
path = "/renamed/{first}/{rest:path}"
upstream = "open"
upstream_path = "/{rest:path}/.{first}"

[[route]]
path = "/files/{name}"
upstream = "open"
encoded_slash = true

[[route]]
path = "/files/{name}/secret"
upstream = "open"
methods = ["POST"]

[[route]]
path = "/files/{rest:path}"
"""

GUARDED, OPEN = "guarded", "open"
CASES: dict[str, int | str] = {
    # What the routes are for.
    "/v2/login": GUARDED,
    "/v2/Reports": GUARDED,
    "/v2/docs/": GUARDED,
    "/v2/admin/x": GUARDED,
    "/v2/admin/x/": GUARDED,
    "/v2/users/A%20B/keys": GUARDED,
    "/v2/Some-Name": OPEN,
    "/v2/a.b": OPEN,
    "/v2/100%25": OPEN,
    "/v2/a%20b": OPEN,
    "/v2/a%40B.example": OPEN,
    "/v2/caf%C3%A9": OPEN,
    "/v2/caf%E9": OPEN,
    "/v2/x/a%253Bb": OPEN,
    "/v2/x/y/": OPEN,
    "/v2/select-models": OPEN,
    "/v2/users/7/Name": OPEN,
    "/files/a%2Fb": OPEN,
    # Escapes that need not be: the same route.
    "/v2/logi%6e": GUARDED,
    "/%762/%6C%6F%67%69%6E": GUARDED,
    "/v2/%61dmin/x": GUARDED,
    # Case.
    "/v2/LOGIN": 404,
    "/v2/l%4Fgin": 404,
    "/V2/login": 404,
    "/v2/reports": 404,
    "/v2/DOCS/": 404,
    "/v2/export.CSV": 404,
    "/v2/select-MODEL": 404,
    "/v2/SELECT-model": 404,
    "/v2/users/7/KEYS": 404,
    "/v2/ADMIN/x": 404,
    # Slashes.
    "/v2/login/": 404,
    "/v2//login": 404,
    "//v2/login": 404,
    "/v2/x//login": 404,
    "/v2/docs": 404,
    "/v2/admin/": 404,
    "/v2/users/7/keys/": 404,
    "/v2/login%2F": 400,
    "/v2/%2Flogin": 400,
    "/v2%2Flogin": 400,
    "/v2/x%2Fy": 400,
    "/v2/admin%2Fx": 400,
    "/v2/admin%252Fx": 404,
    "/v2/login\\": 400,
    "/v2/admin\\x": 400,
    "/v2/admin%5Cx": 400,
    "/v2/admin%255Cx": 400,
    "/v2/admin%EF%BC%8Fx": 404,
    "/v2/admin%EF%BC%BCx": 404,
    "/files/a%2Fsecret": 400,
    "/files/a%2fSECRET": 400,
    "/files/a%252Fsecret": 404,
    # Dots and spaces at an end.
    "/v2/login.": 404,
    "/v2/login..": 404,
    "/v2/login%2e": 404,
    "/v2/login/...": 404,
    "/v2/...": 404,
    "/v2/login%20": 404,
    "/v2/login%20.": 404,
    "/v2/%20login": 404,
    "/v2/login%C2%A0": 404,
    "/v2/admin./x": 404,
    "/v2/admin%20/x": 404,
    "/v2/login%09": 400,
    "/v2/login%0a": 400,
    # Dot segments.
    "/v2/./login": 400,
    "/v2/x/../login": 400,
    "/v2/x/%2e%2e/login": 400,
    "/v2/x/.%2E/login": 400,
    "/v2/x/..%2Flogin": 400,
    "/v2/x/..%5Clogin": 400,
    "/v2/x/..;/login": 400,
    "/v2/x/..;a=b/login": 400,
    "/v2/x/..%3B/login": 400,
    "/v2/x/..%20/login": 400,
    "/v2/x/.%20./login": 400,
    "/v2/x/%252e%252e/login": 400,
    "/v2/x/%25252e%25252e/login": 400,
    "/v2/x/%25%32%65%25%32%65/login": 400,
    "/v2/x/..%252Flogin": 400,
    "/v2/x/..%255Clogin": 400,
    "/v2/x/%c0%ae%c0%ae/login": 400,
    "/v2/x/%e0%80%ae%e0%80%ae/login": 400,
    "/v2/x/%f0%80%80%ae./login": 400,
    "/v2/x/..%c0%aflogin": 400,
    "/v2/x/..%c1%9clogin": 400,
    "/v2/x/%u002e%u002e/login": 400,
    "/v2/x/%EF%BC%8E%EF%BC%8E/login": 400,
    "/v2/x/%E2%80%A5/login": 400,
    "/v2/x/..%EF%BC%8Flogin": 400,
    "/v2/x/.%FF./login": 400,
    "/files/a%2F..%2Fb": 400,
    "/renamed/./x": 400,
    "/renamed/%2e/x": 400,
    "/renamed/.%252e/x": 400,
    # Path parameters, and what may end a path.
    "/v2/login;x": 400,
    "/v2/;x/login": 400,
    "/v2/users/7;x/keys": 400,
    "/v2/admin;x/y": 400,
    "/v2/select-model;x": 400,
    "/v2/a;b": 400,
    "/v2/login%3Bx": 404,
    "/v2/login%253Bx": 404,
    "/v2/login%3Fx": 404,
    "/v2/login%23x": 404,
    "/v2/login#x": 400,
    "/v2/login%00": 400,
    "/v2/login%00.png": 400,
    "/v2/login%2500": 400,
    "/v2/%00login": 400,
    # Several escapes in one, and other letters that read the same.
    "/v2/%256cogin": 404,
    "/v2/%256%63ogin": 404,
    "/v2/%25256cogin": 404,
    "/v2/%2525256cogin": 400,
    "/v2/%EF%BD%8C%EF%BD%8F%EF%BD%87%EF%BD%89%EF%BD%8E": 404,
    "/v2/log%C4%B1n": 404,
    "/v2/report%C5%BF": 404,
    "/v2/users/7/%E2%84%AAeys": 404,
    "/v2/lo%FFgin": 404,
    "/v2/%6c%ogin": 400,
    "/v2/login%": 400,
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Backend]:
    """What the guarded routes lead to."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def opened() -> Iterator[Backend]:
    """What the laxer routes lead to."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def tricked(tmp_path_factory: pytest.TempPathFactory, guarded: Backend, opened: Backend) -> Iterator[Gateway]:
    """A gateway before both."""
    upstreams = f'guarded = {{ url = "{guarded.url}" }}\nopen = {{ url = "{opened.url}" }}\n'
    with running(write_table(tmp_path_factory.mktemp("tricks") / "config", upstreams, ROUTES)) as gateway:
        yield gateway


@pytest.mark.parametrize(("path", "meant"), CASES.items(), ids=CASES)
def test_no_path_meets_a_laxer_policy_than_its_upstream_would_apply(
    tricked: Gateway, guarded: Backend, opened: Backend, path: str, meant: int | str
) -> None:
    before = len(guarded.requests), len(opened.requests)
    answer = tricked.get(path)
    served = (
        [each.target for each in guarded.requests[before[0] :]],
        [each.target for each in opened.requests[before[1] :]],
    )
    if isinstance(meant, str):
        assert answer.status == 200
        assert served == (([path], []) if meant == GUARDED else ([], [path])), "byte for byte"
    else:
        assert (answer.status, answer.json()["status"]) == (meant, meant)
        assert served == ([], [])


@pytest.mark.parametrize("query", ["", "?", "?/../login", "?;x", "?%2e%2e%2F", "?%0a"])
def test_a_query_changes_no_route(tricked: Gateway, guarded: Backend, query: str) -> None:
    before = len(guarded.requests)
    assert tricked.get(f"/v2/login{query}").status == 200
    assert tricked.get(f"/v2/LOGIN{query}").status == 404
    assert [each.target for each in guarded.requests[before:]] == [f"/v2/login{query}"]
