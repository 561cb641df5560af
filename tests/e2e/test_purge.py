"""Stored answers are forgotten in all workers: by a purge, and when a URI was changed."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from .harness import Backend, Gateway, Peer, eventually, reply, request, running, write_table

UPSTREAMS = """
[main]
url = "{url}"
"""
ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"

[[route]]
path = "/b/{rest:path}"
cache = 600
"""
TRIES = 24


@pytest.fixture(scope="module")
def gateway(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    table = write_table(tmp_path_factory.mktemp("purge") / "table", UPSTREAMS.format(url=backend.url), ROUTES)
    with running(table, GATEWAY_WORKERS="2") as running_gateway:
        yield running_gateway


def purge(gateway: Gateway, query: str, method: str = "POST", **fields: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=10)
    try:
        names = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, f"/admin/cache/purge{query}", headers=names)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}") if answer.status != 405 else None
    finally:
        connection.close()


def stored_everywhere(gateway: Gateway, backend: Backend, path: str) -> int:
    """Ask until every worker has it; how often the backend was asked."""

    def told() -> bool:
        before = len(backend.seen(path))
        for _ in range(TRIES):
            gateway.ask(request("GET", path))
        return len(backend.seen(path)) == before

    eventually(told, "both workers have it")
    return len(backend.seen(path))


def asked_again(gateway: Gateway, backend: Backend, path: str, before: int) -> int:
    for _ in range(TRIES):
        gateway.ask(request("GET", path))
    return len(backend.seen(path)) - before


@pytest.mark.parametrize(
    "query", ["?path={path}", "?path={path}*", "?path=/b/*", "?tag=a-tag", "?tag=another"], ids=str
)
def test_a_purge_is_obeyed_by_all_workers(gateway: Gateway, backend: Backend, query: str) -> None:
    path = backend.serve(reply(200, b"x", "Cache-Tag: a-tag, other", "Surrogate-Key: another more"))
    before = stored_everywhere(gateway, backend, path)
    assert purge(gateway, query.format(path=path))[0] == 200
    assert asked_again(gateway, backend, path, before) >= 1


@pytest.mark.parametrize("query", ["?path=/b", "?path=/other/*", "?tag=tag", "?tag=A-TAG"])
def test_a_purge_of_something_else_leaves_it(gateway: Gateway, backend: Backend, query: str) -> None:
    path = backend.serve(reply(200, b"x", "Cache-Tag: a-tag"))
    before = stored_everywhere(gateway, backend, path)
    assert purge(gateway, query)[0] == 200
    assert asked_again(gateway, backend, path, before) == 0


def test_a_change_through_one_worker_is_seen_through_all(gateway: Gateway, backend: Backend) -> None:
    def answer(peer: Peer) -> None:
        peer.read_body()
        peer.send(reply(200, b"x"))

    path = backend.serve(answer)
    before = stored_everywhere(gateway, backend, path)
    gateway.ask(request("PUT", path, body=b"new"))
    assert asked_again(gateway, backend, path, before) >= 2  # the PUT, and at least one GET


def test_an_answer_asked_for_before_a_purge_is_not_stored_after_it(gateway: Gateway, backend: Backend) -> None:
    def slow(peer: Peer) -> None:
        if len(backend.seen(path)) == 1:
            assert purge(gateway, f"?path={path}")[0] == 200
        peer.send(reply(200, b"x"))

    path = backend.serve(slow)
    gateway.ask(request("GET", path))
    assert asked_again(gateway, backend, path, 1) >= 1


@pytest.mark.parametrize(
    ("query", "fields", "status"),
    [
        ("", {}, 400),
        ("?path=/a&tag=b", {}, 400),
        ("?path=", {}, 400),
        ("?path=a", {}, 400),
        ("?path=/a?b=c", {}, 400),
        ("?path=/a%3Fb=c", {}, 400),
        ("?tags=a", {}, 400),
        ("?path=/" + "x" * 1000, {}, 400),
        ("?path=/a", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("?path=/a", {"Origin": "https://evil.example"}, 403),
        ("?path=/a", {"Origin": "null"}, 403),
    ],
)
def test_what_is_no_purge_is_refused(gateway: Gateway, query: str, fields: dict[str, str], status: int) -> None:
    found, problem = purge(gateway, query, **fields)
    assert (found, problem["status"]) == (status, status)
    assert "code" in problem


def test_a_purge_is_a_post(gateway: Gateway) -> None:
    assert purge(gateway, "?path=/a", method="GET")[0] == 405
