"""What a middleware is: a function that is given the next handler and gives back one around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

Handler = Callable[[Request], Awaitable[Response]]
