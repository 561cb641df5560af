"""Taking up a changed configuration without an end: what SIGHUP sets off in a process that serves.

Rules: what is new is read and checked as a whole before anything changes, in a thread, so that requests go on; then
all of it holds at once. Anything wrong with it is told, and changes nothing. One reading runs at a time; asking while
it does makes it run once more.
"""

from __future__ import annotations

import asyncio
import pickle
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from aiogateway.app import Gateway
from aiogateway.routes import Table
from aiogateway.settings import ConfigError, Settings
from aiogateway.settings.faults import Fault

log = structlog.get_logger(__name__)

# In the workers' folder: what the parent read last.
SET: Final = "configuration"


class Refused(Exception):
    """The parent found faults in what it read, and has told of them.

    :ivar faults: each as one line.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(*faults)
        self.faults = tuple(faults)


class _Stored(NamedTuple):
    """What a parent read, for its workers: a table's parts, or why there is none."""

    table: tuple[object, object] | None
    faults: tuple[str, ...]


def store(folder: str, table: Table | None, faults: Sequence[str] = ()) -> None:
    """Leave what was read for all workers, so that all get the same.

    :param folder: theirs, which nobody else can write to: they trust what is in it.
    """
    stored = _Stored(None if table is None else (table.upstreams, table.routes), tuple(faults))
    new = Path(folder, f"{SET}.new")
    new.write_bytes(pickle.dumps(stored))
    new.replace(Path(folder, SET))


def stored(folder: str) -> Table:
    """What the parent left.

    :raises Refused: what it read was no good.
    """
    found: _Stored = pickle.loads(Path(folder, SET).read_bytes())
    if found.table is None:
        raise Refused(found.faults)
    upstreams, routes = found.table
    return Table(upstreams, routes)  # type: ignore[arg-type]  # a pickle has no types


def tell(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Report why a configuration is not taken; answers the same as lines."""
    lines = tuple(map(str, faults))
    for line in lines:
        log.error("fault in the new configuration", fault=line)
    log.error("reload refused, the old configuration goes on", faults=len(lines))
    return lines


class Certificate:
    """The public listener's certificate.

    :ivar context: what handshakes use; connections that are made keep what they began with.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.context = None if settings.tls_cert is None else self._context()

    def _context(self) -> ssl.SSLContext:
        """TLS 1.2 and up."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._put(context)
        return context

    def _put(self, context: ssl.SSLContext) -> None:
        # An empty password: without one OpenSSL would ask for it on the terminal.
        context.load_cert_chain(self._settings.tls_cert or "", self._settings.tls_key, password="")

    def renew(self) -> None:
        """Take up what the files hold now.

        :raises OSError: they can't be read, or don't fit each other (`ssl.SSLError`); nothing is changed then.
        """
        if self.context is not None:
            self._context()  # one that fails half way must not be the one at work
            self._put(self.context)


class Reloader:
    """:param read: gives the table as it is now, at any length; raises `ConfigError` or `Refused`.
    :param certificate: the public listener's.
    """

    def __init__(self, gateway: Gateway, read: Callable[[], Table], certificate: Certificate) -> None:
        self._gateway = gateway
        self._read = read
        self._certificate = certificate
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the configuration read again, soon."""
        self._asked.set()

    async def run(self) -> None:
        """Do so whenever asked; for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            faults = await self._reload()
            if faults:
                self._gateway.reporter.reload_ended(faults)
            else:
                log.info(
                    "reloaded", upstreams=len(self._gateway.table.upstreams), routes=len(self._gateway.table.routes)
                )

    async def _reload(self) -> Sequence[str]:
        """Why the old configuration goes on; nothing when the new one holds."""
        try:
            table = await asyncio.to_thread(self._read)
            await asyncio.to_thread(self._certificate.renew)
            self._gateway.reload(table)
        except ConfigError as error:
            return tell(error.faults)
        except Refused as refused:
            return refused.faults
        except OSError as error:  # a file went away, or changed, after it was checked
            reason = error.strerror or type(error).__name__
            log.error("reload refused, the old configuration goes on", reason=reason)
            return (reason,)
        return ()
