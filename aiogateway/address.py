"""Who the client is: one resolver for what goes upstream, and for whatever counts or logs by address.

The socket's peer is the client, unless it is a trusted proxy; then `X-Forwarded-For` is read from the right, through
trusted addresses only, and the first one that is not trusted is the client. What stands left of it is the client's
own claim, and never believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

MAX_HOPS = 100


def parse(text: str) -> Address | None:
    """An address as proxies write it: bare, with a port, in brackets, IPv4 mapped into IPv6; None for anything else.

    Without the zone that IPv6 may have: it says nothing elsewhere (RFC 4007 section 6), and may be any text at all.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def is_trusted(address: Address | None, trusted: Iterable[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def client_of(peer: str, forwarded_for: Iterable[str], trusted: Iterable[Network]) -> str:
    """The client's address.

    :param peer: the socket's peer, an IP address.
    :param forwarded_for: the values of the request's `X-Forwarded-For` fields, in order.
    :param trusted: networks whose `X-Forwarded-For` is believed (`GATEWAY_TRUSTED_PROXIES`).
    """
    address = parse(peer)
    if address is None or not is_trusted(address, trusted):
        return peer if address is None else str(address)
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        parsed = parse(hop)
        if parsed is None:
            break
        address = parsed
        if not is_trusted(address, trusted):
            break
    return str(address)


@lru_cache(maxsize=4096)
def counted_as(address: str) -> str:
    """What limits count by: an IPv4 address, or the /64 that one IPv6 client has to itself (RFC 6177 section 2)."""
    parsed = parse(address)
    return str(IPv6Network((int(parsed), 64), strict=False)) if isinstance(parsed, IPv6Address) else address


def without_userinfo(url: str) -> str:
    """A URL without the password it may hold."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
