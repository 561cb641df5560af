"""What the end-to-end tests stand on: a backend under their control, a raw client, and the gateway as a process.

Everything is synchronous: sockets with deadlines, a thread per backend connection. Nothing here tidies bytes.
"""

from __future__ import annotations

from tests.ports import free_port

from .backend import Answer, Backend, Connection, Peer, Seen, reply
from .client import Client, Response
from .gateway import PATIENT, Gateway, request, run_to_exit, running, write_table
from .polling import elapsed, eventually
from .problem import assert_problem
from .processes import children, connections_held, memory, peak_memory_of, tree
from .wire import Body, Cut, Head, Wire, chunked

__all__ = [
    "PATIENT",
    "Answer",
    "Backend",
    "Body",
    "Client",
    "Connection",
    "Cut",
    "Gateway",
    "Head",
    "Peer",
    "Response",
    "Seen",
    "Wire",
    "assert_problem",
    "children",
    "chunked",
    "connections_held",
    "elapsed",
    "eventually",
    "free_port",
    "memory",
    "peak_memory_of",
    "reply",
    "request",
    "run_to_exit",
    "running",
    "tree",
    "write_table",
]
