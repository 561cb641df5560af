"""Two gateways share what they store, and go on without when Redis is gone."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer

from .harness import Backend, Gateway, reply, request, running, write_table

UPSTREAMS = '[main]\nurl = "{url}"\n'
ROUTES = 'auth = "public"\nrate_limit = "off"\nupstream = "main"\n[[route]]\npath = "/b/{rest:path}"\ncache = 600\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running_server:
        yield running_server


@pytest.fixture(scope="module")
def gateways(
    backend: Backend, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    table = write_table(tmp_path_factory.mktemp("cache") / "table", UPSTREAMS.format(url=backend.url), ROUTES)
    settings = {"GATEWAY_CACHE_STORE": "redis", "GATEWAY_REDIS_URL": server.url, "GATEWAY_REDIS_TIMEOUT": "10"}
    with running(table, **settings) as first, running(table, **settings) as second:
        yield first, second


def test_what_one_gateway_stored_another_gives(gateways: tuple[Gateway, Gateway], backend: Backend) -> None:
    first, second = gateways
    path = backend.serve(reply(200, b'{"text": "' + b"again " * 300 + b'"}', "Cache-Tag: plans"))
    first.ask(request("GET", path))
    for gateway in (second, first, second):
        answer = gateway.ask(request("GET", path, "Accept-Encoding: br"))
        assert (answer.value("content-encoding"), str(answer.value("cache-status"))[:16]) == ("br", "aiogateway; hit;")
    backend.one(path)
    connection = http.client.HTTPConnection("127.0.0.1", first.admin_port, timeout=10)
    connection.request("POST", "/admin/cache/purge?tag=plans")
    assert connection.getresponse().status == 200
    connection.close()
    second.ask(request("GET", path))
    assert len(backend.seen(path)) == 2


def test_without_redis_clients_get_their_answers_and_a_purge_says_that_it_failed(
    gateways: tuple[Gateway, Gateway], backend: Backend, server: RedisServer
) -> None:
    first, _ = gateways
    path = backend.serve(reply(200, b"x"))
    server.stop()
    try:
        assert [first.ask(request("GET", path)).data for _ in range(3)] == [b"x"] * 3
        connection = http.client.HTTPConnection("127.0.0.1", first.admin_port, timeout=10)
        connection.request("POST", "/admin/cache/purge?path=/b/*")
        assert connection.getresponse().status == 503
        connection.close()
    finally:
        server.start()
