"""What the watch of the configuration's files takes for a change, and when it tells of one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from aiogateway import watching
from aiogateway.routes import Table
from aiogateway.settings import Settings
from tests.clock import eventually
from tests.config_folders import load

ROUTE = '[[route]]\npath = "/a"\nupstream = "b"\n'
OFTEN = 0.02


def table_of(root: Path, more: str = "") -> Table:
    return load(root, ROUTE, f'[b]\nurl = "https://b"\n{more}')


def rewritten(path: Path) -> None:
    """As an editor does it: the same size, another time."""
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))


def await_tick(path: Path) -> None:
    """A file system's clock may tick but every few milliseconds."""
    probe = path.with_suffix(".probe")
    while not probe.exists() or probe.stat().st_ctime_ns == path.stat().st_ctime_ns:
        probe.touch()


def replaced_at_the_same_time(path: Path) -> None:
    """As files are unpacked whose time is always the same."""
    await_tick(path)
    before = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def allowed(path: Path) -> None:
    """As somebody does who forgot it before."""
    await_tick(path)
    path.chmod(0o444)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is written": lambda root: rewritten(root / "routes" / "test.toml"),
    "the upstreams are": lambda root: rewritten(root / "upstreams.toml"),
    "a file is written, and its time set back": lambda root: replaced_at_the_same_time(root / "upstreams.toml"),
    "a file may be read now": lambda root: allowed(root / "routes" / "test.toml"),
    "a file comes": lambda root: (root / "routes" / "new.toml").touch(),
    "a file goes": lambda root: (root / "routes" / "test.toml").unlink(),
    "the folder goes": lambda root: (root / "routes").rename(root / "elsewhere"),
    "a certificate is renewed": lambda root: rewritten(root / "cert.pem"),
    "a service's authorities are": lambda root: rewritten(root / "ca.pem"),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    issued = trustme.CA()
    issued.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    return Settings(config=tmp_path, config_watch=OFTEN, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_what_a_reading_reads_is_seen(
    tmp_path: Path, settings: Settings, change: Callable[[Path], object]
) -> None:
    table = table_of(tmp_path, f'ca_file = "{tmp_path}/ca.pem"\n')
    before = watching.look(settings, table)
    assert watching.look(settings, table) == before
    change(tmp_path)
    assert watching.look(settings, table) != before


def test_a_file_that_nobody_reads_is_no_change(tmp_path: Path, settings: Settings) -> None:
    table = table_of(tmp_path)
    before = watching.look(settings, table)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "routes" / "test.toml~").touch()
    assert watching.look(settings, table) == before


def test_the_packaged_table_is_not_looked_at(tmp_path: Path) -> None:
    assert watching.look(Settings(), table_of(tmp_path)) == {}


@asynccontextmanager
async def watched(
    settings: Settings, table: Table, seen: watching.Look, refused: Callable[[], bool] = lambda: False
) -> AsyncIterator[list[bool]]:
    told: list[bool] = []
    running = asyncio.create_task(watching.watch(settings, lambda: table, seen, refused, lambda: told.append(True)))
    try:
        yield told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_each_change_is_told_once(tmp_path: Path, settings: Settings) -> None:
    table = table_of(tmp_path)
    async with watched(settings, table, watching.look(settings, table)) as told:
        for count in (1, 2):
            (tmp_path / "routes" / f"{count}.toml").touch()
            await eventually(lambda count=count: len(told) >= count, "it is told")  # type: ignore[misc]
            await asyncio.sleep(5 * OFTEN)  # that nothing more comes shows only after a time
            assert len(told) == count


async def test_what_changed_between_the_reading_and_the_first_look_is_told(tmp_path: Path, settings: Settings) -> None:
    table = table_of(tmp_path)
    seen = watching.look(settings, table)
    (tmp_path / "routes" / "new.toml").touch()
    async with watched(settings, table, seen) as told:
        await eventually(lambda: told, "it is told")


async def test_files_that_are_still_being_written_are_left_alone(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look finds another state, until the writer is done."""
    table = table_of(tmp_path)
    seen = watching.look(settings, table)
    writing, looks = True, 0

    def looked(settings: Settings, table: Table) -> watching.Look:
        nonlocal looks
        looks += 1
        if writing:
            (tmp_path / "routes" / f"{looks}.toml").touch()
        return look(settings, table)

    look = watching.look
    monkeypatch.setattr(watching, "look", looked)
    async with watched(settings, table, seen) as told:
        await eventually(lambda: looks > 5, "it looks")
        assert told == []
        writing = False
        await eventually(lambda: told, "it is told")


async def test_what_was_refused_is_asked_for_again_now_and_then(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it lacked may have come since, where nobody looks."""
    monkeypatch.setattr(watching, "AGAIN", 5 * OFTEN)
    table = table_of(tmp_path)
    refused = True
    async with watched(settings, table, watching.look(settings, table), lambda: refused) as told:
        await eventually(lambda: len(told) >= 2, "it is told")
        refused = False
        count = len(told)
        await asyncio.sleep(10 * OFTEN)
        assert len(told) == count


async def test_a_look_that_fails_is_not_the_last(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(tmp_path)
    seen = watching.look(settings, table)
    failures = [RuntimeError("can't start new thread")] * 3
    look = watching.look

    def failing(settings: Settings, table: Table) -> watching.Look:
        if failures:
            raise failures.pop()
        return look(settings, table)

    monkeypatch.setattr(watching, "look", failing)
    (tmp_path / "routes" / "new.toml").touch()
    async with watched(settings, table, seen) as told:
        await eventually(lambda: told, "it is told")
