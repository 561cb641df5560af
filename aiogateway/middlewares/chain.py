"""What a middleware is: a function that is given the next handler and gives back one around it.

A handler is called to be awaited at once. One that only decides what becomes of a request does so when it is called,
raises what it refuses with, and gives back what the next handler gave: a coroutine of its own for each of them would
cost more than what most of them do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

Handler = Callable[[Request], Awaitable[Response]]
