"""What is encoded can be decoded: whole, as it flows, and up to every flush."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.compression.encoders import ENCODERS


class Gunzip:
    """Decodes gzip as it comes."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)

    def feed(self, data: bytes) -> bytes:
        return self._inflate.decompress(data)


class Unzstd:
    """Decodes zstd as it comes."""

    def __init__(self) -> None:
        self._decompressor = zstd.ZstdDecompressor()

    def feed(self, data: bytes) -> bytes:
        return self._decompressor.decompress(data) if data else b""


class Unbrotli:
    """Decodes brotli as it comes."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes) -> bytes:
        read = piece = self._decompressor.process(data)
        while piece and not self._decompressor.is_finished():  # it gives 32 KiB at a time
            piece = self._decompressor.process(b"")
            read += piece
        return bytes(read)


DECODERS: dict[str, Callable[[], Any]] = {"gzip": Gunzip, "zstd": Unzstd, "br": Unbrotli}
CODING = pytest.mark.parametrize("coding", ENCODERS)


@CODING
@given(body=st.binary(max_size=3000))
def test_a_whole_body_comes_out_as_it_went_in(coding: str, body: bytes) -> None:
    row = ENCODERS[coding]
    assert DECODERS[coding]().feed(row.whole(body)) == body
    assert DECODERS[coding]().feed(row.thorough(body)) == body


@CODING
@given(chunks=st.lists(st.tuples(st.binary(min_size=1, max_size=2000), st.booleans()), max_size=12))
def test_after_a_flush_a_client_can_read_all_that_was_fed(coding: str, chunks: list[tuple[bytes, bool]]) -> None:
    encoder, decoder = ENCODERS[coding].encoder(), DECODERS[coding]()
    fed = read = b""
    for chunk, late in chunks:
        fed += chunk
        read += decoder.feed(encoder.feed(chunk))
        if late:
            read += decoder.feed(encoder.flush())
            assert read == fed
    assert read + decoder.feed(encoder.finish()) == fed
