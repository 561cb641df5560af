"""Names whose addresses change while connections to them are kept (libnss_wrapper gives the gateway names of ours)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Gateway, eventually, reply, running, write_table
from .harness.backend import Backend

LIBRARY = "libnss_wrapper.so"
TABLE = 'auth = "public"\nrate_limit = "off"\n[[route]]\npath = "/b/{x}"\nupstream = "b"\n'
WITHIN = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[Backend, Backend]]:
    """Two backends on one port, at 127.0.0.1 and at 127.0.0.2."""
    with Backend() as first, Backend(port=first.port, host="127.0.0.2") as second:
        for each, name in ((first, b"first"), (second, b"second")):
            each.serve(reply(200, name), at="/b/x")
        yield first, second


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """The gateway's own file of hosts."""
    return tmp_path / "hosts"


def rewrite(names: Path, text: str) -> None:
    """Change the file so that it is noticed: the library looks at its time, in whole seconds."""
    later = names.stat().st_mtime + 10
    names.write_text(text)
    os.utime(names, (later, later))


@pytest.fixture
def named(tmp_path: Path, names: Path, pair: tuple[Backend, Backend]) -> Iterator[Gateway]:
    names.write_text("127.0.0.1 moving.test\n")
    config = write_table(tmp_path / "config", f'b = {{ url = "http://moving.test:{pair[0].port}" }}', TABLE)
    with running(
        config, LD_PRELOAD=LIBRARY, NSS_WRAPPER_HOSTS=str(names), GATEWAY_POOL_KEEPALIVE_TIMEOUT="300"
    ) as gateway:
        yield gateway


def test_connections_follow_a_name_whose_address_changes(
    named: Gateway, names: Path, pair: tuple[Backend, Backend]
) -> None:
    """Requests come all the time, so that no connection is ever idle for long enough to be closed for that."""
    assert named.get("/b/x").data == b"first"
    rewrite(names, "127.0.0.2 moving.test\n")
    began = time.monotonic()
    eventually(lambda: named.get("/b/x").data == b"second", "requests go to the new address", within=WITHIN)
    assert time.monotonic() - began < WITHIN
    assert {named.get("/b/x").data for _ in range(10)} == {b"second"}
    eventually(lambda: pair[0].open_now() == [], "connections to the old one close")


def test_a_name_that_has_no_address_for_a_while_keeps_its_connections(
    named: Gateway, names: Path, pair: tuple[Backend, Backend]
) -> None:
    assert named.get("/b/x").data == b"first"
    rewrite(names, "127.0.0.3 another.test\n")
    until = time.monotonic() + 6  # more than one look at the name
    while time.monotonic() < until:
        assert named.get("/b/x").data == b"first"
    assert len(pair[0].connections) == 1
