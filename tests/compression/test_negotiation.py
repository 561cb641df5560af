"""Which coding a client gets, by what it says it takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.compression.negotiation import CODINGS, IDENTITY, Choice, choose


@pytest.mark.parametrize(
    ("said", "coding", "refused"),
    [
        ([], IDENTITY, False),
        ([""], IDENTITY, False),
        (["gzip"], "gzip", False),
        (["GZip"], "gzip", False),
        (["x-gzip"], "gzip", False),
        (["deflate"], IDENTITY, False),
        (["gzip, deflate, br, zstd"], "zstd", False),
        (["gzip", "br"], "br", False),
        (["gzip;q=1.0, br;q=0.5"], "gzip", False),
        (["gzip;q=0.5, br;q=0.5"], "br", False),
        (["gzip;q=0"], IDENTITY, False),
        (["gzip;q=0.000, br ; q=0.001"], "br", False),
        (["*"], "zstd", False),
        (["*;q=0.5, gzip"], "gzip", False),
        (["zstd;q=0, *"], "br", False),
        (["identity"], IDENTITY, False),
        (["identity, gzip;q=0.5"], IDENTITY, False),
        (["identity;q=0.5, gzip"], "gzip", False),
        (["identity, gzip"], "gzip", False),
        (["identity;q=0, gzip"], "gzip", True),
        (["gzip, *;q=0"], "gzip", True),
        (["identity;q=0"], IDENTITY, False),
        (["*;q=0"], IDENTITY, False),
        (["identity;q=0.1, *;q=0"], IDENTITY, False),
        (["gzip;q=2"], IDENTITY, False),
        (["gzip;q=-1"], IDENTITY, False),
        (["gzip;q=0.1234, br;q=x, zstd;level=3"], IDENTITY, False),
        (["gzip gzip"], IDENTITY, False),
        ([",, gzip ,"], "gzip", False),
        (["gzip;q=0, gzip"], IDENTITY, False),
    ],
)
def test_the_best_of_what_a_client_takes_is_chosen(said: list[str], coding: str, refused: bool) -> None:
    assert choose(said) == Choice(coding, refused)


@given(st.lists(st.text(max_size=300), max_size=4))
def test_whatever_is_said_one_of_ours_or_none_is_chosen(said: list[str]) -> None:
    found = choose(said)
    assert found.coding in (*CODINGS, IDENTITY)
    assert found.coding != IDENTITY or not found.refused


@given(st.permutations(["gzip", "br;q=0.9", "zstd;q=0.8", "identity;q=0.1"]))
def test_the_order_in_which_it_is_said_means_nothing(said: list[str]) -> None:
    assert choose([", ".join(said)]) == choose(said) == Choice("gzip", False)
