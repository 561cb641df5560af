"""Destinations that fail: what is tried again where, who is left alone, and when it is asked again."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Backend, Gateway, Peer, assert_problem, eventually, free_port, reply, request, running, write_table
from .harness.answers import silence
from .hasty import deaf_port

KEYS = 'auth = "public"\nrate_limit = "off"\n'
ROUTE = '[[route]]\npath = "/{name}/{{rest:path}}"\nupstream = "{name}"\n{keys}\n'
QUICK = "GATEWAY_TIMEOUT_SHORT"
AFTER = 3


def table(folder: Path, upstreams: dict[str, str], **keys: str) -> Path:
    """A table with one route for each upstream; `keys` are more lines of a route by its upstream's name."""
    lines = "".join(f"{name} = {{ {text} }}\n" for name, text in upstreams.items())
    routes = KEYS + "".join(ROUTE.format(name=name, keys=keys.get(name, "")) for name in upstreams)
    return write_table(folder / "config", lines, routes)


@pytest.fixture
def two() -> Iterator[tuple[Backend, Backend]]:
    """Two destinations that nobody else uses."""
    with Backend() as first, Backend() as second:
        yield first, second


def urls(*backends: Backend) -> str:
    return f"url = {[each.url for each in backends]}".replace("'", '"')


def metric(gateway: Gateway, name: str) -> dict[str, float]:
    """The samples of a family, by their labels as they are written."""
    lines = gateway.admin("/metrics").data.decode().splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith(name))
    return {labels.removeprefix(name): float(value) for labels, _, value in found}


def refusals(gateway: Gateway, path: str, count: int) -> Counter[str]:
    """The codes of so many answers."""
    return Counter(gateway.get(path).json()["code"] for _ in range(count))


def test_a_dead_destination_opens_its_circuit_and_is_left_alone(tmp_path: Path) -> None:
    port = free_port()
    upstream = f'url = "http://127.0.0.1:{port}", eject_after = {AFTER}, eject_time = 1'
    with running(table(tmp_path, {"b": upstream})) as gateway:
        assert refusals(gateway, "/b/x", AFTER) == {"upstream_unreachable": AFTER}
        failure = gateway.admin("/admin/failures").json()["failures"][0]
        assert failure["destination"] == f"http://127.0.0.1:{port}"
        with Backend(port=port) as backend:
            answer = gateway.get("/b/x")
            assert_problem(answer, "upstream_circuit_open")
            assert answer.value("retry-after") == "1"
            assert backend.connections == [], "an open circuit touches nothing"
            assert set(metric(gateway, "gateway_circuit_breaker_state").values()) == {2.0}
            eventually(lambda: gateway.get("/b/x").status == 200, "it is asked again after its rest", within=10)
            assert set(metric(gateway, "gateway_circuit_breaker_state").values()) == {0.0}
            assert [gateway.get("/b/x").status for _ in range(10)] == [200] * 10


def test_a_silent_destination_opens_its_circuit_and_few_at_once_try_it_again(tmp_path: Path, backend: Backend) -> None:
    path = backend.serve(silence, "/b")
    upstream = f'url = "{backend.url}", eject_after = {AFTER}, eject_time = 1'
    with running(table(tmp_path, {"b": upstream}, b="timeout = 0.3"), **{QUICK: "0.3"}) as gateway:
        assert refusals(gateway, path, AFTER) == {"upstream_timeout": AFTER}
        assert refusals(gateway, path, 5) == {"upstream_circuit_open": 5}
        assert len(backend.seen(path)) == AFTER
        eventually(lambda: half_open(gateway), "it is half-open", within=10)
        before = len(backend.seen(path))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(gateway.client()) for _ in range(20)]
            for client in clients:
                client.send(request("GET", path))
            codes = Counter(client.read().json()["code"] for client in clients)
        assert codes["upstream_circuit_open"] >= 17
        assert len(backend.seen(path)) - before <= 3


def half_open(gateway: Gateway) -> bool:
    return set(metric(gateway, "gateway_circuit_breaker_state").values()) == {1.0}


def test_an_upstream_that_answers_errors_is_not_cut_off_for_a_few_of_them(tmp_path: Path, backend: Backend) -> None:
    """It is the last destination, and alive: other requests may be answered well."""
    broken, fine = backend.serve(reply(500), "/b"), backend.serve(reply(200), "/b")
    with running(table(tmp_path, {"b": f'url = "{backend.url}"'})) as gateway:
        assert [gateway.get(broken).status for _ in range(20)] == [500] * 20
        assert gateway.get(fine).status == 200


def test_one_that_answers_little_else_rests_in_the_end(tmp_path: Path, backend: Backend) -> None:
    broken = backend.serve(reply(503), "/b")
    with running(table(tmp_path, {"b": f'url = "{backend.url}"'})) as gateway:
        codes = refusals(gateway, broken, 60)
        assert codes == {"upstream_error": 40, "upstream_circuit_open": 20}
        assert len(backend.seen(broken)) == 40


def test_refusals_of_the_client_and_clients_that_leave_never_count(tmp_path: Path, backend: Backend) -> None:
    refused, silent = backend.serve(reply(404), "/b"), backend.serve(silence, "/b")
    upstream = f'url = "{backend.url}", eject_after = 1, eject_rate = 0.1'
    with running(table(tmp_path, {"b": upstream})) as gateway:
        for number in range(30):
            assert gateway.get(refused).status == 404
            with gateway.client() as client:
                client.send(request("GET", silent))
                backend.wait_for(silent, number + 1)
        assert gateway.get(backend.serve(reply(200), "/b")).status == 200


def test_a_backend_that_tires_of_slow_uploads_or_ends_event_streams_is_well(tmp_path: Path, backend: Backend) -> None:
    """The client is what was waited for; and a stream may end at any time."""

    def tired(peer: Peer) -> None:
        peer.reset()

    def streaming(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"9\r\ndata: 1\n\n\r\n")
        peer.close()

    late, stream = backend.serve(tired, "/b"), backend.serve(streaming, "/b")
    upstream = f'url = "{backend.url}", eject_after = 2, eject_rate = 0.1'
    with running(table(tmp_path, {"b": upstream}, b='max_body = "8 MiB"')) as gateway:
        for _ in range(25):
            with gateway.client() as client:
                client.send(
                    f"POST {late} HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n".encode() + bytes(70_000)
                )
                assert client.read().status == 502
            assert b"event: error" in gateway.get(stream).data
        assert gateway.get(backend.serve(reply(200), "/b")).status == 200
        assert set(metric(gateway, "gateway_circuit_breaker_state").values()) == {0.0}


def test_a_destination_that_answers_errors_is_ejected_and_comes_back(
    tmp_path: Path, two: tuple[Backend, Backend]
) -> None:
    good, bad = two
    state = {"status": 500}
    good.serve(reply(200, b"good"), at="/b/x")
    bad.serve(lambda peer: peer.send(reply(state["status"], b"bad")), at="/b/x")
    with running(table(tmp_path, {"b": f"{urls(good, bad)}, eject_after = 3, eject_time = 1"})) as gateway:
        assert Counter(gateway.get("/b/x").status for _ in range(40)) == {500: 3, 200: 37}
        assert [gateway.get("/b/x").status for _ in range(20)] == [200] * 20
        assert 0.0 in metric(gateway, "gateway_upstream_up").values()
        state["status"] = 200
        eventually(lambda: gateway.get("/b/x").data == b"bad", "it is asked again", within=10)


def test_the_last_destination_is_never_ejected(tmp_path: Path, two: tuple[Backend, Backend]) -> None:
    for each in two:
        each.serve(reply(500), at="/b/x")
    with running(table(tmp_path, {"b": f"{urls(*two)}, eject_after = 2, health_path = '/gone'"})) as gateway:
        for each in two:
            each.serve(reply(500), at="/gone")
        assert [gateway.get("/b/x").status for _ in range(15)] == [500] * 15


def test_a_destination_whose_probes_fail_is_passed_over(tmp_path: Path, two: tuple[Backend, Backend]) -> None:
    sick, well = two
    state = {"status": 503}
    sick.serve(lambda peer: peer.send(reply(state["status"])), at="/health")
    for each, name in zip(two, (b"sick", b"well"), strict=True):
        each.serve(reply(200, name), at="/b/x")
    keys = "health_path = '/health', health_interval = 0.1, health_failures = 2, health_successes = 2"
    with running(table(tmp_path, {"b": f"{urls(*two)}, {keys}"})) as gateway:
        eventually(lambda: 0.0 in metric(gateway, "gateway_upstream_up").values(), "the probes fail", within=10)
        assert {gateway.get("/b/x").data for _ in range(20)} == {b"well"}
        state["status"] = 200
        eventually(lambda: gateway.get("/b/x").data == b"sick", "the probes pass again", within=10)
        assert len(well.seen("/health")) > 2


def test_load_goes_to_the_less_busy(tmp_path: Path, two: tuple[Backend, Backend]) -> None:
    slow, quick = two
    release = threading.Event()

    def held(peer: Peer) -> None:
        peer.wait(release)
        peer.send(reply(200))

    slow.serve(held, at="/b/x")
    quick.serve(reply(200), at="/b/x")
    with running(table(tmp_path, {"b": urls(*two)})) as gateway, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.client()) for _ in range(30)]
        for client in clients:
            client.send(request("GET", "/b/x"))
        eventually(lambda: len(slow.seen("/b/x")) + len(quick.seen("/b/x")) == 30, "all are on their way")
        assert len(slow.seen("/b/x")) <= 20
        release.set()
        assert [client.read().status for client in clients] == [200] * 30


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_route_may_have_errors_repeated_elsewhere(tmp_path: Path, two: tuple[Backend, Backend], status: int) -> None:
    bad, good = two
    bad.serve(reply(status), at="/b/x")
    good.serve(reply(200, b"good"), at="/b/x")
    upstream = f"{urls(bad, good)}, balance = 'round_robin', eject_after = 1000, eject_rate = 1.0"
    with running(table(tmp_path, {"b": upstream}, b="retry = true")) as gateway:
        assert [gateway.get("/b/x").data for _ in range(2)] == [b"good"] * 2
        assert gateway.send("PUT", "/b/x", body=b"abc").data == b"good"
        assert {seen.body.data for each in two for seen in each.seen("/b/x") if seen.method == "PUT"} == {b"abc"}
        posts = Counter(gateway.send("POST", "/b/x", body=b"abc").status for _ in range(4))
        assert posts == {200: 2, status: 2}
        labels = f'{{outcome="success",reason="{status}",upstream="b"}}'
        assert metric(gateway, "gateway_upstream_retries_total")[labels] >= 1


def test_without_a_word_in_the_route_errors_are_not_repeated(tmp_path: Path, two: tuple[Backend, Backend]) -> None:
    bad, good = two
    bad.serve(reply(503), at="/b/x")
    good.serve(reply(200), at="/b/x")
    upstream = f"{urls(bad, good)}, balance = 'round_robin'"
    with running(table(tmp_path, {"b": upstream})) as gateway:
        assert Counter(gateway.get("/b/x").status for _ in range(6)) == {200: 3, 503: 3}


def test_a_silent_destination_costs_half_of_the_time_when_there_is_another(
    tmp_path: Path, two: tuple[Backend, Backend]
) -> None:
    silent, good = two
    silent.serve(silence, at="/b/x")
    good.serve(reply(200, b"good"), at="/b/x")
    upstream = f"{urls(silent, good)}, balance = 'round_robin', eject_after = 1000, eject_rate = 1.0"
    with running(table(tmp_path, {"b": upstream}, b="retry = true\ntimeout = 1")) as gateway:
        assert [gateway.get("/b/x").data for _ in range(2)] == [b"good"] * 2
        assert len(silent.seen("/b/x")) == 1


def test_a_destination_that_accepts_no_connection_is_passed_over_however_short_the_time_for_an_answer(
    tmp_path: Path, backend: Backend
) -> None:
    """Connecting is not the service's time to answer."""
    path = backend.serve(reply(200, b"good"), "/b")
    with deaf_port() as unheard:
        upstream = f'url = ["http://127.0.0.1:{unheard}", "{backend.url}"], balance = "round_robin"'
        config = table(tmp_path, {"b": upstream}, b="timeout = 0.3")
        with running(config, GATEWAY_POOL_CONNECT_TIMEOUT="0.5") as gateway:
            assert [gateway.send("POST", path, body=b"abc").data for _ in range(4)] == [b"good"] * 4


def test_an_answer_there_was_is_given_when_nobody_else_takes_the_request(
    tmp_path: Path, two: tuple[Backend, Backend]
) -> None:
    """Within the time that the route has, and with all that the answer said."""
    bad, full = two
    release = threading.Event()

    def held(peer: Peer) -> None:
        peer.wait(release)
        peer.send(reply(200))

    bad.serve(reply(503, b"{}", "Retry-After: 7"), at="/b/x")
    full.serve(held, at="/b/held")
    bad.serve(held, at="/b/held")
    upstream = f"{urls(bad, full)}, balance = 'round_robin', eject_after = 1000, eject_rate = 1.0"
    config = table(tmp_path, {"b": upstream}, b="retry = true\ntimeout = 3")
    with running(config, GATEWAY_POOL_MAX_CONNECTIONS="1") as gateway, gateway.client() as one:
        assert gateway.send("POST", "/b/x", body=b"").status == 503  # the turn of the first
        one.send(request("POST", "/b/held", body=b"abc"))
        full.wait_for("/b/held")
        answer = gateway.get("/b/x")
        assert (answer.status, answer.value("retry-after"), answer.json()["code"]) == (503, "7", "upstream_error")
        release.set()
        assert one.read().status == 200


def test_an_error_of_the_only_destination_is_repeated_a_bounded_number_of_times(
    tmp_path: Path, backend: Backend
) -> None:
    path = backend.serve(reply(503, b"{}", "Retry-After: 7"), "/b")
    upstream = f'url = "{backend.url}", eject_after = 1000, eject_rate = 1.0'
    with running(table(tmp_path, {"b": upstream}, b="retry = true")) as gateway:
        answer = gateway.get(path)
        assert (answer.status, answer.value("retry-after")) == (503, "7")
        assert len(backend.seen(path)) == 3


def test_hints_that_were_passed_on_are_not_followed_by_another_try(tmp_path: Path, backend: Backend) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    path = backend.serve(hints + reply(503), "/b")
    upstream = f'url = "{backend.url}", eject_after = 1000, eject_rate = 1.0'
    with running(table(tmp_path, {"b": upstream}, b="retry = true")) as gateway:
        answer = gateway.get(path)
        assert (answer.status, len(answer.interim), len(backend.seen(path))) == (503, 1, 1)


def test_retries_never_multiply_the_load_of_a_failing_service(tmp_path: Path, backend: Backend) -> None:
    path = backend.serve(reply(503), "/b")
    upstream = f'url = "{backend.url}", eject_after = 1000, eject_rate = 1.0'
    with running(table(tmp_path, {"b": upstream}, b="retry = true")) as gateway:
        began = time.monotonic()
        assert [gateway.get(path).status for _ in range(100)] == [503] * 100
        seconds = time.monotonic() - began
        assert len(backend.seen(path)) <= 100 * 1.2 + 3 * (seconds + 2)
        assert sum(metric(gateway, "gateway_retry_budget_exhausted_total").values()) > 0


def test_an_open_circuit_of_one_of_two_costs_no_request(tmp_path: Path, two: tuple[Backend, Backend]) -> None:
    alive = two[0]
    alive.serve(reply(200, b"alive"), at="/b/x")
    dead = f"http://127.0.0.1:{free_port()}"
    upstream = f'url = ["{alive.url}", "{dead}"]'
    with running(table(tmp_path, {"b": upstream})) as gateway:
        assert [gateway.send("POST", "/b/x", body=b"abc").data for _ in range(40)] == [b"alive"] * 40
        failures = metric(gateway, "gateway_upstream_connect_failures_total")
        assert sum(failures.values()) == 5, "it is left alone once it failed five times in a row"


def test_the_gateways_own_want_of_descriptors_blames_no_service(tmp_path: Path, backend: Backend) -> None:
    """Its circuit stays closed, and the client is told who is short of something."""
    path = backend.serve(reply(), "/b")
    upstream = f'url = "{backend.url}", eject_after = 1'
    config = table(tmp_path, {"b": upstream})
    with running(config, GATEWAY_POOL_MAX_CONNECTIONS="1000") as gateway, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway.client()) for _ in range(6)]
        assert [client.ask(request("GET", "/healthz")).status for client in clients] == [200] * 6
        gateway.limit_descriptors(len(os.listdir(f"/proc/{gateway.process.pid}/fd")))
        for client in clients:
            assert_problem(client.ask(request("GET", path)), "overloaded")
        gateway.limit_descriptors(4096)
        assert gateway.get(backend.serve(reply(200), "/b")).status == 200
