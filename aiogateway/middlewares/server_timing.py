"""How long the stages of a request took, for who looks at it in a browser (W3C Server Timing)."""

from __future__ import annotations

from functools import lru_cache

from aiogateway.proxy.record import Record


@lru_cache(maxsize=8192)
def _milliseconds(micros: int) -> bytes:
    """Remembered: most stages take a few hundred microseconds, and to spell a fraction costs more than to look here."""
    return b"%.3f" % (micros / 1000)


def server_timing(record: Record) -> bytes:
    """The `Server-Timing` line as far as the request has come."""
    shown = _milliseconds
    return b"Server-Timing: auth;dur=%b, limit;dur=%b, pool;dur=%b, connect;dur=%b, ttfb;dur=%b" % (
        shown(int(record.auth * 1e6)),
        shown(int(record.limit * 1e6)),
        shown(int(record.pool * 1e6)),
        shown(int(record.connect * 1e6)),
        shown(int(record.ttfb() * 1e6)),
    )
