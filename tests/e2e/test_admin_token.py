"""`GATEWAY_ADMIN_TOKEN` closes the admin listener for who doesn't know it."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from aiogateway.admin.app import is_loopback

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
    ("host", "path", "status"),
    [
        ("127.0.0.1:9000", "/metrics", 200),
        ("[::1]:9000", "/admin/config", 200),
        ("localhost", "/", 200),
        ("LOCALHOST.:9000", "/metrics", 200),
        ("gateway.localhost:9000", "/metrics", 200),
        ("gateway:9000", "/metrics", 200),
        ("rebound.example:9000", "/metrics", 403),
        ("rebound.example.", "/", 403),
        ("127.0.0.1.rebound.example:9000", "/admin/config", 403),
        ("rebound.example", "/nothing", 403),
        ("rebound.example", "/healthz", 200),
        ("rebound.example", "/readyz", 200),
    ],
)
def test_without_a_token_nothing_is_told_to_a_page_whose_name_leads_to_this_machine(
    gateway: Gateway, host: str, path: str, status: int
) -> None:
    with Client(gateway.admin_port) as client:
        answer = client.ask(request("GET", path, f"Host: {host}", "Accept-Encoding: gzip, deflate"))
    assert answer.status == status
    if status == 403:
        assert answer.json()["code"] == "forbidden"


def test_a_token_is_enough_by_any_name(closed: Gateway) -> None:
    with Client(closed.admin_port) as client:
        fields = "Host: admin.example", "Accept-Encoding: gzip", f"Authorization: Bearer {TOKEN}"
        assert client.ask(request("GET", "/metrics", *fields)).status == 200


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


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("gateway.example", False),
    ],
)
def test_a_listener_for_other_machines_takes_any_name(host: str, own: bool) -> None:
    assert is_loopback(host) is own
