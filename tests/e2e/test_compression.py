"""Answers in content codings, as clients get them from the running gateway."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator

import brotli
import pytest
from backports import zstd

from .harness import Backend, Gateway, Peer, Response, reply, request, running, write_table

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

[[route]]
path = "/plain/{rest:path}"
compress = false

[[route]]
path = "/kept/{rest:path}"
cache = 600
"""
TEXT = b'{"text": "' + b"again and again " * 400 + b'"}'
LARGE = b"".join(b'{"number": %d}' % number for number in range(40_000))
ALL = "Accept-Encoding: gzip, deflate, br, zstd"
DECODE = {
    "gzip": lambda data: zlib.decompress(data, 31),
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@pytest.fixture(scope="module")
def gateway(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    table = write_table(tmp_path_factory.mktemp("compression") / "table", UPSTREAMS.format(url=backend.url), ROUTES)
    with running(table) as running_gateway:
        yield running_gateway


def ask(gateway: Gateway, path: str, *fields: str, method: str = "GET") -> Response:
    return gateway.ask(request(method, path, *fields))


def decoded(answer: Response) -> bytes:
    """An answer's body as it was before it was encoded."""
    coding = answer.value("content-encoding")
    return answer.data if coding is None else bytes(DECODE[coding](answer.data))


@pytest.mark.parametrize("under", ["/b", "/kept"])
@pytest.mark.parametrize("body", [TEXT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("coding", [*DECODE, None])
def test_a_client_gets_the_coding_it_takes(
    gateway: Gateway, backend: Backend, under: str, coding: str | None, body: bytes
) -> None:
    path = backend.serve(reply(200, body, 'ETag: "a"', "Accept-Ranges: bytes"), under=under)
    for _ in range(2):
        answer = ask(gateway, path, *(() if coding is None else (f"Accept-Encoding: {coding}",)))
        assert (answer.status, answer.value("content-encoding"), decoded(answer)) == (200, coding, body)
        assert answer.values("vary") == ["Accept-Encoding", "Origin"]
        assert answer.value("etag") == ('"a"' if coding is None else 'W/"a"')
        assert answer.value("accept-ranges") == ("bytes" if coding is None else None)
        assert coding is None or len(answer.data) < len(body) / 3


@pytest.mark.parametrize(
    ("fields", "kind", "body", "status"),
    [
        (("Content-Encoding: gzip",), "application/json", zlib.compress(TEXT, 6, 31), 200),
        (("Cache-Control: no-transform",), "application/json", TEXT, 200),
        (("Content-Range: bytes 0-9/1",), "application/json", TEXT, 206),
        ((), "image/png", TEXT, 200),
        ((), "application/json", TEXT[:1023], 200),
        ((), "", TEXT, 200),
    ],
)
def test_what_must_or_need_not_be_encoded_stays(
    gateway: Gateway, backend: Backend, fields: tuple[str, ...], kind: str, body: bytes, status: int
) -> None:
    path = backend.serve(reply(status, body, *fields, kind=kind))
    answer = ask(gateway, path, ALL)
    assert (answer.status, answer.data) == (status, body)


def test_a_route_may_leave_answers_plain(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, TEXT), under="/plain")
    answer = ask(gateway, path, ALL)
    assert (answer.value("content-encoding"), answer.value("vary"), answer.data) == (None, "Origin", TEXT)


def test_a_client_that_takes_nothing_plain_gets_little_encoded_too(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"{}"))
    answer = ask(gateway, path, "Accept-Encoding: br, identity;q=0")
    assert (answer.value("content-encoding"), decoded(answer)) == ("br", b"{}")


@pytest.mark.parametrize("under", ["/b", "/kept"])
@pytest.mark.parametrize("coding", DECODE)
def test_a_late_chunk_waits_for_nothing(gateway: Gateway, backend: Backend, coding: str, under: str) -> None:
    go = threading.Event()

    def drips(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        peer.wait(go)
        peer.send(b"6\r\nsecond\r\n0\r\n\r\n")

    path = backend.serve(drips, under=under)
    decoder = {"gzip": zlib.decompressobj(31), "br": brotli.Decompressor(), "zstd": zstd.ZstdDecompressor()}[coding]
    feed = decoder.process if coding == "br" else decoder.decompress
    with gateway.client() as client:
        client.send(request("GET", path, f"Accept-Encoding: {coding}"))
        head = client.head()
        assert head.value("content-encoding") == coding
        read = b""
        while b"first" not in read:
            read += feed(client.wire.chunk())
        assert read == b"first"
        go.set()
        while not read.endswith(b"second"):
            read += feed(client.wire.chunk())


def test_events_are_given_as_they_are(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"data: x\n\n" * 500, kind="text/event-stream"))
    answer = ask(gateway, path, ALL)
    assert (answer.value("content-encoding"), answer.data) == (None, b"data: x\n\n" * 500)


@pytest.mark.parametrize("under", ["/b", "/kept"])
def test_a_head_says_what_a_get_would(gateway: Gateway, backend: Backend, under: str) -> None:
    def answer(peer: Peer) -> None:
        whole = reply(200, TEXT, 'ETag: "a"')
        peer.send(whole if peer.request.method == "GET" else whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")

    path = backend.serve(answer, under=under)
    if under == "/kept":
        ask(gateway, path)
    with gateway.client() as client:
        client.send(request("HEAD", path, ALL))
        head = client.head()
    full = ask(gateway, path, ALL)
    for name in ("content-encoding", "etag", "content-type"):
        assert head.value(name) == full.value(name)
    assert head.values("vary") == full.values("vary")
    assert head.value("content-length") in (None, full.value("content-length"))


@pytest.mark.parametrize("under", ["/b", "/kept"])
def test_a_client_that_has_the_encoded_answer_is_told_so(gateway: Gateway, backend: Backend, under: str) -> None:
    def answer(peer: Peer) -> None:
        has = "W/" in (peer.request.value("if-none-match") or "")
        peer.send(b'HTTP/1.1 304 X\r\nETag: "a"\r\n\r\n' if has else reply(200, TEXT, 'ETag: "a"'))

    path = backend.serve(answer, under=under)
    first = ask(gateway, path, ALL)
    second = ask(gateway, path, ALL, f"If-None-Match: {first.value('etag')}")
    assert (first.value("etag"), second.status, second.value("etag")) == ('W/"a"', 304, 'W/"a"')
    assert second.values("vary") == first.values("vary")


def test_an_old_client_reads_to_the_end_of_the_connection(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, LARGE))
    with gateway.client() as client:
        client.send(b"GET " + path.encode() + b" HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        answer = client.read()
    assert (answer.value("transfer-encoding"), decoded(answer)) == (None, LARGE)


@pytest.mark.parametrize("under", ["/b", "/kept"])
def test_an_upstream_that_dies_mid_body_leaves_no_whole_answer(gateway: Gateway, backend: Backend, under: str) -> None:
    go = threading.Event()

    def dies(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000\r\n\r\n" + b"x" * 4000)
        peer.wait(go)
        peer.close()

    path = backend.serve(dies, under=under)
    with gateway.client() as client:
        client.send(request("GET", path, ALL))
        head = client.head()
        go.set()
        assert not client.body_of(head).complete


def test_ten_megabytes_without_a_length_flow(gateway: Gateway, backend: Backend) -> None:
    def much(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(160):
            peer.send(b"10000\r\n" + b"0123456789abcdef" * 4096 + b"\r\n")
        peer.send(b"0\r\n\r\n")

    path = backend.serve(much)
    assert decoded(ask(gateway, path, ALL)) == b"0123456789abcdef" * 4096 * 160


def test_a_stored_answer_is_cut_from_its_plain_body(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, TEXT, 'ETag: "a"'), under="/kept")
    ask(gateway, path, ALL)
    part = ask(gateway, path, ALL, "Range: bytes=0-9")
    assert (part.status, part.data, part.value("etag"), part.value("content-encoding")) == (206, TEXT[:10], '"a"', None)
    backend.one(path)


def test_the_upstream_of_a_cached_route_is_asked_for_a_plain_answer_once(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, TEXT), under="/kept")
    for coding in DECODE:
        assert decoded(ask(gateway, path, f"Accept-Encoding: {coding}")) == TEXT
    assert backend.one(path).values("accept-encoding") == ["identity"]
