"""What a parent leaves for its workers, and the certificate that changes while handshakes go on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from aiogateway.app import Gateway
from aiogateway.board import Board
from aiogateway.caching.notices import Notices
from aiogateway.middlewares import Handler, compose
from aiogateway.output import Output
from aiogateway.reloading import (
    REFUSED,
    Certificate,
    Reading,
    Reloader,
    Shared,
    read_alone,
    read_as_worker,
    read_for_workers,
)
from aiogateway.report import Reporter
from aiogateway.routes import Table
from aiogateway.service_manager import ServiceManager
from aiogateway.settings import ConfigError, Fault, Settings
from aiogateway.stores import SharedCounters
from tests.clock import eventually
from tests.config_folders import load

FAULT = Fault("routes/a.toml", "GET /a", "upstrem", "unknown key")
PLAIN = Certificate(Settings())


def table_of(root: Path, *names: str, host: str = "b") -> Table:
    routes = "".join(f'[[route]]\npath = "/{name}"\nupstream = "b"\n' for name in names)
    return load(root, routes, f'[b]\nurl = "http://{host}:1"\n')


def paths(table: Table | None) -> list[str]:
    assert table is not None
    return [route.pattern for route in table.routes]


def faulty() -> Table:
    raise ConfigError([FAULT])


def test_a_worker_gets_what_the_parent_read_once(tmp_path: Path) -> None:
    parent, worker = Shared(str(tmp_path)), Shared(str(tmp_path))
    assert worker.read() is None
    assert read_for_workers(lambda: table_of(tmp_path / "a", "x", "y"), parent) == 0
    reading = worker.read()
    assert reading is not None and reading.faults == () and paths(reading.table) == ["/x", "/y"]
    again = worker.read()
    assert again is not None and (again.table, again.faults) == (None, ())


def test_routes_and_upstreams_of_a_shared_table_are_still_the_same_objects(tmp_path: Path) -> None:
    Shared(str(tmp_path)).publish(table_of(tmp_path / "a", "x"))
    reading = Shared(str(tmp_path)).read()
    assert reading is not None and reading.table is not None
    assert reading.table.routes[0].upstream is reading.table.upstreams["b"]
    assert reading.table.match("/x").endpoint.route("GET") is reading.table.routes[0]


def test_a_worker_that_is_late_gets_the_good_set_that_came_before_a_refused_one(tmp_path: Path) -> None:
    parent, late = Shared(str(tmp_path)), Shared(str(tmp_path))
    parent.publish(table_of(tmp_path / "a", "x"))
    with capture_logs() as lines:
        assert read_for_workers(faulty, parent) == REFUSED
    assert [line["log_level"] for line in lines] == ["error", "error"], "one for each fault, and one for the refusal"
    reading = late.read()
    assert reading is not None and paths(reading.table) == ["/x"] and reading.faults == (str(FAULT),)


def test_a_set_that_was_refused_first_leaves_workers_with_what_they_have(tmp_path: Path) -> None:
    Shared(str(tmp_path)).refuse(["a fault"])
    reading = Shared(str(tmp_path)).read()
    assert reading is not None and (reading.table, reading.faults) == (None, ("a fault",))


def test_alone_faults_are_told_and_there_is_no_table() -> None:
    with capture_logs() as lines:
        reading = read_alone(faulty, PLAIN)
    assert (reading.table, reading.faults) == (None, (str(FAULT),))
    assert [line["event"] for line in lines] == [
        "fault in the new configuration",
        "reload refused, the old configuration goes on",
    ]


@pytest.fixture
def pair(tmp_path: Path) -> Settings:
    """Settings that name a certificate and its key."""
    issued = trustme.CA().issue_cert("gateway.test")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    return Settings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")


@pytest.mark.parametrize("spoiled", ["key.pem", "cert.pem"])
def test_alone_a_certificate_that_went_bad_is_a_fault_of_the_whole(
    tmp_path: Path, pair: Settings, spoiled: str
) -> None:
    certificate = Certificate(pair)
    (tmp_path / spoiled).write_text("nothing of use")
    with capture_logs():
        reading = read_alone(lambda: table_of(tmp_path / "a", "x"), certificate)
    assert reading.table is None and "GATEWAY_TLS_CERT" in reading.faults[0]


def test_a_worker_takes_a_checked_table_even_if_the_certificate_went_bad_since(tmp_path: Path, pair: Settings) -> None:
    certificate = Certificate(pair)
    Shared(str(tmp_path)).publish(table_of(tmp_path / "a", "x"))
    (tmp_path / "key.pem").unlink()
    with capture_logs() as lines:
        reading = read_as_worker(Shared(str(tmp_path)), certificate)
    assert reading is not None and paths(reading.table) == ["/x"]
    assert "GATEWAY_TLS_CERT" in reading.faults[0] and [line["log_level"] for line in lines] == ["error"]


def test_a_worker_that_began_with_the_newest_table_looks_for_the_certificate_all_the_same(
    tmp_path: Path, pair: Settings
) -> None:
    certificate, began = Certificate(pair), Shared(str(tmp_path))
    Shared(str(tmp_path)).publish(table_of(tmp_path / "a", "x"))
    assert began.read() is not None
    (tmp_path / "key.pem").unlink()
    with capture_logs():
        reading = read_as_worker(began, certificate)
    assert reading is not None and reading.table is None and "GATEWAY_TLS_CERT" in reading.faults[0]


async def test_a_fault_of_ours_is_logged_and_counted_and_the_next_reading_is_made(tmp_path: Path) -> None:
    outcomes: Iterator[Exception | Reading] = iter([ZeroDivisionError("on purpose"), Reading(None, (), 1.0)])

    def read() -> Reading:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    counters, notices = SharedCounters(alone=True), Notices(alone=True)
    gateway = Gateway(Settings(auth_mode="off"), table_of(tmp_path, "x"), counters, notices, Board(), Output())
    reloader = Reloader(gateway, read, ServiceManager(None))
    with contextlib.closing(counters), contextlib.closing(notices), capture_logs() as lines:
        running = asyncio.create_task(reloader.run())
        for ok in (False, True):
            reloader.ask()
            await eventually(partial(ended, gateway.reporter, ok), "it is over")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [line["event"] for line in lines] == ["reload failed"]


async def test_the_loop_goes_on_while_the_way_of_a_new_table_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building, go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Handler:
        building.set()
        assert go_on.wait(30)
        return compose(*arguments)

    counters, notices = SharedCounters(alone=True), Notices(alone=True)
    before, after = (table_of(tmp_path, name, host="127.0.0.1") for name in "xy")
    with contextlib.closing(counters), contextlib.closing(notices):
        gateway = Gateway(Settings(auth_mode="off"), before, counters, notices, Board(), Output())
        await gateway.start()
        monkeypatch.setattr("aiogateway.app.compose", slowly)
        try:
            reloading = asyncio.create_task(gateway.reload(after))
            await eventually(building.is_set, "a thread builds it")
            assert gateway.table is before
            go_on.set()
            await reloading
            assert gateway.table is after
        finally:
            go_on.set()
            await gateway.close()


def ended(reporter: Reporter, ok: bool) -> bool:
    return reporter.last_reload is not None and reporter.last_reload["ok"] is ok
