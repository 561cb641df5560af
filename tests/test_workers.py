"""Listening sockets."""

from __future__ import annotations

import socket

import pytest

from aiogateway.workers import CannotListen, listen
from tests.programs import run


def test_listening_takes_an_address_and_keeps_it() -> None:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"^can't listen on 127\.0\.0\.1 port {port}: Address already in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "not a name", "256.0.0.1", "a..b", "a" * 64])
def test_an_address_that_is_not_ours_is_one_line(host: str) -> None:
    with pytest.raises(CannotListen) as caught:
        listen(host, 0)
    assert str(caught.value).startswith(f"can't listen on {host} port 0: ")
    assert "\n" not in str(caught.value)


def test_both_families_can_be_listened_on() -> None:
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with listen(host, 0) as listener:
            assert listener.family == family
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


def test_the_module_imports_without_side_effects() -> None:
    ended = run("import signal, aiogateway.workers; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))")
    assert (ended.stdout.strip(), ended.returncode) == ("set()", 0)
