"""How often a client may ask: each request is counted before anything is done for it.

Rules: a client is its verified user, else its address; a named counter is one for all routes that name it; a value of a
form's field has a count of its own, so that one account is not tried from many addresses. Of the limits that are
looked at together, first those of the client, then those of fields, one that refuses keeps the others from counting.
Every answer says how much is left (draft-ietf-httpapi-ratelimit-headers-10).
"""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from aiogateway.address import counted_as
from aiogateway.errors import Problem
from aiogateway.metrics import Metrics
from aiogateway.metrics.families import RATE_LIMIT
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Route
from aiogateway.settings.values import Rate
from aiogateway.stores import LOGGED_UP_TO, Limiter, Policy, Verdict

T = TypeVar("T")

CLIENT: Final = "client"
ADMITTED: Final = "admitted"
REFUSED: Final = "refused"
# Bytes; an e-mail address has at most 254 (RFC 5321 section 4.5.3).
MAX_VALUE: Final = 320
LOCAL: Final = "local"
BACKENDS: Final = (LOCAL, "redis")


class Policies:
    """The limits of all routes as counters know them.

    Counters that share a name and a period are one, whatever the limits that look at it.
    """

    def __init__(self, routes: Iterable[Route], auth_failures: Sequence[Rate]) -> None:
        self._most: dict[str, int] = {}
        wanted: dict[tuple[Route, str], list[tuple[Rate, str]]] = {}
        for route in routes:
            for by in route.rate_limit_by:
                wanted[route, by] = [(rate, self._scope(rate, by, _name(route))) for rate in route.rate_limit or ()]
        failures = [(rate, self._scope(rate, CLIENT, "failed authentications")) for rate in auth_failures]
        self._made = {key: self._policies(several, key[1]) for key, several in wanted.items()}
        self.auth_failures = self._policies(failures, "failed authentication", rare=True)

    def of(self, route: Route, by: str) -> tuple[Policy, ...]:
        """The limits of a route that count by one thing."""
        return self._made.get((route, by), ())

    def _scope(self, rate: Rate, by: str, own: str) -> str:
        scope = f"{rate.counter or own} / {rate.period} s by {by}"
        self._most[scope] = max(rate.limit, self._most.get(scope, 0))
        return scope

    def _policies(self, several: Iterable[tuple[Rate, str]], by: str, *, rare: bool = False) -> tuple[Policy, ...]:
        suffix = "" if by == CLIENT else f" by {by}"
        return tuple(
            Policy(f"{rate}{suffix}", rate.limit, rate.period, scope, self._most[scope] <= LOGGED_UP_TO, rare)
            for rate, scope in several
        )


def _name(route: Route) -> str:
    """What tells a route's own counter from others; no name of a counter holds a space."""
    return f"{','.join(sorted(route.methods))} {route.pattern}"


class Judge:
    """What is done about verdicts on some limits: they are counted and told, and may refuse the request."""

    def __init__(self, policies: Sequence[Policy], metrics: Metrics) -> None:
        self._names = [policy.name for policy in policies]
        self._metrics = metrics
        self._admitted = {
            backend: [metrics.count(RATE_LIMIT, name, ADMITTED, backend) for name in self._names]
            for backend in BACKENDS
        }
        left = ", ".join(f'"{name}";r=%d;t=%d' for name in self._names)
        quotas = ", ".join(f'"{policy.name}";q={policy.limit};w={policy.period}' for policy in policies)
        self._lines = f"RateLimit: {left}\r\nRateLimit-Policy: {quotas}".encode()

    def lines(self, verdicts: Sequence[Verdict]) -> bytes:
        """`RateLimit` and `RateLimit-Policy`, without the last line end."""
        numbers = [number for verdict in verdicts for number in (verdict.remaining, whole_seconds(verdict.reset))]
        return self._lines % tuple(numbers)

    def judge(self, request: Request, verdicts: Sequence[Verdict], backend: str, *, show: bool = True) -> None:
        """Let a request pass, or not.

        :param backend: who decided, one of `BACKENDS`.
        :param show: whether an answer that isn't refused says what is left.
        :raises Problem: `rate_limited`.
        """
        counts = self._admitted[backend]
        if show and len(verdicts) == 1:  # as most requests
            ((admitted, remaining, reset),) = verdicts
            if admitted:
                counts[0].events += 1
                request.due.append(self._lines % (remaining, whole_seconds(reset)))
                return
        refused = False
        for verdict, name, count in zip(verdicts, self._names, counts, strict=True):
            if verdict.admitted:
                count.events += 1
            else:
                refused = True
                self._metrics.count(RATE_LIMIT, name, REFUSED, backend).events += 1
        if refused or show:
            request.due.append(self.lines(verdicts))
        if refused:
            raise refusal(verdicts)


def whole_seconds(wait: float) -> int:
    """Seconds as fields give them; the nanosecond by which a limit's windows overlap makes no second."""
    return math.ceil(wait - 0.001)


def refusal(verdicts: Iterable[Verdict]) -> Problem:
    """What a client is told that asked too often, with the seconds it has to wait."""
    wait = max((whole_seconds(verdict.reset) for verdict in verdicts if not verdict.admitted), default=1)
    return Problem("rate_limited", headers=(("Retry-After", str(max(wait, 1))),))


async def nothing_more(request: Request) -> None:
    """What is done with a request that is counted only."""


def rate_limit(
    inner: Callable[[Request], Awaitable[T]], policies: Sequence[Policy], limiter: Limiter, metrics: Metrics
) -> Callable[[Request], Awaitable[T]]:
    """Count by client.

    :raises Problem: `rate_limited`.
    """
    judge = Judge(policies, metrics).judge

    def checks_of(request: Request) -> list[tuple[Policy, str]]:
        identity = request.identity
        who = identity.who if identity is not None else address_of(request)
        return [(policy, who) for policy in policies]

    async def ask(request: Request, began: float) -> T:
        """The way over machines."""
        verdicts = await limiter.take(checks_of(request))
        request.record.limit += time.monotonic() - began
        judge(request, verdicts, limiter.backend)
        return await inner(request)

    def answer(request: Request) -> Awaitable[T]:
        began = time.monotonic()
        if limiter.remote is not None:
            return ask(request, began)
        verdicts = limiter.local.take(checks_of(request))
        request.record.limit += time.monotonic() - began
        judge(request, verdicts, LOCAL)
        return inner(request)

    return answer


def rate_limit_by_field(
    inner: Handler, by: Mapping[str, Sequence[Policy]], limiter: Limiter, metrics: Metrics
) -> Handler:
    """Count by what stands in fields of the body; a request without the field counts for its address.

    :param by: a field's name, as `form:email`, with its limits.
    :raises Problem: `rate_limited`; `bad_request` for a field that stands there more than once, or is too long.
    """
    judge = Judge([policy for policies in by.values() for policy in policies], metrics).judge

    async def answer(request: Request) -> Response:
        checks, began = [], time.monotonic()
        for name, policies in by.items():
            values = request.fields[name]
            if len(values) > 1:
                raise Problem("bad_request", "a field of the body is repeated")
            who = f"value {spelled(values[0])}" if values else address_of(request)
            checks += [(policy, who) for policy in policies]
        verdicts = await limiter.take(checks)
        request.record.limit += time.monotonic() - began
        # What is left of another's account is nobody's business.
        judge(request, verdicts, limiter.backend, show=False)
        return await inner(request)

    return answer


def address_of(request: Request) -> str:
    return f"address {counted_as(request.client)}"


def spelled(value: bytes) -> str:
    """A value in the one spelling that stands for all that a service may take for the same account.

    :raises Problem: `bad_request` for a value that names no account; the time to normalise grows with its square.
    """
    value = value.strip()
    if len(value) > MAX_VALUE:
        raise Problem("bad_request", "a field that limits count by is too long")
    text = unicodedata.normalize("NFKD", value.decode("utf-8", "replace").casefold())
    # Blanks and what can't be seen are trimmed by some, accents don't count in some databases.
    return "".join(character for character in text if unicodedata.category(character)[0] not in "CMZ")
