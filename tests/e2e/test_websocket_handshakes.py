"""Who gets a WebSocket: the handshake of the client, the guards on its way, and the answer of the upstream."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.programs import stand_still

from .harness import Backend, Gateway, Peer, assert_problem, eventually, reply, request, running, write_table
from .harness.guards import assert_refused, samples
from .harness.sockets import FIELDS, KEY, MASK, TEXT, accept, asked, close, frame, opened, switching
from .harness.tokens import as_user, bearer, signed

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
websocket = true
[[route]]
path = "/ws/{rest:path}"
[[route]]
path = "/widget/{rest:path}"
cors = "public"
[[route]]
path = "/plain/{rest:path}"
websocket = false
[[route]]
path = "/members/{rest:path}"
auth = "required"
[[route]]
path = "/guests/{rest:path}"
auth = "optional"
[[route]]
path = "/rare/{rest:path}"
rate_limit = "2/hour"
[[route]]
path = "/few/{rest:path}"
upstream = "few"
"""
PAGE = "https://app.example"
UPGRADE, CONNECTION, VERSION, KEY_LINE = FIELDS[1], FIELDS[0], FIELDS[2], FIELDS[3]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    upstreams = f'main = {{ url = "{backend.url}" }}\nfew = {{ url = "{backend.url}" }}\n'
    config = write_table(tmp_path_factory.mktemp("handshakes") / "config", upstreams, ROUTES)
    with running(
        config,
        GATEWAY_AUTH_MODE="enforce",
        GATEWAY_RATE_LIMIT="",
        ALLOWED_ORIGINS=PAGE,
        GATEWAY_POOL_FEW_MAX_STREAMS="1",
    ) as gateway:
        yield gateway


MALFORMED = {
    "no key": [CONNECTION, UPGRADE, VERSION],
    "an empty key": [CONNECTION, UPGRADE, VERSION, "Sec-WebSocket-Key:"],
    "a short key": [CONNECTION, UPGRADE, VERSION, "Sec-WebSocket-Key: c2hvcnQ="],
    "a key that is no Base64": [CONNECTION, UPGRADE, VERSION, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="],
    "two keys": [CONNECTION, UPGRADE, VERSION, KEY_LINE, KEY_LINE],
    "no upgrade among Connection's options": ["Connection: keep-alive", UPGRADE, VERSION, KEY_LINE],
    "no Connection": [UPGRADE, VERSION, KEY_LINE],
    "a body": [*FIELDS, "Content-Length: 2"],
    "subprotocols twice": [*FIELDS, "Sec-WebSocket-Protocol: chat, chat"],
    "a subprotocol that is no token": [*FIELDS, "Sec-WebSocket-Protocol: a b"],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_handshake_is_refused_before_its_upstream_is_asked(
    gateway: Gateway, backend: Backend, fields: list[str]
) -> None:
    path = backend.serve(reply(), under="/ws")
    body = b"{}" if "Content-Length: 2" in fields else b""
    assert_problem(gateway.ask(request("GET", path, *fields) + body), "bad_request", 400, "client")
    assert not backend.seen(path)


@pytest.mark.parametrize("version", ["8", "0", "14", "13, 8", "x", None])
def test_another_version_gets_426_and_is_told_of_13(gateway: Gateway, backend: Backend, version: str | None) -> None:
    path = backend.serve(reply(), under="/ws")
    told = [] if version is None else [f"Sec-WebSocket-Version: {version}"]
    response = gateway.get(path, CONNECTION, UPGRADE, KEY_LINE, *told)
    assert_problem(response, "upgrade_required", 426, "client")
    assert response.value("sec-websocket-version") == "13"
    assert response.value("upgrade") == "websocket"
    assert not backend.seen(path)


ACCEPTED = {
    "options in any case": ["connection: keep-alive, upGRADE", "upgrade: WebSocket", VERSION, KEY_LINE],
    "options in two fields": ["Connection: keep-alive", CONNECTION, UPGRADE, VERSION, KEY_LINE],
    "another protocol beside it": [CONNECTION, "Upgrade: h2c, websocket", VERSION, KEY_LINE],
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
def test_a_handshake_may_be_spelled_in_several_ways(gateway: Gateway, backend: Backend, fields: list[str]) -> None:
    path = backend.serve(switching(), under="/ws")
    with gateway.client() as client:
        client.send(request("GET", path, *fields))
        head = client.head()
    assert head.start == b"HTTP/1.1 101 Switching Protocols"
    assert backend.one(path).values("connection") == ["Upgrade"]
    assert backend.one(path).values("upgrade") == ["websocket"]


def test_the_handshake_is_made_with_the_upstream(gateway: Gateway, backend: Backend) -> None:
    offered = "permessage-deflate; client_max_window_bits"
    agreed = switching("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat", "X-Own: 1")
    with opened(
        gateway,
        backend,
        "Sec-WebSocket-Protocol: superchat, chat",
        f"Sec-WebSocket-Extensions: {offered}",
        "Cookie: a=b",
        agreed=agreed,
    ) as pair:
        seen, head = pair.upstream.head, pair.client.head
        assert seen.value("sec-websocket-key") == KEY
        assert seen.value("sec-websocket-version") == "13"
        assert seen.value("sec-websocket-extensions") == offered
        assert seen.value("sec-websocket-protocol") == "superchat, chat"
        assert seen.value("cookie") == "a=b"
        assert seen.value("x-forwarded-for") == "127.0.0.1"
        assert seen.value("x-request-id") == head.value("x-request-id")
        assert head.value("sec-websocket-accept") == accept()
        assert head.value("sec-websocket-protocol") == "chat"
        assert head.value("sec-websocket-extensions") == "permessage-deflate"
        assert (head.value("upgrade"), head.value("connection")) == ("websocket", "Upgrade")
        assert head.value("x-own") == "1"
        assert not head.values("content-length") and not head.values("transfer-encoding")


PLAIN = {
    "a route without WebSockets": ("GET", "/plain", FIELDS),
    "another protocol": ("GET", "/ws", (CONNECTION, "Upgrade: h2c")),
    "another method": ("POST", "/ws", FIELDS),
    "no upgrade at all": ("GET", "/ws", (VERSION, KEY_LINE)),
}


@pytest.mark.parametrize(("method", "under", "fields"), PLAIN.values(), ids=PLAIN)
def test_what_asks_for_no_socket_goes_on_as_a_plain_request(
    gateway: Gateway, backend: Backend, method: str, under: str, fields: tuple[str, ...]
) -> None:
    path = backend.serve(reply(), under=under)
    assert gateway.ask(request(method, path, *fields, f"Sec-WebSocket-Protocol: bearer, {signed()}")).status == 200
    assert not {"upgrade", "connection", "sec-websocket-protocol"} & backend.one(path).names


def test_a_client_of_http_1_0_gets_a_plain_answer(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), under="/ws")
    lines = "\r\n".join([f"GET {path} HTTP/1.0", "Host: a", *FIELDS, "", ""])
    assert gateway.ask(lines.encode()).status == 200
    assert "upgrade" not in backend.one(path).names


REFUSALS = {
    "a 403 of its own": (reply(403, b'{"detail":"no"}'), 403),
    "a 404": (reply(404, b'{"detail":"no"}'), 404),
    "a redirect": (reply(302, b"", "Location: /elsewhere"), 302),
    "a plain 200": (reply(200), 200),
    "a 426": (reply(426, b"", "Upgrade: websocket", "Sec-WebSocket-Version: 12"), 426),
}


@pytest.mark.parametrize(("answer", "status"), REFUSALS.values(), ids=REFUSALS)
def test_an_upstreams_refusal_is_an_answer_and_the_connection_goes_on(
    gateway: Gateway, backend: Backend, answer: bytes, status: int
) -> None:
    path, after = backend.serve(answer, under="/ws"), backend.serve(reply(), under="/ws")
    with gateway.client() as client:
        assert client.ask(request("GET", path, *FIELDS)).status == status
        assert client.ask(request("GET", after)).status == 200


def test_an_error_of_the_upstream_is_retold(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(500, b"Traceback: secret"), under="/ws")
    assert b"secret" not in asked(gateway, path).data


BAD_ANSWERS = {
    "another key's": switching(key="AAAAAAAAAAAAAAAAAAAAAA=="),
    "no accept": b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "no Upgrade": f"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept()}\r\n\r\n".encode(),
    "no Connection": f"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept()}\r\n\r\n".encode(),
    "another protocol": switching().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    "a subprotocol that wasn't offered": switching("Sec-WebSocket-Protocol: chess"),
    "two subprotocols": switching("Sec-WebSocket-Protocol: chat, superchat"),
    "an extension that wasn't offered": switching("Sec-WebSocket-Extensions: permessage-deflate"),
}


@pytest.mark.parametrize("agreed", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_answer_that_a_client_would_break_off_for_is_a_502(
    gateway: Gateway, backend: Backend, agreed: bytes
) -> None:
    path = backend.serve(agreed, under="/ws")
    response = asked(gateway, path, "Sec-WebSocket-Protocol: chat, superchat")
    assert_problem(response, "upstream_bad_response", 502)


def test_a_switch_that_a_plain_request_did_not_ask_for_is_a_502(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(switching(), under="/ws")
    assert_problem(gateway.get(path), "upstream_bad_response", 502)


SPELLED = {"alone": UPGRADE, "beside another protocol": "Upgrade: h2c, websocket"}


@pytest.mark.parametrize("upgrade", SPELLED.values(), ids=SPELLED)
def test_a_client_that_speaks_before_it_is_answered_is_refused(
    gateway: Gateway, backend: Backend, upgrade: str
) -> None:
    """RFC 6455 section 4.1: and what it said may be a request that was hidden there."""
    path = backend.serve(switching(), under="/ws")
    early = request("GET", path, CONNECTION, upgrade, VERSION, KEY_LINE) + request("GET", "/plain/hidden")
    with gateway.client() as client:
        client.send(early)
        assert_problem(client.read(), "bad_request", 400, "client")
        assert client.wire.ended()
        for _ in range(50):
            client.send(b"more")  # is taken, and thrown away: a reset could overtake the answer
    assert not backend.seen("/plain/hidden")


@pytest.mark.parametrize("upgrade", SPELLED.values(), ids=SPELLED)
def test_a_client_that_speaks_while_it_waits_for_its_answer_is_refused(
    gateway: Gateway, backend: Backend, upgrade: str
) -> None:
    """Half of what may be a request, of which the other half would be taken for frames."""
    agrees, has_agreed = threading.Event(), threading.Event()

    def answer(peer: Peer) -> None:
        peer.wait(agrees)
        peer.send(switching())
        has_agreed.set()

    path = backend.serve(answer, under="/ws")
    with gateway.client() as client:
        client.send(request("GET", path, CONNECTION, upgrade, VERSION, KEY_LINE))
        backend.wait_for(path)
        stand_still(gateway.process.pid)
        try:
            client.send(request("GET", "/plain/hidden")[:-4])
            agrees.set()
            assert has_agreed.wait(30)
        finally:
            gateway.process.send_signal(signal.SIGCONT)
        assert_problem(client.read(), "bad_request", 400, "client")


TOKENS = {
    "in Authorization": ([as_user("u7")], None),
    "as a subprotocol": ([f"Sec-WebSocket-Protocol: bearer, {bearer(signed()).split()[-1]}"], "bearer"),
    "in two fields": (["Sec-WebSocket-Protocol: bearer", f"Sec-WebSocket-Protocol: {signed()}"], "bearer"),
}


@pytest.mark.parametrize(("fields", "selected"), TOKENS.values(), ids=TOKENS)
def test_a_token_opens_a_socket_in_either_way(
    gateway: Gateway, backend: Backend, fields: list[str], selected: str | None
) -> None:
    with opened(gateway, backend, *fields, under="/members") as pair:
        assert pair.client.head.value("sec-websocket-protocol") == selected
        assert pair.upstream.head.value("x-user-id") is not None
        assert not pair.upstream.head.values("sec-websocket-protocol")


@pytest.mark.parametrize(("chosen", "selected"), [("chat", "chat"), (None, "bearer")])
@pytest.mark.parametrize("under", ["/members", "/guests", "/ws"])
def test_a_token_among_subprotocols_does_not_go_on(
    gateway: Gateway, backend: Backend, under: str, chosen: str | None, selected: str
) -> None:
    token = signed()
    agreed = switching(*([f"Sec-WebSocket-Protocol: {chosen}"] if chosen else []))
    with opened(
        gateway, backend, f"Sec-WebSocket-Protocol: chat, bearer, {token}, superchat", under=under, agreed=agreed
    ) as pair:
        assert pair.client.head.value("sec-websocket-protocol") == selected
        assert pair.upstream.head.value("sec-websocket-protocol") == "chat, superchat"
        assert token not in str(pair.upstream.head.fields)
        assert token not in gateway.output


BAD_TOKENS = {
    "none": [],
    "bearer alone": ["Sec-WebSocket-Protocol: bearer"],
    "a bad one": ["Sec-WebSocket-Protocol: bearer, not.a.token"],
    "two": [as_user(), f"Sec-WebSocket-Protocol: bearer, {signed()}"],
}


@pytest.mark.parametrize("fields", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_without_a_good_token_there_is_no_socket(gateway: Gateway, backend: Backend, fields: list[str]) -> None:
    path = backend.serve(switching(), under="/members")
    assert_refused(asked(gateway, path, *fields), "unauthenticated")
    assert not backend.seen(path)


ORIGINS = {
    "the page's": ("/ws", [f"Origin: {PAGE}"], True),
    "none, as of an app": ("/ws", [], True),
    "a stranger's": ("/ws", ["Origin: https://evil.example"], False),
    "null": ("/ws", ["Origin: null"], False),
    "the page's with more behind it": ("/ws", [f"Origin: {PAGE}.evil.example"], False),
    "the page's and a stranger's": ("/ws", [f"Origin: {PAGE}", "Origin: https://evil.example"], False),
    "a stranger's to a public route": ("/widget", ["Origin: https://evil.example"], True),
}


@pytest.mark.parametrize(("under", "fields", "passes"), ORIGINS.values(), ids=ORIGINS)
def test_the_cors_policy_says_whose_pages_may_open_a_socket(
    gateway: Gateway, backend: Backend, under: str, fields: list[str], *, passes: bool
) -> None:
    if passes:
        with opened(gateway, backend, *fields, under=under) as pair:
            pair.pass_on(frame(TEXT, b"hi", mask=MASK), to_client=False)
    else:
        path = backend.serve(switching(), under=under)
        assert_refused(asked(gateway, path, *fields), "forbidden")
        assert not backend.seen(path)


CREDENTIALS = {
    "a listed page": (f"Origin: {PAGE}", True),
    "no page": ("X-Own: 1", True),
    "a stranger": ("Origin: https://evil.example", False),
}


@pytest.mark.parametrize(("field", "trusted"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_a_strangers_page_gets_a_socket_without_the_credentials_of_its_browser(
    gateway: Gateway, backend: Backend, field: str, *, trusted: bool
) -> None:
    ambient = ("Cookie: session=secret", "Authorization: Basic c2VjcmV0")
    with opened(gateway, backend, field, *ambient, under="/widget") as pair:
        head = pair.upstream.head
        assert [bool(head.values(name)) for name in ("cookie", "authorization")] == [trusted, trusted]


def test_handshakes_count_for_the_routes_limit(gateway: Gateway, backend: Backend) -> None:
    for _ in range(2):
        with opened(gateway, backend, under="/rare"):
            pass
    assert_refused(asked(gateway, backend.serve(switching(), under="/rare")), "rate_limited")


def test_established_sockets_count_as_streams_and_one_too_many_is_refused(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend, under="/few") as pair:
        assert samples(gateway, "gateway_upstream_streams")[("few",)] == 1
        assert samples(gateway, "gateway_websocket_active")[()] >= 1
        path = backend.serve(switching(), under="/few")
        assert_problem(asked(gateway, path), "upstream_pool_exhausted", 503)
        assert gateway.get(backend.serve(reply(), under="/few")).status == 200
        pair.client.send(close(1000, mask=MASK))
        pair.upstream.take_close()
        pair.upstream.send(close(1000))
        assert pair.client.take_close() == (1000, "")
        assert pair.client.ended()
    eventually(lambda: samples(gateway, "gateway_upstream_streams")[("few",)] == 0, "the stream is given back")


def test_a_client_that_leaves_during_its_handshake_frees_the_upstream(gateway: Gateway, backend: Backend) -> None:
    left = threading.Event()

    def silent(peer: Peer) -> None:
        peer.left()
        left.set()

    path = backend.serve(silent, under="/ws")
    with gateway.client() as client:
        client.send(request("GET", path, *FIELDS))
        backend.wait_for(path)
    assert left.wait(30)


def test_a_client_that_leaves_in_the_moment_of_its_101_is_no_fault(gateway: Gateway, backend: Backend) -> None:
    agrees, has_agreed = threading.Event(), threading.Event()

    def answer(peer: Peer) -> None:
        peer.wait(agrees)
        peer.send(switching())
        has_agreed.set()
        peer.left()

    path = backend.serve(answer, under="/ws")
    with gateway.client() as client:
        client.send(request("GET", path, *FIELDS))
        seen = backend.wait_for(path)
        stand_still(gateway.process.pid)
        try:
            agrees.set()
            assert has_agreed.wait(30)
            client.wire.sock.close()
        finally:
            gateway.process.send_signal(signal.SIGCONT)
    eventually(lambda: seen.connection.closed is not None, "the upstream's connection is closed")
    eventually(partial(in_log, gateway, path), "the request is over")
    assert in_log(gateway, path, '"code":"client_closed"')
    assert "Traceback" not in gateway.output


def test_a_finished_socket_stands_in_the_access_log_with_101_and_its_bytes(gateway: Gateway, backend: Backend) -> None:
    with opened(gateway, backend) as pair:
        pair.pass_on(frame(TEXT, b"12345", mask=MASK), to_client=False)
        pair.pass_on(frame(TEXT, b"123"), to_client=True)
    eventually(partial(in_log, gateway, pair.path), "the socket is logged")
    assert in_log(gateway, pair.path, '"bytes_in":11,"bytes_out":5,')


def in_log(gateway: Gateway, path: str, told: str = '"status":101') -> bool:
    return any(f'"{path}"' in line and told in line for line in gateway.output.splitlines())
