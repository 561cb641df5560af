"""Taking up a changed configuration without an end: what SIGHUP sets off.

Rules: what is new is read and checked as a whole before anything changes, in a thread, so that requests go on; then
all of it holds at once. Anything wrong with it is told, and changes nothing. One reading runs at a time; asking while
it does makes it run once more. Of several workers none reads files itself, so that all get the same, whatever becomes
of the files meanwhile (`Shared`).
"""

from __future__ import annotations

import asyncio
import pickle
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from aiogateway.app import Gateway
from aiogateway.routes import Table
from aiogateway.service_manager import Overseer
from aiogateway.settings import ConfigError, Settings
from aiogateway.settings.faults import ENVIRONMENT, Fault

log = structlog.get_logger(__name__)

# What a reading for workers exits with when it found faults, and has told of them.
REFUSED: Final = 3


class Reading(NamedTuple):
    """How reading the configuration again ended.

    :ivar table: what is to hold now; None when that is what holds already.
    :ivar faults: why what was read last is not taken, each as a line; none when it is.
    :ivar at: Unix time in seconds.
    """

    table: Table | None
    faults: tuple[str, ...]
    at: float


Reader = Callable[[], Reading | None]


def tell(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Report why a configuration is not taken; answers the same as lines."""
    lines = tuple(map(str, faults))
    for line in lines:
        log.error("fault in the new configuration", fault=line)
    log.error("reload refused, the old configuration goes on", faults=len(lines))
    return lines


class Certificate:
    """The public listener's certificate.

    :param settings: name its files; one that is wrong there already is found before.
    :ivar context: what the listener is made with; None when it speaks no TLS. Its handshakes go on with the newest
        certificate, in a context that was complete before the first one saw it: one at work can't be changed without
        a moment in which certificate and key don't fit.
    :raises ConfigError: as `renew`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.context = self._newest = None if settings.tls_cert is None else self._load()
        if self.context is not None:
            self.context.sni_callback = self._lead

    def renew(self) -> None:
        """Take up what the files hold now. Connections that are made keep what they began with.

        :raises ConfigError: they can't be read, or don't fit each other; nothing is changed then.
        """
        if self.context is not None:
            self._newest = self._load()

    def _load(self) -> ssl.SSLContext:
        """TLS 1.2 and up."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # An empty password: without one OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self._settings.tls_cert or "", self._settings.tls_key, password="")
        except OSError as error:  # OpenSSL's own is one of these
            reason = str(error.strerror or type(error).__name__)
            raise ConfigError([Fault(ENVIRONMENT, "GATEWAY_TLS_CERT", "", f"can't be used: {reason}")]) from error
        return context

    def _lead(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """Called in each handshake, whether the client names a server or not."""
        if self._newest is not None and self._newest is not context:
            connection.context = self._newest


class Shared:
    """What a parent read, for its workers: the newest set that was good, and how the last reading ended.

    They are kept apart, so that a worker that is late still gets a good set that others have, though a reading after
    it was refused.

    :param folder: the workers', which nobody else can write to: they trust what is in it.
    """

    def __init__(self, folder: str) -> None:
        self._set = Path(folder, "configuration")
        self._outcome = Path(folder, "outcome")
        self._held = 0

    def publish(self, table: Table) -> None:
        """A reading went well."""
        _replace(self._set, (time.monotonic_ns(), table.upstreams, table.routes))
        _replace(self._outcome, (time.time(), ()))

    def refuse(self, faults: Sequence[str]) -> None:
        """A reading ended with faults."""
        _replace(self._outcome, (time.time(), tuple(faults)))

    def read(self) -> Reading | None:
        """How the last reading ended, with the newest set unless this was asked before; None before the first."""
        try:
            at, faults = pickle.loads(self._outcome.read_bytes())  # first: the set is never older then
            number, upstreams, routes = pickle.loads(self._set.read_bytes()) if self._set.exists() else (0, {}, ())
        except FileNotFoundError:
            return None
        table = Table(upstreams, routes) if number > self._held else None
        self._held = max(number, self._held)
        return Reading(table, faults, at)


def _replace(path: Path, content: tuple[Any, ...]) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(pickle.dumps(content))
    new.replace(path)


def read_alone(read: Callable[[], Table], certificate: Certificate) -> Reading:
    """Read for the only process there is.

    :param read: gives the table as it is by now; raises `ConfigError`.
    """
    try:
        table = read()
        certificate.renew()
    except ConfigError as error:
        return Reading(None, tell(error.faults), time.time())
    return Reading(table, (), time.time())


def read_for_workers(read: Callable[[], Table], shared: Shared) -> int:
    """Read, and leave what was found for the workers; answers an exit code. Runs in a process of its own.

    :param read: as `read_alone`'s.
    """
    try:
        shared.publish(read())
    except ConfigError as error:
        shared.refuse(tell(error.faults))
        return REFUSED
    return 0


def reading_ended(shared: Shared, certificate: Certificate, code: int) -> None:
    """What a parent does once `read_for_workers` is over: workers to come begin with the newest certificate.

    :param code: that process's exit code.
    """
    try:
        if code == 0:
            certificate.renew()
        elif code != REFUSED:
            log.error("reload refused, the old configuration goes on", reason="reading it failed", code=code)
            shared.refuse(("reading the configuration failed: see the log",))
    except (ConfigError, OSError) as error:
        log.error("a reload can't be told to workers to come", reason=str(error))


def read_as_worker(shared: Shared, certificate: Certificate) -> Reading | None:
    """What the parent read, with the certificate that was checked with it; has that changed since, it alone stays."""
    reading = shared.read()
    # Who began just before this was told has the table by now, and may have the certificate of before.
    if reading is None or (reading.table is None and reading.faults):
        return reading
    try:
        certificate.renew()
    except ConfigError as error:
        lines = tuple(map(str, error.faults))
        log.error("the certificate is not taken up, the old one goes on", fault=lines[0])
        return reading._replace(faults=(*reading.faults, *lines))
    return reading


class Reloader:
    """:param read: reads again, at any length; gives None when there is nothing to read.

    :param overseer: told of each reading.
    """

    def __init__(self, gateway: Gateway, read: Reader, overseer: Overseer) -> None:
        self._gateway = gateway
        self._read = read
        self._overseer = overseer
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the configuration read again, soon."""
        self._asked.set()

    async def run(self) -> None:
        """Do so whenever asked; for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._overseer.reloading()
            refused = True
            try:
                refused = await self._reload()
            except Exception:  # a fault of ours: the next set may do without it, so asking again must stay possible
                log.exception("reload failed")
                self._gateway.reporter.reload_ended(time.time(), ("taking it up failed: see the log",))
            self._overseer.reloaded(refused=refused)

    async def _reload(self) -> bool:
        """Whether what was read is refused."""
        gateway = self._gateway
        reading = await asyncio.to_thread(self._read)
        if reading is None:
            return False
        if reading.table is not None:
            await gateway.reload(reading.table)
            log.info("reloaded", upstreams=len(gateway.table.upstreams), routes=len(gateway.table.routes))
        gateway.reporter.reload_ended(reading.at, reading.faults)
        return bool(reading.faults)
