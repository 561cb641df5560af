"""A body of known length that goes past the parser."""

from __future__ import annotations

import asyncio

from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.streams import PlainBody


async def fed(pieces: list[bytes], length: int) -> tuple[bytes, bytes, bool]:
    """What a reader got of a body of this length, what was left behind it, and whether the reader saw the end."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), 2**20, loop=loop)
    body = PlainBody(reader, length)
    behind = b""
    for piece in pieces:
        if body.left:
            behind += body.feed(piece)
        else:
            behind += piece
    return reader.read_nowait(), behind, reader.is_eof()


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.data())
def test_it_takes_as_many_bytes_as_were_announced_and_no_more(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    length = data.draw(st.integers(1, len(whole) + 5))
    body, behind, ended = asyncio.run(fed(pieces, length))
    assert body == whole[:length]
    assert behind == whole[length:]
    assert ended == (length <= len(whole))
