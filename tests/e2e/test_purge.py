"""What is stored is forgotten by hand: on the admin listener, for all workers, by nobody else's page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Backend, Client, Gateway, Response, reply, request, running, write_table

UPSTREAMS = """
[main]
url = "{url}"
"""
ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"

[[route]]
path = "/v2/{rest:path}"
cache = true
"""
KEPT = ("Cache-Control: max-age=600", "Cache-Tag: plans, all", "Surrogate-Key: keyed")
PURGE = "/admin/cache/purge"


@pytest.fixture(scope="module")
def gateway(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    table = write_table(tmp_path_factory.mktemp("purge") / "table", UPSTREAMS.format(url=backend.url), ROUTES)
    with running(table, GATEWAY_WORKERS="2") as running_gateway:
        yield running_gateway


def purge(gateway: Gateway, query: str, *fields: str, method: str = "POST") -> Response:
    with Client(gateway.admin_port) as client:
        client.send(request(method, PURGE + query, *fields))
        return client.read()


def given(gateway: Gateway, path: str) -> set[bytes]:
    """What several requests get, some of them of each worker."""
    return {gateway.ask(request("GET", path)).data for _ in range(12)}


@pytest.mark.parametrize("query", ["?path={path}", "?path=/v2/*", "?tag=plans", "?tag=keyed"])
def test_a_purge_reaches_every_worker(gateway: Gateway, backend: Backend, query: str) -> None:
    path = backend.serve(reply(200, b"old", *KEPT), under="/v2")
    given(gateway, path)
    backend.serve(reply(200, b"new", *KEPT), at=path)
    assert given(gateway, path) <= {b"old", b"new"}
    told = purge(gateway, query.format(path=path))
    assert (told.status, told.json()["done"]) == (200, True)
    assert given(gateway, path) == {b"new"}


@pytest.mark.parametrize(
    ("query", "fields", "method", "status"),
    [
        ("", (), "POST", 400),
        ("?path=/a&tag=b", (), "POST", 400),
        ("?path=/a&path=/b", (), "POST", 400),
        ("?path=", (), "POST", 400),
        ("?path=v2", (), "POST", 400),
        ("?tag=" + "a" * 1001, (), "POST", 400),
        ("?path=/a", (), "GET", 405),
        ("?path=/a", ("Sec-Fetch-Site: cross-site",), "POST", 403),
        ("?path=/a", ("Sec-Fetch-Site: same-site",), "POST", 403),
        ("?path=/a", ("Origin: https://foreign.example",), "POST", 403),
        ("?path=/a", ("Origin: null",), "POST", 403),
        ("?path=/a", ("Sec-Fetch-Site: same-origin",), "POST", 200),
        ("?path=/a", (), "POST", 200),
    ],
)
def test_who_may_purge_and_by_what(
    gateway: Gateway, query: str, fields: tuple[str, ...], method: str, status: int
) -> None:
    assert purge(gateway, query, *fields, method=method).status == status
