"""Slow clients, run as `python -m benchmarks.soak.slow_clients PORT HEADS READERS PATH`.

Some send a head a byte a second, some ask for a large answer and read a byte a second. All are replaced as they are
cut off. Prints a line once all are there, and ends with its parent's signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sys


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def slow_head(port: int) -> None:
    loop = asyncio.get_running_loop()
    with await connected(port) as sock:
        for byte in b"GET / HTTP/1.1\r\nHost: slow\r\nX-Padding: " + b"x" * 1000:
            await loop.sock_sendall(sock, bytes([byte]))
            await asyncio.sleep(1.0)


async def slow_read(port: int, path: str) -> None:
    loop = asyncio.get_running_loop()
    with await connected(port) as sock:
        await loop.sock_sendall(sock, f"GET {path} HTTP/1.1\r\nHost: slow\r\n\r\n".encode())
        data = await loop.sock_recv(sock, 1)
        while data:
            await asyncio.sleep(1.0)
            data = await loop.sock_recv(sock, 1)


async def again_and_again(port: int, path: str | None) -> None:
    while True:
        with contextlib.suppress(OSError):
            await (slow_head(port) if path is None else slow_read(port, path))
        await asyncio.sleep(1.0)


async def run(port: int, heads: int, readers: int, path: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    tasks = []
    for number in range(heads + readers):
        tasks.append(asyncio.create_task(again_and_again(port, None if number < heads else path)))
        if number % 20 == 0:
            await asyncio.sleep(0.02)
    print("there", flush=True)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
