"""Heads as bytes: read as they were written, and nothing else read as one."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.caching import heads
from tests.caching.entries import entry_of

fields = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(
    fields,
    st.binary(max_size=50),
    st.lists(st.tuples(fields, fields), max_size=3),
    st.lists(fields, max_size=3),
    fields,
)
def test_a_head_is_read_as_it_was_written(
    id: str, lines: bytes, vary: list[tuple[str, str]], tags: list[str], source: str
) -> None:
    entry = entry_of(id, lines=lines, vary=tuple(vary), tags=tuple(tags), source=source, etag=id)
    read = heads.read(heads.written(entry))
    assert read is not None
    assert all(getattr(read, name) == getattr(entry, name) for name in entry.__slots__)


@given(st.binary())
def test_other_bytes_are_no_head(raw: bytes) -> None:
    assert heads.read(raw) is None


@pytest.mark.parametrize("name", sorted(entry_of().__slots__))
@pytest.mark.parametrize("value", [None, {}, [[]], "\u20ac", -1, 1.5, [1]])
def test_a_head_with_a_value_of_another_kind_is_none_or_harmless(name: str, value: object) -> None:
    head = orjson.loads(heads.written(entry_of()))
    read = heads.read(orjson.dumps(head | {name: value}))
    if read is not None:
        assert type(getattr(read, name)) is type(getattr(entry_of(), name))


def test_a_head_with_more_or_less_in_it_is_none() -> None:
    head = orjson.loads(heads.written(entry_of()))
    assert heads.read(orjson.dumps(head | {"more": 1})) is None
    del head["etag"]
    assert heads.read(orjson.dumps(head)) is None
