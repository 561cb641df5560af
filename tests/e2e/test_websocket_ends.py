"""How the gateway itself ends WebSockets: after silence, in a drain, and when nobody answers its Close."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .harness import Backend, Gateway, eventually, running, write_table
from .harness.guards import samples
from .harness.sockets import MASK, PING, TEXT, close, frame, opened

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"
[[route]]
path = "/ws/{rest:path}"
websocket = true
timeout = 0.5
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Path:
    upstreams = f'main = {{ url = "{backend.url}" }}'
    return write_table(tmp_path_factory.mktemp("ends") / "config", upstreams, ROUTES)


@pytest.fixture(scope="module")
def hasty(config: Path) -> Iterator[Gateway]:
    with running(config, GATEWAY_STREAM_IDLE_TIMEOUT="1") as gateway:
        yield gateway


def ended_by(gateway: Gateway, reason: str) -> bool:
    return samples(gateway, "gateway_websocket_closes_total").get((reason,), 0) > 0


def test_a_socket_that_is_silent_at_both_ends_is_closed_with_1001(hasty: Gateway, backend: Backend) -> None:
    with opened(hasty, backend) as pair:
        assert pair.client.take_close() == (1001, "nothing was said for too long")
        assert pair.upstream.take_close() == (1001, "nothing was said for too long")
        pair.client.send(close(1001, mask=MASK))
        pair.upstream.send(close(1001))
        assert pair.client.ended() and pair.upstream.ended()
    eventually(partial(ended_by, hasty, "idle"), "it is counted as idle")


def test_a_socket_lives_as_long_as_either_end_says_something(hasty: Gateway, backend: Backend) -> None:
    """Longer than the route's tier and the idle timeout together; each ping is answered before the next."""
    with opened(hasty, backend) as pair:
        for _ in range(7):
            pair.pass_on(frame(PING, b"still here", mask=MASK), to_client=False)
            pair.client.wire.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                pair.client.wire.sock.recv(1)
        pair.client.wire.sock.settimeout(10)
        pair.pass_on(frame(TEXT, b"bye"), to_client=True)


def test_a_reload_that_takes_a_sockets_upstream_away_leaves_the_socket(tmp_path: Path, backend: Backend) -> None:
    folder = write_table(tmp_path / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)
    with running(folder) as gateway, opened(gateway, backend) as pair:
        (folder / "upstreams.toml").write_text(f'other = {{ url = "{backend.url}" }}')
        routes = folder / "routes" / "test.toml"
        routes.write_text(ROUTES.replace('"main"', '"other"').replace("/ws/", "/moved/"))
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: gateway.get("/ws/x").status == 404, "the route is gone")
        pair.pass_on(frame(TEXT, b"still here", mask=MASK), to_client=False)
        pair.pass_on(frame(TEXT, b"so am I"), to_client=True)
        pair.client.leave()
        assert pair.upstream.ended()


def test_a_drain_closes_sockets_with_1001_and_waits_for_their_answers(config: Path, backend: Backend) -> None:
    with running(config, GATEWAY_DRAIN_TIMEOUT="4") as gateway, opened(gateway, backend) as pair:
        with opened(gateway, backend) as torn:
            torn.upstream.send(frame(TEXT, bytes(100))[:50])
            assert len(torn.client.take(50)) == 50
            gateway.process.send_signal(signal.SIGTERM)
            pair.pass_on(frame(TEXT, b"still there", mask=MASK), to_client=False)
            assert pair.client.take_close() == (1001, "the gateway is going away")
            assert pair.upstream.take_close() == (1001, "the gateway is going away")
            assert torn.upstream.take_close()[0] == 1001
            torn.upstream.send(frame(TEXT, bytes(100))[50:])
            assert len(torn.client.take(52)) == 52, "its frame came to its end first"
            assert torn.client.take_close()[0] == 1001
            for each in (pair, torn):
                each.client.send(close(1001, mask=MASK))
                each.upstream.send(close(1001))
                assert each.client.ended() and each.upstream.ended()
                each.client.leave()
                each.upstream.leave()
        gateway.ended()


def test_a_socket_that_is_cut_off_is_not_logged_as_its_clients_doing(config: Path, backend: Backend) -> None:
    with running(config) as gateway, opened(gateway, backend) as pair:
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: '"draining"' in gateway.output, "the drain has begun")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.ended()
        (line,) = (json.loads(line) for line in gateway.output.splitlines() if pair.path in line)
        assert (line["code"], line["ended_by"]) == ("draining", "gateway")
