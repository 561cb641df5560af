"""Which address is the client's."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.address import MAX_HOPS, Network, client_of, counted_as, is_trusted, parse

TRUSTED: Sequence[Network] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ('"192.0.2.1"', "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%any text, eyJ a@b.example", "fe80::1"),
        ("", None),
        ("unknown", None),
        ("_hidden", None),
        ("client.example", None),
        ("192.0.2.256", None),
        ("192.0.2.01", None),
        ("192.0.2.1, 192.0.2.2", None),
    ],
)
def test_an_address_is_read_as_proxies_write_it(text: str, address: str | None) -> None:
    parsed = parse(text)
    assert (None if parsed is None else str(parsed)) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.9", ["203.0.113.5"], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.5, 10.0.0.2"], "203.0.113.5"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.5", "10.0.0.2"], "203.0.113.5"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.5, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.5, "], "10.0.0.1"),
        ("fd00::1", ["[2001:db8::1]:99"], "2001:db8::1"),
        ("unknown", ["203.0.113.5"], "unknown"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert client_of(peer, forwarded, TRUSTED) == client


def test_without_trusted_networks_nothing_that_was_forwarded_counts() -> None:
    assert client_of("10.0.0.1", ["203.0.113.5"], ()) == "10.0.0.1"


def test_only_so_many_hops_are_looked_at() -> None:
    hops = ["203.0.113.5"] + ["10.0.0.2"] * MAX_HOPS
    assert client_of("10.0.0.1", hops, TRUSTED) == "10.0.0.2"
    assert client_of("10.0.0.1", hops[:-1], TRUSTED) == "203.0.113.5"


def slow_client_of(peer: str, forwarded_for: list[str], trusted: Sequence[Network]) -> str:
    """The rule in its plainest form: the chain from the client to us, cut wherever belief ends."""
    chain = [hop.strip() for value in forwarded_for for hop in value.split(",")] + [peer]
    believed = len(chain) - 1
    while believed > 0:
        here = ip_address(chain[believed])
        try:
            ip_address(chain[believed - 1])
        except ValueError:
            break
        if not any(here in network for network in trusted):
            break
        believed -= 1
    return chain[believed]


inner = st.sampled_from(["10.0.0.1", "10.9.9.9", "fd00::1"])
outer = st.sampled_from(["203.0.113.5", "2001:db8::1", "192.0.2.1"])
junk = st.sampled_from(["", "unknown", "a.b", "1.2.3"])
values = st.lists(st.lists(inner | outer | junk, min_size=1, max_size=5).map(", ".join), max_size=4)


@given(inner | outer, values)
def test_the_client_is_the_one_that_the_plain_rule_finds(peer: str, forwarded: list[str]) -> None:
    assert client_of(peer, forwarded, TRUSTED) == slow_client_of(peer, forwarded, TRUSTED)


@given(outer, st.lists(st.text()))
def test_a_peer_that_is_not_trusted_can_claim_nothing(peer: str, forwarded: list[str]) -> None:
    assert client_of(peer, forwarded, TRUSTED) == peer


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    parsed = parse(text)
    assert parsed is None or ip_address(str(parsed)) == parsed
    assert not is_trusted(None, TRUSTED)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_limits_count_ipv4_addresses_and_ipv6_networks(address: str, counted: str) -> None:
    assert counted_as(address) == counted
