"""The harness itself: what it records, how it frames, which ends it takes for true ones."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from subprocess import PIPE

import pytest

from .harness import Backend, Client, Cut, Peer, chunked, eventually, peak_memory_of, reply, request


def test_a_backend_records_heads_and_bodies_byte_for_byte() -> None:
    with Backend() as backend, Client(backend.port) as client:
        path = backend.serve(reply(201, b"made", "Set-Cookie: a=1", "Set-Cookie: b=2"))
        client.send(
            b"POST " + path.encode() + b"/%27?x=? HTTP/1.1\r\nhOST:a\r\nX-Odd:  \xe9 \r\nContent-Length: 3\r\n\r\nabc"
        )
        answer = client.read()
        seen = backend.one(path)
        assert (seen.method, seen.target) == ("POST", path + "/%27?x=?")
        assert seen.head.lines == (b"hOST:a", b"X-Odd:  \xe9 ", b"Content-Length: 3")
        assert (seen.body.data, seen.body.complete) == (b"abc", True)
        assert (answer.status, answer.data, answer.values("set-cookie")) == (201, b"made", ["a=1", "b=2"])


def test_a_connection_is_kept_and_its_end_is_recorded() -> None:
    with Backend() as backend:
        with Client(backend.port) as client:
            for _ in range(3):
                assert client.ask(request("GET", "/")).status == 200
            assert [connection.requests for connection in backend.open_now()] == [3]
        eventually(lambda: not backend.open_now(), "the connection's end is seen")


@pytest.mark.parametrize("size", [0, 1, 65536, 3 << 20])
def test_chunked_bodies_are_read_to_their_true_end(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    pieces = [data[at : at + 50_000] for at in range(0, len(data), 50_000)]
    with Backend() as backend, Client(backend.port) as client:
        path = backend.serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*pieces))
        client.send(f"POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunked(*pieces))
        assert client.read().data == data
        body = backend.one(path).body
        assert (body.count, body.digest, body.framing) == (size, hashlib.sha256(data).hexdigest(), "chunked")


CUTS = {
    "a short length": b"Content-Length: 10\r\n\r\nabc",
    "a chunk cut within": b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "no last chunk": b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "no end after the last chunk": b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
}


@pytest.mark.parametrize("rest", CUTS.values(), ids=CUTS)
def test_a_cut_body_is_not_taken_for_a_whole_one(rest: bytes) -> None:
    def dying(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n" + rest)
        peer.close()

    with Backend() as backend, Client(backend.port) as client:
        assert not client.ask(request("GET", backend.serve(dying))).body.complete


def test_a_reset_is_told_from_a_clean_end() -> None:
    sent = threading.Event()

    def resetting(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        peer.wait(sent)
        peer.reset()

    def closing(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        peer.close()

    with Backend() as backend:
        with Client(backend.port) as client:
            client.send(request("GET", backend.serve(resetting)))
            head = client.head()
            sent.set()
            assert not client.body_of(head).complete
        with Client(backend.port) as client:
            assert client.ask(request("GET", backend.serve(closing))).data == b"ab"


def test_an_end_before_any_answer_is_a_cut() -> None:
    with Backend() as backend, Client(backend.port) as client, pytest.raises(Cut):
        client.ask(request("GET", backend.serve(Peer.close)))


def test_a_backend_tells_when_its_peer_left() -> None:
    left: list[float] = []
    with Backend() as backend, Client(backend.port) as client:
        client.send(request("GET", path := backend.serve(lambda peer: left.append(peer.left()))))
        backend.wait_for(path)
        client.reset()
        eventually(lambda: left, "the reset is seen")


def test_a_processes_peak_of_memory_is_seen_after_it_went() -> None:
    program = "import sys\nfor line in sys.stdin: bytearray(64 << 20); print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with peak_memory_of(process.pid) as growth:
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"\n"
        assert 60 << 20 < growth.added < 80 << 20
        with peak_memory_of(process.pid) as growth:
            pass
        assert growth.added < 8 << 20
        process.stdin.close()
