"""`GATEWAY_ADMIN_TOKEN` closes the admin listener for who doesn't know it."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from .harness import Gateway, running
from .harness.client import Client
from .harness.gateway import request

TOKEN = "admin-" + "t" * 20


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"somebody:{password}".encode()).decode()


@pytest.fixture(scope="module")
def closed() -> Iterator[Gateway]:
    with running(None, GATEWAY_ADMIN_TOKEN=TOKEN) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        ("/metrics", None, 401),
        ("/metrics", f"Bearer {TOKEN}", 200),
        ("/metrics", f"bearer {TOKEN}", 200),
        ("/metrics", basic(TOKEN), 200),
        ("/metrics", basic(TOKEN + "x"), 401),
        ("/metrics", f"Bearer {TOKEN[:-1]}", 401),
        ("/metrics", "Bearer", 401),
        ("/metrics", "Basic !", 401),
        ("/metrics", f"Digest {TOKEN}", 401),
        ("/nothing", None, 401),
        ("/healthz", None, 200),
        ("/readyz", None, 200),
    ],
)
def test_the_admin_listener_wants_its_token(closed: Gateway, path: str, authorization: str | None, status: int) -> None:
    fields = [] if authorization is None else [f"Authorization: {authorization}"]
    with Client(closed.admin_port) as client:
        answer = client.ask(request("GET", path, *fields))
    assert answer.status == status
    assert (answer.value("WWW-Authenticate") is not None) == (status == 401)
    assert TOKEN not in closed.output
