"""What an allow-listed page may know of a request's time (the Server Timing specification): milliseconds a part."""

from __future__ import annotations

from aiogateway.proxy.record import Record


def server_timing(record: Record) -> bytes:
    """The `Server-Timing` line as far as the request has come."""
    parts = record.auth, record.limit, record.pool, record.connect, record.ttfb
    return b"Server-Timing: auth;dur=%.3f, limit;dur=%.3f, pool;dur=%.3f, connect;dur=%.3f, ttfb;dur=%.3f" % tuple(
        part * 1000 for part in parts
    )
