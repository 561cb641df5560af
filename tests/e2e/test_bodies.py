"""Bodies both ways: framing, sizes, answers without one, and the order of answers on one connection."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from aiogateway.proxy.parsing import BODY_BUFFER
from aiogateway.upstreams.intake import FIRST

from .harness import Backend, Gateway, Peer, chunked, reply, request

SIZES = (0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 192 << 10, 300_000, 5 << 20)
PATTERN = bytes(range(251))


def bytes_of(size: int) -> bytes:
    """Bytes whose order can be told from their digest."""
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


def in_chunks(data: bytes, size: int = 37_000) -> bytes:
    """`data` in the chunked coding."""
    return chunked(*(data[at : at + size] for at in range(0, len(data), size)))


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_a_request_body_with_a_length_arrives_whole(gateway: Gateway, backend: Backend, size: int) -> None:
    path = backend.serve(reply(), under="/large")
    assert gateway.send("POST", path, body=bytes_of(size)).status == 200
    seen = backend.one(path)
    assert (seen.body.count, seen.body.digest) == (size, digest(bytes_of(size)))
    assert seen.values("content-length") == [str(size)]
    assert "transfer-encoding" not in seen.names


@pytest.mark.parametrize("size", SIZES)
def test_a_chunked_request_body_arrives_whole(gateway: Gateway, backend: Backend, size: int) -> None:
    path = backend.serve(reply(), under="/large")
    head = request("POST", path, "Transfer-Encoding: chunked")
    assert gateway.ask(head + in_chunks(bytes_of(size))).status == 200
    body = backend.one(path).body
    assert (body.count, body.digest, body.complete) == (size, digest(bytes_of(size)), True)


def test_chunk_extensions_and_trailers_are_understood(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    body = b'5;name=value\r\nhello\r\n006;q="a;b"\r\n world\r\n0;last\r\nX-User-Id: root\r\nX-Trailer: 1\r\n\r\n'
    with gateway.client() as client:
        assert client.ask(request("POST", path, "Transfer-Encoding: chunked") + body).status == 200
        assert client.ask(request("GET", path)).status == 200
    first = backend.seen(path)[0]
    assert first.body.data == b"hello world"
    assert "x-user-id" not in first.names
    assert not any(b"X-User-Id" in line for line in first.body.trailers)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_a_request_without_a_body_gets_none(gateway: Gateway, backend: Backend, method: str) -> None:
    path = backend.serve(reply())
    assert gateway.send(method, path).status == 200
    seen = backend.one(path)
    assert "transfer-encoding" not in seen.names
    assert seen.values("content-length") in ([], ["0"])
    assert method != "GET" or "content-length" not in seen.names


def test_a_get_and_a_delete_may_have_a_body(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    for method in ("GET", "DELETE"):
        assert gateway.send(method, path, body=b"abc").status == 200
    assert [seen.body.data for seen in backend.seen(path)] == [b"abc", b"abc"]


@pytest.mark.parametrize("coding", ["gzip", "br", "made-up"])
def test_coded_bodies_are_not_touched(gateway: Gateway, backend: Backend, coding: str) -> None:
    data = gzip.compress(b"hello" * 1000)
    path = backend.serve(reply(200, data, f"Content-Encoding: {coding}", kind="text/plain"))
    answer = gateway.send("POST", path, f"Content-Encoding: {coding}", "Accept-Encoding: gzip", body=data)
    seen = backend.one(path)
    assert (seen.body.data, seen.value("content-encoding")) == (data, coding)
    assert (answer.data, answer.value("content-encoding")) == (data, coding)


@dataclass(frozen=True)
class Shape:
    """A way to frame an answer: its fields, its body's coding, and whether its end is the connection's."""

    fields: Callable[[int], bytes]
    coded: Callable[[bytes], bytes]
    closes: bool = False


SHAPES = {
    "length": Shape(lambda size: b"Content-Length: %d\r\n" % size, lambda data: data),
    "chunked": Shape(lambda _: b"Transfer-Encoding: chunked\r\n", in_chunks),
    "close": Shape(lambda _: b"Connection: close\r\n", lambda data: data, closes=True),
}


def answering(shape: Shape, data: bytes) -> Callable[[Peer], None]:
    """An answer of this shape."""

    def answer(peer: Peer) -> None:
        peer.read_body()
        peer.send(b"HTTP/1.1 200 OK\r\n" + shape.fields(len(data)) + b"\r\n" + shape.coded(data))
        if shape.closes:
            peer.close()

    return answer


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_response_body_arrives_whole_and_the_connection_stays(
    gateway: Gateway, backend: Backend, shape: str, size: int
) -> None:
    path = backend.serve(answering(SHAPES[shape], bytes_of(size)))
    with gateway.client() as client:
        for _ in range(2):
            answer = client.ask(request("GET", path))
            assert (answer.body.count, answer.body.digest) == (size, digest(bytes_of(size)))
            assert answer.body.complete
            assert answer.body.framing == ("length" if shape == "length" else "chunked")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_client_of_http_1_0_gets_no_chunks(gateway: Gateway, backend: Backend, shape: str, size: int) -> None:
    path = backend.serve(answering(SHAPES[shape], bytes_of(size)))
    with gateway.client() as client:
        answer = client.ask(f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
        assert (answer.body.count, answer.body.digest) == (size, digest(bytes_of(size)))
        assert answer.body.complete
        assert "transfer-encoding" not in dict(answer.head.fields)
        assert client.hung_up()


def test_chunk_extensions_and_trailers_of_an_answer_do_not_disturb(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nServer: secret\r\n\r\n"
    )
    with gateway.client() as client:
        for _ in range(2):
            assert client.ask(request("GET", path)).data == b"hello"


BODILESS = {
    "HEAD with a length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", "12345"),
    "HEAD of chunks": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    "HEAD with neither": ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", None),
    "HEAD that failed": ("HEAD", b"HTTP/1.1 404 No\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n", "any"),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
    "204 to a POST": ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", None),
    "304": ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', None),
    "304 with a length": ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 500\r\n\r\n', "500"),
}


@pytest.mark.parametrize(("method", "said", "length"), BODILESS.values(), ids=BODILESS)
def test_answers_without_a_body_keep_the_connection(
    gateway: Gateway, backend: Backend, method: str, said: bytes, length: str | None
) -> None:
    path, after = backend.serve(said), backend.serve(reply(200, b"after"))
    with gateway.client() as client:
        answer = client.ask(request(method, path))
        assert answer.status == int(said.split()[1])
        assert length == "any" or answer.value("content-length") == length
        assert client.ask(request("GET", after)).data == b"after"
    assert gateway.get(after).data == b"after"


def test_a_connection_is_kept_until_a_side_says_close(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with gateway.client() as client:
        for _ in range(3):
            assert client.ask(request("GET", path)).data == b"ok"
        assert client.ask(request("GET", path, "Connection: close")).data == b"ok"
        assert client.hung_up()


def test_an_upstreams_close_does_not_close_the_client(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(
        answering(Shape(lambda size: b"Content-Length: %d\r\nConnection: close\r\n" % size, bytes, True), b"ok")
    )
    with gateway.client() as client:
        for _ in range(3):
            assert client.ask(request("GET", path)).data == b"ok"
    assert len({seen.connection.number for seen in backend.seen(path)}) == 3


def test_pipelined_requests_are_answered_in_order(gateway: Gateway, backend: Backend) -> None:
    go_on = threading.Event()

    def waiting(peer: Peer) -> None:
        peer.wait(go_on)
        peer.send(reply(200, b"first"))

    first = backend.serve(waiting)
    rest = [backend.serve(reply(200, b"%d" % number)) for number in range(5)]
    with gateway.client() as client:
        client.send(request("GET", first) + b"".join(request("POST", path, body=b"x" * 100) for path in rest))
        backend.wait_for(first)
        go_on.set()
        assert [client.read().data for _ in range(6)] == [b"first", b"0", b"1", b"2", b"3", b"4"]
    assert [backend.one(path).body.count for path in rest] == [100] * 5


def test_a_head_may_come_byte_by_byte(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(200, b"ok"))
    with gateway.client() as client:
        client.send(b"POST")
        for byte in request("POST", path + "?a=%27", "X-A: 1", body=b"abc")[4:]:
            client.sock.sendall(bytes([byte]))
        assert client.read().data == b"ok"
    seen = backend.one(path)
    assert (seen.target, seen.value("x-a"), seen.body.data) == (path + "?a=%27", "1", b"abc")


def test_an_answer_may_come_byte_by_byte(gateway: Gateway, backend: Backend) -> None:
    whole = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"

    def drop_by_drop(peer: Peer) -> None:
        for byte in whole:
            peer.send(bytes([byte]))

    answer = gateway.get(backend.serve(drop_by_drop))
    assert (answer.data, answer.value("x-a")) == (b"hello!", "1")


@pytest.mark.parametrize("together", [True, False], ids=["in one write", "one after the other"])
def test_a_trailer_of_one_request_is_never_a_field_of_the_next(
    gateway: Gateway, backend: Backend, together: bool
) -> None:
    first, second = backend.serve(reply()), backend.serve(reply())
    chunked = (
        f"POST {first} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Smuggled: 1\r\n\r\n"
    )
    with gateway.client() as client:
        if together:
            client.send(chunked.encode() + request("GET", second))
            assert client.read().status == 200
            assert client.hung_up()
        else:
            assert client.ask(chunked.encode()).status == 200
            assert client.ask(request("GET", second)).status == 200
            assert backend.wait_for(second).values("x-smuggled") == []


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
@pytest.mark.parametrize("more", [-1, 0, 1, 100_000, 200_000])
def test_an_answer_that_fills_what_its_beginning_is_read_into(
    gateway: Gateway, backend: Backend, framing: str, more: int
) -> None:
    """The gateway reads no more than so much before it has looked at a head, and has to go on behind it."""
    head = "HTTP/1.1 200 OK\r\n" + {"length": "Content-Length: {:>7}", "chunks": "Transfer-Encoding: chunked"}.get(
        framing, "Connection: close"
    )
    size = FIRST + more - len(head.format(0)) - len("\r\n\r\n")
    if framing == "chunks":
        size -= len(f"{size:x}\r\n\r\n0\r\n\r\n")
    body = bytes_of(size)
    raw = head.format(size).encode() + b"\r\n\r\n" + (chunked(body) if framing == "chunks" else body)
    assert len(raw) == FIRST + more

    def answer(peer: Peer) -> None:
        peer.send(raw)
        if framing == "close":
            peer.close()

    path = backend.serve(answer)
    with gateway.client() as client:
        for _ in range(2):
            assert digest(client.ask(request("GET", path)).data) == digest(body)


def test_an_answer_whose_head_alone_fills_what_its_beginning_is_read_into(gateway: Gateway, backend: Backend) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n" + b"X-A: %b\r\n" % (b"a" * 16_000) * 3
    head += b"X-A: %b\r\n\r\n" % (b"a" * (FIRST - len(head) - len("X-A: \r\n\r\n")))
    assert len(head) == FIRST
    path = backend.serve(head + bytes_of(1000))
    with gateway.client() as client:
        for _ in range(2):
            assert client.ask(request("GET", path)).data == bytes_of(1000)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"5\r\nagain\r\n5\r\n, bye\r\n0\r\n\r\n"
# aiohttp keeps no more chunks that were not read.
TINY = b"5\r\nhello\r\n" * (BODY_BUFFER // 16 + 1)


def filling(into: int) -> bytes:
    """A chunk that ends so many bytes before what an answer's beginning is read into."""
    size = FIRST - len(CHUNKED) - len("ffff\r\n\r\n") - into
    return b"%04x\r\n%b\r\n" % (size, bytes_of(size))


@pytest.mark.parametrize(
    ("beginning", "into"),
    [*((filling(into), into) for into in range(4)), (TINY, 0)],
    ids=[*(f"{into} bytes into the next" for into in range(4)), "tiny ones"],
)
def test_the_beginning_of_an_answer_may_end_between_two_chunks(
    gateway: Gateway, backend: Backend, beginning: bytes, into: int
) -> None:
    """A parser that is told to pause finds no bytes of the body there to pause at."""
    go_on = threading.Event()

    def answer(peer: Peer) -> None:
        peer.send(CHUNKED + beginning + LAST[:into])
        peer.wait(go_on)
        peer.send(LAST[into:])

    with gateway.client() as client:
        client.send(request("GET", backend.serve(answer)))
        head = client.head()
        go_on.set()
        assert client.body_of(head).complete


def test_so_may_that_of_a_request(gateway: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    with gateway.client() as client:
        client.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + TINY)
        assert client.silent(0.3)
        client.send(LAST)
        assert client.read().status == 200
    assert backend.one(path).body.data.endswith(b"hellohelloagain, bye")
