"""Bad services and bad clients in front of the cache: nothing wrong is stored, and each client's answer is right."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from .harness import Backend, Client, Gateway, Peer, chunked, reply, request, running, write_table

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
cache = true

[[route]]
path = "/minute/{rest:path}"
cache = 60
"""
KEPT = "Cache-Control: max-age=600"
HEAD = f"HTTP/1.1 200 OK\r\n{KEPT}\r\n"


@pytest.fixture(scope="module")
def gateway(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    table = write_table(tmp_path_factory.mktemp("cache-bad") / "table", UPSTREAMS.format(url=backend.url), ROUTES)
    with running(table, GATEWAY_CACHE_MAX_OBJECT="256KiB") as running_gateway:
        yield running_gateway


def get(path: str, *fields: str) -> bytes:
    return request("GET", path, *fields)


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        (("Expires: Thu, 99 Foo 2999 99:99:99 GMT",), 2),
        (("Expires: Sun, 06 Nov 0000 08:49:37 GMT",), 2),
        (("Date: Sun, 06 Nov 0000 08:49:37 GMT", KEPT), 1),
        (("Date: Sun, 06 Nov 1994 08:49:37 GMT", KEPT), 2),
        (("Date: nonsense", KEPT), 1),
        (("Last-Modified: Sun, 06 Nov 0000 08:49:37 GMT", KEPT), 1),
        (("Age: -5", KEPT), 1),
        (("Age: nonsense", KEPT), 1),
        ((f"Age: {'9' * 4000}", KEPT), 2),
        (("Age: 601, 1", KEPT), 2),
        (("Cache-Control: max-age=600, max-age=600",), 1),
        (("Cache-Control: max-age=600, max-age=599",), 2),
        (('Cache-Control: max-age=600, frob, x=y, z="a,b"',), 1),
        (("Cache-Control: max-age=600, no-store, no-store",), 2),
        (("Cache-Control: max-age=600; no-store",), 2),
        (("Cache-Control: max-age=" + "9" * 4000,), 1),
        (("Cache-Control: max-age=-600",), 2),
        (("Cache-Control: " + '"' * 4000,), 2),
        (("Vary: *", KEPT), 2),
        (("Vary: Accept", "Vary: *", KEPT), 2),
        (("Vary: ,,", KEPT), 1),
        (("CDN-Cache-Control: ((", KEPT), 1),
        (("CDN-Cache-Control: no-store", KEPT), 2),
    ],
)
def test_broken_fields_are_never_a_reason_to_keep(
    gateway: Gateway, backend: Backend, fields: tuple[str, ...], times: int
) -> None:
    path = backend.serve(reply(200, b"x", *fields))
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"x", b"x"]
    assert len(backend.seen(path)) == times


@pytest.mark.parametrize(
    "cut",
    [
        f"{HEAD}Content-Length: 10\r\n\r\n01234",
        f"{HEAD}Content-Length: 10\r\n\r\n",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n012",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nzz\r\n",
    ],
)
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_what_was_cut_is_not_kept_and_not_taken_for_whole(
    gateway: Gateway, backend: Backend, cut: str, ending: str
) -> None:
    def dies(peer: Peer) -> None:
        peer.send(cut.encode())
        getattr(peer, ending)()

    path = backend.serve(dies)
    with gateway.client() as client:
        client.send(get(path))
        head = client.head()
        assert head.start.split()[1] == b"502" or not client.body_of(head).complete
    backend.serve(reply(200, b"whole", KEPT), at=path)
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"whole"] * 2


def test_a_body_that_ends_with_its_connection_is_never_kept(gateway: Gateway, backend: Backend) -> None:
    def ends(peer: Peer) -> None:
        peer.send(f"{HEAD}\r\n01234".encode())
        peer.close()

    path = backend.serve(ends)
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"01234"] * 2
    assert len(backend.seen(path)) == 2


def test_what_comes_beyond_the_length_is_nobodys(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(f"{HEAD}Content-Length: 2\r\n\r\n01HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".encode())
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"01", b"01"]
    other = backend.serve(reply(200, b"other", KEPT))
    assert gateway.ask(get(other)).data == b"other"


def test_much_that_ends_with_its_connection_is_given_and_not_kept(gateway: Gateway, backend: Backend) -> None:
    def much(peer: Peer) -> None:
        peer.send(f"{HEAD}\r\n".encode())
        for _ in range(160):
            peer.send(b"x" * 65536)
        peer.close()

    path = backend.serve(much)
    assert [gateway.ask(get(path)).body.count for _ in range(2)] == [160 * 65536] * 2
    assert len(backend.seen(path)) == 2


def test_fields_that_connection_names_are_neither_given_nor_kept(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"x", KEPT, "Connection: X-Hop, Cache-Tag", "X-Hop: 1", "Keep-Alive: timeout=5"))
    for _ in range(2):
        answer = gateway.ask(get(path))
        assert (answer.value("x-hop"), answer.value("keep-alive"), answer.data) == (None, None, b"x")
    backend.one(path)


def test_a_get_with_a_body_is_for_itself(gateway: Gateway, backend: Backend) -> None:
    def echo(peer: Peer) -> None:
        body = peer.read_body()
        peer.send(reply(200, body.data or b"none", KEPT))

    path = backend.serve(echo)
    assert gateway.ask(request("GET", path, body=b"evil")).data == b"evil"
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"none"] * 2
    assert gateway.ask(request("GET", path, body=b"evil")).data == b"evil"
    assert len(backend.seen(path)) == 3


@pytest.mark.parametrize(
    "fields",
    [
        ("X-Forwarded-Host: evil.test",),
        ("X-Forwarded-Proto: evil", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil"),
        ("Forwarded: host=evil.test;proto=evil",),
        ("X-Real-IP: evil",),
        ("X-User-Id: evil", "X-User-Roles: evil"),
        ("Connection: X-Forwarded-Host", "X-Forwarded-Host: evil.test"),
    ],
)
def test_what_the_key_does_not_hold_does_not_reach_the_service(
    gateway: Gateway, backend: Backend, fields: tuple[str, ...]
) -> None:
    def tells(peer: Peer) -> None:
        said = [value for name, value in peer.request.head.fields if "evil" in value]
        peer.send(reply(200, repr(said).encode(), KEPT))

    path = backend.serve(tells)
    assert gateway.ask(get(path, *fields)).data == b"[]"
    assert gateway.ask(get(path)).data == b"[]"


def test_hosts_have_answers_of_their_own(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(lambda peer: peer.send(reply(200, str(peer.request.value("x-forwarded-host")).encode(), KEPT)))
    assert gateway.ask(get(path, "Host: evil.test")).data == b"evil.test"
    assert gateway.ask(get(path)).data == b"gateway.test"
    assert gateway.ask(get(path, "Host: evil.test:1")).data == b"evil.test:1"


def test_a_field_taken_away_by_connection_is_no_other_variant(gateway: Gateway, backend: Backend) -> None:
    def by_kind(peer: Peer) -> None:
        peer.send(reply(200, str(peer.request.value("x-kind")).encode(), KEPT, "Vary: X-Kind"))

    path = backend.serve(by_kind)
    assert gateway.ask(get(path, "X-Kind: a", "Connection: X-Kind")).data == b"None"
    assert gateway.ask(get(path, "X-Kind: a")).data == b"a"
    assert gateway.ask(get(path)).data == b"None"
    assert len(backend.seen(path)) == 2


def test_what_one_client_is_told_by_its_credentials_no_other_gets(gateway: Gateway, backend: Backend) -> None:
    def tells(peer: Peer) -> None:
        peer.send(reply(200, str(peer.request.value("authorization")).encode(), KEPT))

    path = backend.serve(tells)
    for name in ("a", "b"):
        assert gateway.ask(get(path, f"Authorization: Basic {name}")).data == f"Basic {name}".encode()
    assert gateway.ask(get(path)).data == b"None"


def test_answers_by_cookie_are_apart(gateway: Gateway, backend: Backend) -> None:
    def tells(peer: Peer) -> None:
        peer.send(reply(200, str(peer.request.value("cookie")).encode(), KEPT, "Vary: Cookie"))

    path = backend.serve(tells)
    for _ in range(2):
        for name in ("a=1", "a=2"):
            assert gateway.ask(get(path, f"Cookie: {name}")).data == name.encode()
    assert gateway.ask(get(path)).data == b"None"


def test_two_who_ask_at_once_with_credentials_get_their_own(gateway: Gateway, backend: Backend) -> None:
    go = threading.Event()

    def tells(peer: Peer) -> None:
        peer.wait(go)
        peer.send(reply(200, str(peer.request.value("authorization")).encode(), KEPT))

    path = backend.serve(tells)
    with gateway.client() as one, gateway.client() as other:
        one.send(get(path, "Authorization: Basic a"))
        backend.wait_for(path)
        other.send(get(path, "Authorization: Basic b"))
        go.set()
        assert (one.read().data, other.read().data) == (b"Basic a", b"Basic b")


@pytest.mark.parametrize(
    "field", ['If-None-Match: "v"', "If-None-Match: *", "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT"]
)
def test_a_condition_on_a_miss_is_the_clients_and_the_whole_answer_is_kept(
    gateway: Gateway, backend: Backend, field: str
) -> None:
    path = backend.serve(reply(200, b"x", KEPT, 'ETag: "v"'))
    assert gateway.ask(get(path, field)).status == 304
    answer = gateway.ask(get(path))
    assert (answer.status, answer.data) == (200, b"x")
    assert not {"if-none-match", "if-modified-since"} & backend.one(path).names


def test_a_stored_error_is_given_whatever_the_condition(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(404, b"no", KEPT, 'ETag: "v"'))
    gateway.ask(get(path))
    assert gateway.ask(get(path, "If-None-Match: *")).status == 404
    backend.one(path)


def test_a_304_nobody_asked_for_is_not_kept(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(f"HTTP/1.1 304 X\r\n{KEPT}\r\n\r\n".encode())
    for _ in range(2):
        gateway.ask(get(path))
    assert len(backend.seen(path)) == 2


def test_a_304_about_something_else_gives_nobody_the_old_body(gateway: Gateway, backend: Backend) -> None:
    def lies(peer: Peer) -> None:
        if peer.request.value("if-none-match") is None:
            count = len(backend.seen(path))
            peer.send(reply(200, str(count).encode(), "Cache-Control: max-age=0", f'ETag: "{count}"'))
        else:
            peer.send(b'HTTP/1.1 304 X\r\nETag: "other"\r\n\r\n')

    path = backend.serve(lies)
    assert [gateway.ask(get(path)).data for _ in range(2)] == [b"1", b"3"]


def test_a_304_without_a_date_is_of_now(gateway: Gateway, backend: Backend) -> None:
    def answer(peer: Peer) -> None:
        if peer.request.value("if-none-match") is None:
            peer.send(reply(200, b"x", KEPT, 'ETag: "v"', "Date: Sun, 06 Nov 1994 08:49:37 GMT"))
        else:
            peer.send(b'HTTP/1.1 304 X\r\nETag: "v"\r\n\r\n')

    path = backend.serve(answer)
    assert [gateway.ask(get(path)).data for _ in range(3)] == [b"x"] * 3
    assert len(backend.seen(path)) == 2


@pytest.mark.parametrize("value", ["no-cache, max-age=60", "max-age=0"])
def test_what_must_be_validated_is_not_given_to_who_comes_after_its_head(
    gateway: Gateway, backend: Backend, value: str
) -> None:
    go = threading.Event()

    def slow(peer: Peer) -> None:
        peer.send(f'HTTP/1.1 200 OK\r\nCache-Control: {value}\r\nETag: "v"\r\nContent-Length: 4\r\n\r\n01'.encode())
        peer.wait(go)
        peer.send(b"23")

    path = backend.serve(slow)
    with gateway.client() as first, gateway.client() as second:
        first.send(get(path))
        head = first.head()
        second.send(get(path))
        backend.wait_for(path, 2)
        go.set()
        assert first.body_of(head).data == second.read().data == b"0123"


@pytest.mark.parametrize("leaves", [0, 1, 2])
@pytest.mark.parametrize("moment", ["before the head", "after the head", "in the body"])
def test_who_leaves_costs_the_others_nothing(gateway: Gateway, backend: Backend, leaves: int, moment: str) -> None:
    head_may, body_may, end_may = threading.Event(), threading.Event(), threading.Event()

    def slow(peer: Peer) -> None:
        peer.wait(head_may)
        peer.send(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        peer.wait(body_may)
        peer.send(b"4\r\n0123\r\n")
        peer.wait(end_may)
        peer.send(b"4\r\n4567\r\n0\r\n\r\n")

    path = backend.serve(slow)
    clients = [gateway.client() for _ in range(3)]
    staying = [client for number, client in enumerate(clients) if number != leaves]
    try:
        clients[0].send(get(path))
        backend.wait_for(path)
        for client in clients[1:]:
            client.send(get(path))
        if moment == "before the head":
            clients[leaves].reset()
        head_may.set()
        heads = [client.head() for client in staying]
        if moment == "after the head":
            clients[leaves].reset()
        body_may.set()
        if moment == "in the body":
            clients[leaves].reset()
        end_may.set()
        bodies = [client.body_of(head) for client, head in zip(staying, heads, strict=True)]
        assert [(body.data, body.complete) for body in bodies] == [(b"01234567", True)] * 2
    finally:
        for client in clients:
            client.leave()
    assert gateway.ask(get(path)).data == b"01234567"
    backend.one(path)


def test_a_slow_client_gets_all_though_the_one_that_began_leaves(gateway: Gateway, backend: Backend) -> None:
    go, count = threading.Event(), 96

    def much(peer: Peer) -> None:
        peer.send(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        peer.send(chunked(b"x" * 65536, end=b""))
        peer.wait(go)
        for _ in range(count - 1):
            peer.send(chunked(b"x" * 65536, end=b""))
        peer.send(b"0\r\n\r\n")

    path = backend.serve(much)
    with gateway.client() as first, gateway.client(window=4096) as slow:
        first.send(get(path))
        first.head()
        slow.send(get(path))
        head = slow.head()
        go.set()
        first.reset()
        body = slow.body_of(head)
        assert (body.count, body.complete) == (count * 65536, True)
    backend.one(path)


def test_a_client_of_http_1_0_gets_what_others_share(gateway: Gateway, backend: Backend) -> None:
    go = threading.Event()

    def slow(peer: Peer) -> None:
        peer.send(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n".encode())
        peer.wait(go)
        peer.send(b"4\r\n4567\r\n0\r\n\r\n")

    path = backend.serve(slow)
    old = get(path).replace(b"HTTP/1.1", b"HTTP/1.0")
    with gateway.client() as new, gateway.client() as client:
        new.send(get(path))
        new_head = new.head()
        client.send(old)
        head = client.head()
        assert head.value("transfer-encoding") is None
        go.set()
        assert client.body_of(head).data == new.body_of(new_head).data == b"01234567"
    assert gateway.ask(old).data == b"01234567"
    backend.one(path)


def test_1000_who_ask_for_what_is_stale_at_once_cost_one_request(gateway: Gateway, backend: Backend) -> None:
    go, many = threading.Event(), 1000

    def answer(peer: Peer) -> None:
        if peer.request.value("if-none-match") is None:
            peer.send(reply(200, b"x", "Cache-Control: max-age=0", 'ETag: "v"'))
        else:
            peer.wait(go)
            peer.send(b'HTTP/1.1 304 X\r\nETag: "v"\r\nCache-Control: max-age=600\r\n\r\n')

    path = backend.serve(answer)
    assert gateway.ask(get(path)).data == b"x"
    clients: list[Client] = []
    try:
        for _ in range(many):
            clients.append(gateway.client(30))
            clients[-1].send(get(path))
        backend.wait_for(path, 2)
        go.set()
        assert {client.read().data for client in clients} == {b"x"}
    finally:
        for client in clients:
            client.leave()
    assert len(backend.seen(path)) == 2
