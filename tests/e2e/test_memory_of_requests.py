"""What odd requests leave behind: nothing, however many come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Backend, Gateway, Peer, memory, reply, request, running, write_table

MIB = 1 << 20
ROUTES = """
[[route]]
path = "/b/{rest:path}"
upstream = "main"
auth = "public"
rate_limit = "off"
"""


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Backend]:
    """A backend that keeps no record, as the records would be larger than what is measured."""
    with Backend() as running_backend:
        yield running_backend


@pytest.fixture(scope="module")
def path(forgetful: Backend) -> str:
    """Answered at once."""

    def answer(peer: Peer) -> None:
        peer.read_body()
        forgetful.requests.clear()
        peer.send(reply())

    return forgetful.serve(answer)


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory, forgetful: Backend) -> Iterator[Gateway]:
    """A gateway of its own for each test: what one left behind would be there for the next to use again."""
    folder = tmp_path_factory.mktemp("memory") / "config"
    with running(write_table(folder, f'main = {{ url = "{forgetful.url}" }}', ROUTES)) as running_gateway:
        yield running_gateway


@pytest.mark.parametrize("fields", [["Connection: close"], []], ids=["the last request", "not the last"])
def test_a_request_with_half_an_upload_behind_it_leaves_nothing(gateway: Gateway, path: str, fields: list[str]) -> None:
    both = request("GET", path, *fields)
    both += request("POST", path, "Content-Length: 800000") + bytes(240_000)

    def ask(times: int) -> None:
        for _ in range(times):
            with gateway.client() as client:
                client.push(both)
                assert client.read().status in (200, 400)  # bytes behind the last request are an error to the parser

    ask(20)
    before = memory(gateway.process.pid)
    ask(600)
    grown = memory(gateway.process.pid) - before
    assert grown < 30 * MIB, f"grown by {grown / MIB:.1f} MiB"


def test_made_up_field_names_are_not_remembered(gateway: Gateway, path: str) -> None:
    def ask(beginning: str, times: int) -> None:
        with gateway.client() as client:
            for number in range(times):
                name = f"{beginning}-{number}-".ljust(20_000, "a")
                assert client.ask(request("GET", path, f"{name}: v")).status == 200

    ask("x", 100)
    before = memory(gateway.process.pid)
    ask("y", 3000)
    grown = memory(gateway.process.pid) - before
    assert grown < 20 * MIB, f"grown by {grown / MIB:.1f} MiB"
