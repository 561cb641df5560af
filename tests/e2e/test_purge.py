"""What is stored is forgotten by hand: on the admin listener, for all workers, by nobody else's page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Backend, Client, Gateway, reply, request, running, write_table

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


def purge(gateway: Gateway, query: str, *fields: str, method: str = "POST") -> int:
    with Client(gateway.admin_port) as client:
        return client.exchange(request(method, PURGE + query, *fields)).status


def is_hit(gateway: Gateway, path: str) -> bool:
    return b"; hit" in gateway.exchange(request("GET", path)).headers.get("cache-status", "").encode()


@pytest.mark.parametrize("query", ["?path=/v2/plans", "?path=/v2/*", "?tag=plans", "?tag=keyed"])
def test_a_purge_reaches_every_worker(gateway: Gateway, backend: Backend, query: str) -> None:
    backend.answer = reply("200 OK", *KEPT, body=b"x")
    while not all([is_hit(gateway, "/v2/plans") for _ in range(12)]):
        pass
    assert purge(gateway, query) == 200
    asked = len(backend.requests)
    is_hit(gateway, "/v2/plans")
    assert len(backend.requests) == asked + 1


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
    assert purge(gateway, query, *fields, method=method) == status
