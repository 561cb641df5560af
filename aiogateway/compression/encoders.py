"""Makes content codings: one row each, for bodies that flow, that are at hand, and that are encoded once for many.

Levels are those that cost about as much as what they save is worth (docs/decisions/0011); windows are small, because
every body that flows has an encoder of its own.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import brotli
from isal import isal_zlib

from aiogateway.linux import Buffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# gzip's wrapping around deflate, with a window of 32 KiB (RFC 1952).
_GZIP: Final = 31
# zstd and brotli: 128 and 256 KiB. A client needs that much memory too (RFC 8878 section 3.1.1.1.2: at most 8 MiB).
_ZSTD_WINDOW: Final = 17
_BROTLI_WINDOW: Final = 18


class Encoder(Protocol):
    """Encodes a body as it comes."""

    def feed(self, chunk: Buffer) -> bytes:
        """What can be sent after this chunk; it may be nothing yet."""
        ...

    def flush(self) -> bytes:
        """What is missing for the client to read all that was fed."""
        ...

    def finish(self) -> bytes:
        """The end."""
        ...


class Gzip:
    """gzip (RFC 1952)."""

    def __init__(self) -> None:
        deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)
        self.feed: Callable[[Buffer], bytes] = deflate.compress
        self._flush = deflate.flush

    def flush(self) -> bytes:
        return self._flush(isal_zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._flush(isal_zlib.Z_FINISH)


class Zstd:
    """zstd (RFC 8878)."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(options=_zstd(1))
        self.feed: Callable[[Buffer], bytes] = self._compressor.compress

    def flush(self) -> bytes:
        return self._compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)


class Brotli:
    """brotli (RFC 7932)."""

    def __init__(self) -> None:
        compressor = brotli.Compressor(quality=1, lgwin=_BROTLI_WINDOW)
        self.feed: Callable[[Buffer], bytes] = compressor.process
        self.flush: Callable[[], bytes] = compressor.flush
        self.finish: Callable[[], bytes] = compressor.finish


def _zstd(level: int) -> dict[int, int]:
    return {zstd.CompressionParameter.compression_level: level, zstd.CompressionParameter.window_log: _ZSTD_WINDOW}


@dataclass(frozen=True, slots=True)
class Coding:
    """:ivar encoder: for a body that flows.
    :ivar whole: encodes a body that is at hand.
    :ivar thorough: encodes one that is given many times.
    """

    encoder: Callable[[], Encoder]
    whole: Callable[[bytes], bytes]
    thorough: Callable[[Buffer], bytes]


ENCODERS: Final[dict[str, Coding]] = {
    "zstd": Coding(
        Zstd,
        lambda body: zstd.compress(body, options=_zstd(1)),
        lambda body: zstd.compress(body, options=_zstd(9)),
    ),
    "br": Coding(
        Brotli,
        lambda body: bytes(brotli.compress(body, quality=1, lgwin=_BROTLI_WINDOW)),
        lambda body: bytes(brotli.compress(body, quality=5, lgwin=_BROTLI_WINDOW)),
    ),
    "gzip": Coding(
        Gzip,
        lambda body: isal_zlib.compress(body, 1, _GZIP),
        lambda body: zlib.compress(body, 6, _GZIP),
    ),
}
