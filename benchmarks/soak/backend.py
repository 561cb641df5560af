"""A backend of the soak's own, run as `python -m benchmarks.soak.backend PORT [--stale]`.

Paths say what it does: `/hang` answers never, `/slow` after a while, `/fail` with 503, `/large` with 300 KB, `/text`
with as much that is worth encoding, `/download` with 50 MB, `/fresh` with what may be stored for a second, `/events`
with a stream, anything else at once, once the body is in. A number in `X-Number` is counted, so that a request that was
executed twice is known; `/counted` answers with what was. With `--stale` it closes kept-alive connections at random.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from typing import Final

from benchmarks.backend import large_answer

LARGE: Final = b"x" * 300_000
TEXT: Final = large_answer()
DOWNLOAD: Final = 50_000_000
SLOW: Final = 0.2
# Share of answers after which a stale backend closes, without a word.
CLOSES: Final = 0.1

counted: Counter[str] = Counter()


def answer(body: bytes, status: str = "200 OK", line: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{line}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_body(reader: asyncio.StreamReader, head: bytes) -> None:
    """Read and drop it."""
    fields = head.lower()
    if b"transfer-encoding: chunked" in fields:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
        return
    _, found, rest = fields.partition(b"content-length: ")
    left = int(rest.partition(b"\r\n")[0]) if found else 0
    while left:
        left -= len(await reader.read(min(left, 1 << 16)) or b"x" * left)


async def events(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(20):
        event = b"data: %d\n\n" % number
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.write(b"0\r\n\r\n")


async def download(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD)
    for sent in range(0, DOWNLOAD, len(LARGE)):
        writer.write(LARGE[: DOWNLOAD - sent])
        await writer.drain()


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stale: bool) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        await read_body(reader, head)
        path = head.split(b" ", 2)[1].partition(b"?")[0]
        if (at := head.lower().find(b"x-number: ")) >= 0:
            counted[head[at + 10 :].partition(b"\r\n")[0].decode()] += 1
        if path == b"/hang":
            await reader.read()
            return
        if path == b"/events":
            await events(writer)
            continue
        if path == b"/slow":
            await asyncio.sleep(SLOW)
        if path == b"/download":
            await download(writer)
            continue
        body = {b"/large": LARGE, b"/text": TEXT}.get(path, b'{"ok":true}')
        if path == b"/counted":
            twice = sum(times > 1 for times in counted.values())
            body = json.dumps({"requests": counted.total(), "twice": twice}).encode()
        line = "Cache-Control: public, max-age=1\r\n" if path == b"/fresh" else ""
        writer.write(answer(body, "503 Unavailable" if path == b"/fail" else "200 OK", line))
        await writer.drain()
        if stale and random.random() < CLOSES:
            await asyncio.sleep(random.random() * 0.02)  # so that some requests are on their way already
            return


async def serve(port: int, stale: bool) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer, stale)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # whoever asked has left
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(hold, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), "--stale" in sys.argv))
