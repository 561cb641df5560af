"""What the admin listener says of itself: no more than its name."""

from __future__ import annotations

import pytest

from .harness import Client, Gateway, request

ASKED = {
    "what is there": (request("GET", "/healthz"), 200),
    "what is not there": (request("GET", "/nothing-here"), 404),
    "another method": (request("POST", "/healthz", body=b""), 405),
}


@pytest.mark.parametrize(("raw", "status"), ASKED.values(), ids=ASKED)
def test_no_answer_of_the_admin_listener_names_a_version(gateway: Gateway, raw: bytes, status: int) -> None:
    with Client(gateway.admin_port) as client:
        answer = client.ask(raw)
    assert answer.status == status
    assert answer.values("server") == ["aiogateway"]
