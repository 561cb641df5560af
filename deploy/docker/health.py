"""The image's health check: ends well when the admin listener says that this gateway wants requests.

It runs every few seconds beside the gateway, so it loads next to nothing.
"""

from __future__ import annotations

import os
import socket
import sys

SECONDS = 2.0
# A listener on every address is reached by the loopback one.
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def answer(host: str, port: int) -> str:
    """The first line of what `/readyz` answers.

    :raises OSError: nobody is there, or says anything in time.
    """
    with socket.create_connection((LOOPBACK.get(host, host), port), SECONDS) as connection:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as lines:
            return lines.readline(1024).decode("latin-1").strip()


def main() -> str | None:
    """What is wrong; None if nothing is."""
    own = {name.upper(): value.strip() for name, value in os.environ.items()}
    host, port = own.get("GATEWAY_ADMIN_HOST", ""), int(own.get("GATEWAY_ADMIN_PORT") or 9000)
    try:
        line = answer(host, port)
    except OSError as error:
        return f"the admin listener can't be asked: {error}"
    return None if line.split()[1:2] == ["200"] else f"not ready: {line or 'no answer'}"


if __name__ == "__main__":
    sys.exit(main())
