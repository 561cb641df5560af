"""What goes wrong while connecting, in words: for the log, for metrics, and for the client."""

from __future__ import annotations

import errno
import ssl
from typing import Final

import aiohttp

from aiogateway.errors import Problem
from aiogateway.routes import Upstream

# Our own want of something: says nothing about the destination.
OWN_WANT: Final = "descriptors"
_WANTS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})

# In this order: an error may be several of these.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "certificate"),
    (aiohttp.ClientSSLError, "tls"),
    (ssl.SSLError, "tls"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (UnicodeError, "dns"),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
)
_DETAILS = {
    "certificate": ("upstream_tls", "the {} service's certificate can't be verified"),
    "tls": ("upstream_tls", "no secure connection to the {} service could be made"),
    "dns": ("upstream_unreachable", "the {} service can't be reached: its name has no address"),
    "timeout": ("upstream_unreachable", "the {} service can't be reached: it does not accept connections"),
    OWN_WANT: ("overloaded", "no connection to the {} service could be made: the gateway has too many open"),
}


def tls_context(upstream: Upstream) -> ssl.SSLContext | bool:
    """How an `https` destination is verified; the default store unless the upstream names a bundle of its own."""
    if upstream.authorities is None:
        return True
    context = ssl.create_default_context(cadata=upstream.authorities)
    context.set_alpn_protocols(["http/1.1"])
    return context


def reason_of(exc: BaseException, *, tls: bool) -> str:
    """Why connecting failed, in one word.

    :param tls: whether TLS was to be spoken: a connection that is lost while it is made was lost in the handshake.
    """
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if isinstance(cause, OSError) and cause.errno in _WANTS:
        return OWN_WANT
    named = (word for kind, word in _REASONS for candidate in (exc, cause) if isinstance(candidate, kind))
    return next(named, "tls" if tls and isinstance(cause, ConnectionError) else "os")


def unreachable(upstream: str, reason: str) -> Problem:
    """The problem for a connection that could not be made; nothing was sent."""
    code, detail = _DETAILS.get(reason, ("upstream_unreachable", "the {} service can't be reached"))
    return Problem(code, detail.format(upstream))
