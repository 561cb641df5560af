"""Memory stays flat: bodies pass through in bounded space. The largest runs are the bench's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from .harness import Backend, Gateway, Peer, elapsed, peak_memory_of, reply, request, running, write_table

MIB = 1 << 20
SIZE = 512 * MIB
ROUTES = """
[[route]]
path = "/large/{rest:path}"
upstream = "main"
auth = "public"
rate_limit = "off"
max_body = "2 GiB"
"""


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    """A gateway that has seen an upload and a download, so that what it keeps for good is there."""
    upstreams = f'main = {{ url = "{backend.url}" }}'
    with running(write_table(tmp_path_factory.mktemp("flat") / "config", upstreams, ROUTES)) as gateway:
        upload(gateway, backend.serve(reply(), "/large"), 16 * MIB)
        download(gateway, backend.serve(pouring(16 * MIB), "/large"))
        yield gateway


def upload(gateway: Gateway, path: str, size: int) -> None:
    """Send `size` bytes and expect 200."""
    piece = bytes(MIB)
    with gateway.client(timeout=60) as client:
        client.send(request("POST", path, f"Content-Length: {size}"))
        for _ in range(size // MIB):
            client.sock.sendall(piece)
        assert client.read().status == 200


def pouring(size: int) -> Callable[[Peer], None]:
    """An answer of `size` bytes."""

    def answer(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = bytes(MIB)
        for _ in range(size // MIB):
            peer.send(piece)

    return answer


def download(gateway: Gateway, path: str) -> int:
    """Read an answer whole; its size."""
    with gateway.client(timeout=60) as client:
        answer = client.ask(request("GET", path))
        assert answer.body.complete
        return answer.body.count


def test_an_upload_of_512_mib_adds_at_most_16_mib(flat: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/large")
    with peak_memory_of(flat.process.pid) as growth, elapsed() as taken:
        upload(flat, path, SIZE)
    print(f"upload of 512 MiB: {growth}, in {taken.seconds:.1f} s")
    assert backend.one(path).body.count == SIZE
    assert growth.added <= 16 * MIB


def test_a_download_of_512_mib_adds_at_most_16_mib(flat: Gateway, backend: Backend) -> None:
    path = backend.serve(pouring(SIZE), "/large")
    with peak_memory_of(flat.process.pid) as growth, elapsed() as taken:
        assert download(flat, path) == SIZE
    print(f"download of 512 MiB: {growth}, in {taken.seconds:.1f} s")
    assert growth.added <= 16 * MIB


def test_16_uploads_at_once_stay_within_bounds(flat: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(), "/large")
    threads = [threading.Thread(target=upload, args=(flat, path, 64 * MIB)) for _ in range(16)]
    with peak_memory_of(flat.process.pid) as growth, elapsed() as taken:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"16 uploads of 64 MiB: {growth}, in {taken.seconds:.1f} s")
    assert [seen.body.count for seen in backend.seen(path)] == [64 * MIB] * 16
    assert growth.added <= 48 * MIB
