"""A backend under the tests' control: it records requests byte for byte and answers as each test scripts it.

A test gets a path of its own with `serve(answer)`, so that many tests share one backend. An answer is the bytes of a
response, sent once the request's body is in, or a function that is given the `Peer` and does as it likes with it.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .client import reset
from .polling import eventually
from .wire import Body, Cut, Head, Wire, framing_of

PATIENCE = 60.0


@dataclass
class Connection:
    """One connection as the backend saw it; times are monotonic seconds."""

    number: int
    opened: float
    closed: float | None = None
    requests: int = 0


@dataclass
class Seen:
    """One request: its head as it came, and its body once (and as far as) the answer read it."""

    head: Head
    connection: Connection
    at: float
    body: Body = field(default_factory=lambda: Body("none"))

    @property
    def method(self) -> str:
        """The method."""
        return self.head.start.decode("latin1").split(" ")[0]

    @property
    def target(self) -> str:
        """The request target, byte for byte."""
        return self.head.start.decode("latin1").split(" ")[1]

    def values(self, name: str) -> list[str]:
        """Every value of a field."""
        return self.head.values(name)

    def value(self, name: str) -> str | None:
        """The one value of a field, or None."""
        return self.head.value(name)

    @property
    def names(self) -> set[str]:
        """The names of all fields, in lower case."""
        return {name for name, _ in self.head.fields}


class Peer:
    """The backend's side of one exchange."""

    def __init__(self, sock: socket.socket, wire: Wire, seen: Seen) -> None:
        self._sock, self._wire, self.request = sock, wire, seen
        self.closed = False

    def read_body(self) -> Body:
        """Read the request's body; one that was cut comes back with `complete` false."""
        framing, length = framing_of(self.request.head)
        return self._wire.body(framing, length, self.request.body)

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._sock.sendall(data)

    def wait(self, event: threading.Event) -> None:
        """Wait until the test lets the answer go on. Raises Cut, which ends the connection, if it never does."""
        if not event.wait(PATIENCE / 3):
            raise Cut(b"")

    def left(self) -> float:
        """Wait for the gateway to hang up, passing over what it still sends; the monotonic time at which it did."""
        with contextlib.suppress(Cut):
            while not self._wire.ended():
                self._wire.body("close")
        return time.monotonic()

    def close(self) -> None:
        """Close, as a backend does that dies in good order: FIN."""
        self.closed = True
        self._sock.close()

    def half_close(self) -> None:
        """End the sending side only."""
        self._sock.shutdown(socket.SHUT_WR)

    def end_tls(self) -> None:
        """Say that nothing more comes, in TLS (RFC 8446 section 6.1), without waiting for the peer to say the same."""
        if not isinstance(self._sock, ssl.SSLSocket):
            raise TypeError("the connection has no TLS")
        self._sock.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._sock.unwrap()

    def reset(self) -> None:
        """Close with a RST."""
        self.closed = True
        reset(self._sock)


Answer = Callable[[Peer], None]


def reply(status: int = 200, body: bytes = b'{"ok":true}', *fields: str, kind: str = "application/json") -> bytes:
    """A response with a Content-Length; `fields` are whole field lines."""
    lines = [f"HTTP/1.1 {status} Said", *fields, f"Content-Length: {len(body)}"]
    if body and kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode("latin1") + body


def _once_read(data: bytes) -> Answer:
    def answer(peer: Peer) -> None:
        if peer.read_body().complete:
            peer.send(data)
        else:
            peer.close()

    return answer


class Backend:
    """A listening socket on 127.0.0.1 with a thread per connection. Close it, or use it as a context manager."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0, host: str = "127.0.0.1") -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self._numbers = itertools.count(1)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.connections: list[Connection] = []
        self.requests: list[Seen] = []
        self.most_open = 0
        self._listener = socket.create_server((host, port), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{self.port}"
        self._start(self._accept)

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, end every connection and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def serve(self, answer: Answer | bytes, under: str = "/b", at: str | None = None) -> str:
        """Answer requests for one path and those below it. Returns the path, a fresh one by default."""
        path = at or f"{under}/{next(self._numbers)}"
        self._answers[path] = _once_read(answer) if isinstance(answer, bytes) else answer
        return path

    def seen(self, path: str) -> list[Seen]:
        """The requests for a path and those below it, in order."""
        return [seen for seen in self.requests if path in _prefixes(seen.target)]

    def one(self, path: str) -> Seen:
        """The only request for a path. Raises AssertionError when there was none or a second."""
        seen = self.seen(path)
        assert len(seen) == 1, f"{path} was asked for {len(seen)} times"
        return seen[0]

    def wait_for(self, path: str, count: int = 1, within: float = 30.0) -> Seen:
        """The `count`th request for a path, waited for."""
        eventually(lambda: len(self.seen(path)) >= count, f"{count} requests for {path}", within)
        return self.seen(path)[count - 1]

    def open_now(self) -> list[Connection]:
        """The connections that have not been seen to end."""
        return [connection for connection in self.connections if connection.closed is None]

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                connection = Connection(len(self.connections) + 1, time.monotonic())
                self.connections.append(connection)
                self.most_open = max(self.most_open, len(self.open_now()))
                self._sockets.add(sock)
            self._start(self._hold, sock, connection)

    def _hold(self, sock: socket.socket, connection: Connection) -> None:
        speaking = sock
        try:
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                speaking = self._tls.wrap_socket(sock, server_side=True)
            self._converse(speaking, connection)
        except (OSError, Cut):  # the gateway left: the tests read it off the connection's record
            pass
        finally:
            connection.closed = time.monotonic()
            with self._lock:
                self._sockets.discard(sock)
            speaking.close()
            sock.close()

    def _converse(self, sock: socket.socket, connection: Connection) -> None:
        wire = Wire(sock)
        while not wire.ended():
            try:
                head = wire.head()
            except AssertionError:  # such as a TLS hello: answered as servers do
                sock.sendall(reply(400, b"", "Connection: close"))
                return
            seen = Seen(head, connection, time.monotonic())
            connection.requests += 1
            peer = Peer(sock, wire, seen)
            answer = next((self._answers[path] for path in _prefixes(seen.target) if path in self._answers), None)
            with self._lock:
                self.requests.append(seen)
            (answer or _once_read(reply()))(peer)
            if peer.closed:
                return


def _prefixes(target: str) -> Iterator[str]:
    """A target's path and those above it, the longest first."""
    path = target.partition("?")[0]
    while path:
        yield path
        path = path.rpartition("/")[0]
