"""Forwarding fields from a peer whose word is taken (`GATEWAY_TRUSTED_PROXIES`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Backend, Gateway, reply, running, write_table

ROUTES = """
[[route]]
path = "/b/{rest:path}"
upstream = "main"
auth = "public"
rate_limit = "off"
"""


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    """A gateway that trusts every peer on loopback."""
    config = write_table(tmp_path_factory.mktemp("trusting") / "config", f'main = {{ url = "{backend.url}" }}', ROUTES)
    with running(config, GATEWAY_TRUSTED_PROXIES="10.0.0.0/8, 127.0.0.0/8") as gateway:
        yield gateway


def test_the_peer_is_appended_to_its_forwarded_for(trusting: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    trusting.get(path, "X-Forwarded-For: 203.0.113.9")
    trusting.get(path, "X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9, 10.0.0.1")
    trusting.get(path)
    lists = [", ".join(seen.values("x-forwarded-for")) for seen in backend.seen(path)]
    assert lists == ["203.0.113.9, 127.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.1, 127.0.0.1", "127.0.0.1"]


def test_its_scheme_and_host_are_kept(trusting: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    trusting.get(path, "X-Forwarded-Proto: https", "X-Forwarded-Host: public.test")
    seen = backend.one(path)
    assert seen.values("x-forwarded-proto") == ["https"]
    assert seen.values("x-forwarded-host") == ["public.test"]
    assert seen.values("host") == [f"127.0.0.1:{backend.port}"]


def test_identity_is_removed_all_the_same(trusting: Gateway, backend: Backend) -> None:
    path = backend.serve(reply())
    trusting.get(path, "X-User-Id: root", "X_User_Id: root")
    assert not {"x-user-id", "x_user_id"} & backend.one(path).names


def test_locations_are_rewritten_to_the_origin_it_told(trusting: Gateway, backend: Backend) -> None:
    path = backend.serve(reply(307, b"", f"Location: {backend.url}/b/next/?a=%2F"))
    answer = trusting.get(path, "X-Forwarded-Proto: https", "X-Forwarded-Host: public.test")
    assert answer.value("location") == "https://public.test/b/next/?a=%2F"


@pytest.mark.parametrize(
    ("proto", "scheme"), [("https, http", "https"), ("HTTPS,http", "https"), ("http, https", "http"), ("x, y", "http")]
)
def test_a_location_has_the_scheme_that_the_first_of_several_proxies_was_asked_with(
    trusting: Gateway, backend: Backend, proto: str, scheme: str
) -> None:
    path = backend.serve(reply(307, b"", f"Location: {backend.url}/b/next"))
    answer = trusting.get(path, f"X-Forwarded-Proto: {proto}", "X-Forwarded-Host: public.test, inner.test")
    assert answer.value("location") == f"{scheme}://public.test/b/next"
