"""Traces: continued from the client to the upstream, and told to a collector."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.collector import Arrived, Collector, Handler

from .harness import Backend, Gateway, eventually, reply, running, write_table
from .harness.answers import silence

ROUTES = """
auth = "public"
rate_limit = "off"
upstream = "main"

[[route]]
path = "/b/{rest:path}"

[[route]]
path = "/refused"
upstream = "refused"
"""
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running_collector:
        yield running_collector


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, backend: Backend, closed_port: int) -> Path:
    upstreams = f"""
        main = {{ url = "{backend.url}" }}
        refused = {{ url = "http://127.0.0.1:{closed_port}" }}
    """
    return write_table(tmp_path_factory.mktemp("traces") / "config", upstreams, ROUTES)


@pytest.fixture(scope="module")
def traced(config: Path, collector: Collector) -> Iterator[Gateway]:
    """A gateway that tells the collector."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hush",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    with running(config, **settings) as gateway:
        yield gateway
        assert "hush" not in gateway.output


def spans_of(collector: Collector, trace_id: str, count: int) -> list[Arrived]:
    """The spans of one trace, waited for, SERVER first."""

    def found() -> list[Arrived]:
        return [span for span in collector.spans if span.trace_id == trace_id]

    eventually(lambda: len(found()) >= count, f"{count} spans of {trace_id}")
    assert len(found()) == count
    return found()


def sent_on(backend: Backend, path: str) -> list[str]:
    """The parts of the `traceparent` that the upstream got."""
    given = backend.one(path).value("traceparent")
    assert given is not None
    return given.split("-")


def test_a_clients_trace_goes_on_through_the_gateway_to_the_upstream(
    traced: Gateway, backend: Backend, collector: Collector
) -> None:
    path = backend.serve(reply(201))
    assert traced.get(f"{path}?token=hush", f"traceparent: 00-{TRACE}-{PARENT}-01").status == 201
    server, client = spans_of(collector, TRACE, 2)
    assert (server.kind, server.name, server.parent_id) == ("SERVER", "GET /b/{rest:path}", PARENT)
    assert (client.kind, client.name, client.parent_id) == ("CLIENT", "GET main", server.span_id)
    assert sent_on(backend, path) == ["00", TRACE, client.span_id, "01"]
    assert server.start <= client.start <= client.end <= server.end
    assert server.attributes["url.path"] == path
    assert client.attributes["server.port"] == backend.port
    assert server.attributes["http.response.status_code"] == client.attributes["http.response.status_code"] == 201
    assert all(b"hush" not in body for body in collector.bodies)
    assert "api-key: hush" in collector.heads[0]


@pytest.mark.parametrize("given", ["nonsense", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", None])
def test_a_malformed_trace_is_none_and_a_new_one_begins(
    given: str | None, traced: Gateway, backend: Backend, collector: Collector
) -> None:
    path = backend.serve(reply())
    traced.get(path, *([] if given is None else [f"traceparent: {given}"]))
    _, trace_id, span_id, flags = sent_on(backend, path)
    assert flags == "01" and trace_id not in (TRACE, "0" * 32)
    server, client = spans_of(collector, trace_id, 2)
    assert (server.parent_id, client.span_id) == ("", span_id)


def test_what_the_client_does_not_sample_is_passed_on_and_not_told(
    traced: Gateway, backend: Backend, collector: Collector
) -> None:
    path, trace_id = backend.serve(reply()), "1" * 32
    traced.get(path, f"traceparent: 00-{trace_id}-{PARENT}-00")
    traced.get(path, f"traceparent: 00-{'2' * 32}-{PARENT}-01")
    spans_of(collector, "2" * 32, 2)
    unsampled, _ = backend.seen(path)
    assert (unsampled.value("traceparent") or "").startswith(f"00-{trace_id}-")
    assert (unsampled.value("traceparent") or "").endswith("-00")
    assert not [span for span in collector.spans if span.trace_id == trace_id]


def test_an_upstream_that_refuses_is_seen_in_the_trace(traced: Gateway, collector: Collector) -> None:
    trace_id = "3" * 32
    assert traced.get("/refused", f"traceparent: 00-{trace_id}-{PARENT}-01").status == 503
    server, client = spans_of(collector, trace_id, 2)
    assert server.failed and client.failed
    assert server.attributes["error.type"] == client.attributes["error.type"] == "upstream_unreachable"
    assert server.attributes["gateway.flags"] == "UF"


def test_a_client_that_leaves_in_the_middle_is_no_error(
    traced: Gateway, backend: Backend, collector: Collector
) -> None:
    path, trace_id = backend.serve(silence), "4" * 32
    with traced.client() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\ntraceparent: 00-{trace_id}-{PARENT}-01\r\n\r\n".encode())
        backend.wait_for(path)
    server, _ = spans_of(collector, trace_id, 2)
    assert not server.failed
    assert server.attributes["gateway.ended_by"] == "client"


def test_what_is_not_sent_yet_is_sent_at_the_end_by_every_worker(config: Path, backend: Backend) -> None:
    path = backend.serve(reply())
    with Collector() as collector:
        with running(config, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, GATEWAY_WORKERS="2") as gateway:
            eventually(lambda: b"\ngateway_workers 2.0\n" in gateway.admin("/metrics").data, "both workers serve")
            with ThreadPoolExecutor(20) as pool:  # one after the other, all could go to the same worker
                list(pool.map(gateway.get, [path] * 200))
        assert len([span for span in collector.spans if span.kind == "CLIENT"]) == 200
        assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2
        assert len({span.span_id for span in collector.spans}) == len(collector.spans)


def test_a_collector_that_hangs_delays_neither_requests_nor_the_end(config: Path, backend: Backend) -> None:
    def hangs(handler: Handler) -> None:
        handler.wait()

    path = backend.serve(reply())
    with Collector(hangs) as collector:
        with running(config, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as gateway:
            gateway.get(path)
            eventually(lambda: collector.bodies, "the collector was asked")
            assert gateway.get(path).status == 200
        assert not collector.over.is_set(), "the program ended before the collector let go"


def lost(gateway: Gateway, count: int) -> bool:
    """Whether the metrics say that so many spans are lost."""
    return f"gateway_spans_lost_total {count}.0\n".encode() in gateway.admin("/metrics").data


def test_a_collector_that_refuses_is_told_of_once(config: Path, backend: Backend) -> None:
    path = backend.serve(reply())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1"}
        with running(config, **settings) as gateway:
            for count in (2, 4):
                gateway.get(path)
                eventually(functools.partial(lost, gateway, count), "the spans are counted as lost")
            told = [line for line in gateway.output.splitlines() if "collector" in line or "opentelemetry" in line]
        assert len(told) == 1
