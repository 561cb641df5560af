"""Destinations: unreachable ones, TLS, several of one upstream, and what becomes of paths and Locations."""

from __future__ import annotations

import pytest

from .harness import Backend, Gateway, assert_problem, reply

UNREACHABLE = {
    "refused": ("/refused/x", "upstream_unreachable"),
    "unresolvable": ("/unresolvable/x", "upstream_unreachable"),
    "TLS to a plain port": ("/plain-as-tls/x", "upstream_tls"),
    "a certificate of nobody we know": ("/untrusted/x", "upstream_tls"),
    "a certificate of another name": ("/misnamed/x", "upstream_tls"),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("target", "code"), UNREACHABLE.values(), ids=UNREACHABLE)
def test_a_destination_out_of_reach_has_its_code(gateway: Gateway, target: str, code: str, method: str) -> None:
    document = assert_problem(gateway.send(method, target, body=b"abc"), code)
    assert "127.0.0.1" not in document["detail"]
    assert "invalid" not in document["detail"]


def test_refusals_in_a_row_harm_nothing(gateway: Gateway, backend: Backend) -> None:
    for _ in range(20):
        assert gateway.get("/refused/x").status == 503
    assert gateway.get(backend.serve(reply(200, b"ok"))).data == b"ok"


def test_https_with_a_ca_file_works(gateway: Gateway, tls_backend: Backend) -> None:
    path = tls_backend.serve(reply(200, b"secret"), "/trusted")
    assert [gateway.get(path).data for _ in range(3)] == [b"secret"] * 3
    assert tls_backend.seen(path)[0].value("host") == f"localhost:{tls_backend.port}"


def test_https_bodies_arrive_whole(gateway: Gateway, tls_backend: Backend) -> None:
    path = tls_backend.serve(reply(200, bytes(1 << 20)), "/trusted")
    assert gateway.send("POST", path, body=bytes(1 << 20)).body.count == 1 << 20
    assert tls_backend.one(path).body.count == 1 << 20


def test_server_name_names_the_certificate(gateway: Gateway, named_backend: Backend) -> None:
    assert gateway.get(named_backend.serve(reply(200, b"named"), "/named")).data == b"named"


def test_several_destinations_are_used_in_turn(gateway: Gateway, pair: tuple[Backend, Backend]) -> None:
    paths = {
        backend.serve(reply(200, name), at="/pair/turns") for backend, name in zip(pair, (b"a", b"b"), strict=True)
    }
    answers = [gateway.get(path).data for path in paths for _ in range(10)]
    assert sorted(answers) == [b"a"] * 5 + [b"b"] * 5
    assert answers[:2] == answers[2:4] == answers[4:6]


def test_a_dead_destination_of_two_costs_no_request(gateway: Gateway, pair: tuple[Backend, Backend]) -> None:
    path = pair[0].serve(reply(200, b"alive"), "/half-dead")
    assert [gateway.send("POST", path, body=b"abc").data for _ in range(6)] == [b"alive"] * 6


def test_paths_are_rewritten_with_their_parameters_as_the_client_wrote_them(gateway: Gateway, backend: Backend) -> None:
    backend.serve(reply(), at="/inner/the%20file%27/of/%C3%A9va")
    assert gateway.get("/people/%C3%A9va/files/the%20file%27?x=%2F&y").status == 200
    assert backend.one("/inner").target == "/inner/the%20file%27/of/%C3%A9va?x=%2F&y"


def test_a_path_may_be_replaced_whole(gateway: Gateway, backend: Backend) -> None:
    backend.serve(reply(), at="/elsewhere/entirely")
    assert gateway.send("POST", "/fixed?a=1", body=b"").status == 200
    assert backend.one("/elsewhere/entirely").target == "/elsewhere/entirely?a=1"


LOCATIONS = {
    "a destination": ("{origin}/b/next/?a=%2F#part", "http://gateway.test/b/next/?a=%2F#part"),
    "a destination's root": ("{origin}/", "http://gateway.test/"),
    "a destination and a query": ("{origin}?a=1", "http://gateway.test?a=1"),
    "a destination, no path": ("{origin}", "http://gateway.test"),
    "a path": ("/b/next/", "/b/next/"),
    "a relative path": ("next?a=1", "next?a=1"),
    "another host": ("https://other.test/x?u={origin}/", "https://other.test/x?u={origin}/"),
    "another port": ("{origin}0/x", "{origin}0/x"),
    "a longer host": ("{origin}.evil.test/x", "{origin}.evil.test/x"),
    "a destination as user": ("{origin}@evil.test/x", "{origin}@evil.test/x"),
}


@pytest.mark.parametrize("status", [201, 302, 307])
@pytest.mark.parametrize(("said", "shown"), LOCATIONS.values(), ids=LOCATIONS)
def test_locations_that_name_a_destination_are_rewritten(
    gateway: Gateway, backend: Backend, said: str, shown: str, status: int
) -> None:
    path = backend.serve(reply(status, b"", "Location: " + said.format(origin=backend.url)))
    assert gateway.get(path).value("location") == shown.format(origin=backend.url)


def test_locations_that_name_another_destination_of_the_upstream_are_rewritten(
    gateway: Gateway, pair: tuple[Backend, Backend]
) -> None:
    first, second = pair
    for backend, other in ((first, second), (second, first)):
        backend.serve(reply(307, b"", f"Location: {other.url}/pair/there"), at="/pair/crossed")
    shown = [gateway.get("/pair/crossed", "Host: public.test:8000").value("location") for _ in range(4)]
    assert shown == ["http://public.test:8000/pair/there"] * 4
