"""Seeing that the configuration's files changed, where nobody sends SIGHUP (`GATEWAY_CONFIG_WATCH`).

Rules: files are looked at every few seconds and never read here; it is done in a thread, for a disk may take long. What
changed is told once two looks in a row found the same, so that files which are still being written are left alone.
Looking shows every kind of change alike: an editor's, a copy over a network, the link that Kubernetes leads elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from aiogateway.routes import Table
from aiogateway.routes.files import UPSTREAMS
from aiogateway.settings import Settings

log = structlog.get_logger(__name__)

# Seconds after which a reading that was refused is asked for again: what it lacked may be nothing that is looked at, as
# authorities that are named for the first time, or a descriptor.
AGAIN: Final = 60.0

# By path, what tells a file from another or later one; None where there is none.
Look = dict[Path, tuple[int, ...] | None]


def look(settings: Settings, table: Table) -> Look:
    """How the files are that a reading reads: of routes, of upstreams and their authorities, of the certificate.

    :param table: names the authorities. When another names others, that counts as a change.
    """
    try:
        return {path: _state(path) for path in _files(settings, table)}
    except OSError:  # a folder goes just now: the next look finds what became of it
        return {}


async def watch(
    settings: Settings, table: Callable[[], Table], seen: Look, refused: Callable[[], bool], tell: Callable[[], None]
) -> None:
    """Look for ever.

    :param table: what holds now.
    :param seen: how the files were when they were read.
    :param refused: whether the last reading was.
    :param tell: called after each change, and now and then while a reading is refused.
    """
    before, told = seen, time.monotonic()
    while True:
        await asyncio.sleep(settings.config_watch)
        try:
            now = await asyncio.to_thread(look, settings, table())
        except RuntimeError as exc:  # no thread is to be had: the next look may do better
            log.error("the configuration's files can't be looked at", reason=str(exc))
            continue
        if now == before and (now != seen or (refused() and time.monotonic() - told >= AGAIN)):
            seen, told = now, time.monotonic()
            tell()
        before = now


def _files(settings: Settings, table: Table) -> Iterator[Path]:
    if settings.config is not None:
        yield settings.config / UPSTREAMS
        yield from (settings.config / "routes").glob("*.toml")
    yield from filter(None, (settings.tls_cert, settings.tls_key))
    yield from (Path(upstream.ca_file) for upstream in table.upstreams.values() if upstream.ca_file is not None)


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # The last: files unpacked with one fixed time, or that may be read only now.
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns
