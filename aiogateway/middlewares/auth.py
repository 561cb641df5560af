"""Who asks: a verified bearer token becomes the request's identity (RFC 6750).

Rules: a token is read from `Authorization` alone. Nothing is believed that wasn't verified, and where nothing can be
verified the request is refused. An address that failed too often is refused before its next token is looked at.
Observing, everything is judged in the same way and nothing is refused.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp.hdrs import AUTHORIZATION

from aiogateway.errors import Problem
from aiogateway.metrics import Metrics
from aiogateway.metrics.families import AUTH
from aiogateway.middlewares.chain import Handler
from aiogateway.middlewares.rate_limit import Judge, address_of
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.routes import Route
from aiogateway.stores import Limiter, Policy, Verdict
from aiogateway.tokens import REASONS, Identity, Refused, Unavailable, Verifier, bearer_token

# Who sends nothing at all guesses nothing: a page that was opened without signing in is no attack.
MISSING: Final = "missing"


class Denied(Exception):
    """A request may not pass.

    :param problem: what the client is told.
    :param reason: one word for the metric.
    """

    def __init__(self, problem: Problem, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem
        self.reason = reason


class Guard:
    """What every route's check of tokens shares.

    :param verifier: None when there is no key, which only observing allows.
    :param failures: how many failed authentications an address may have (`GATEWAY_AUTH_FAIL_LIMIT`).
    :param observe: whether to let pass what would be refused.
    """

    def __init__(
        self,
        verifier: Verifier | None,
        limiter: Limiter,
        failures: Sequence[Policy],
        metrics: Metrics,
        *,
        observe: bool,
    ) -> None:
        self.observe = observe
        self._verifier = verifier
        self._limiter = limiter
        self._failures = () if observe else failures
        self._judge = Judge(failures, metrics)
        self._metrics = metrics
        self._allowed = metrics.count(AUTH, "allowed", "")

    def recall(self, request: Request) -> Identity | None:
        """Whose token a request brings, where that is known already; None: `identify`.

        :raises Problem: `rate_limited`.
        """
        if self._failures:
            self._check_failures(request)
        token = request.head.bearer
        return None if token is None or self._verifier is None else self._verifier.remembered(token)

    async def identify(self, request: Request) -> Identity:
        """Whose token a request brings.

        :raises Denied: `unauthenticated`, `auth_unavailable`.
        :raises Problem: `rate_limited`.
        """
        try:
            token = bearer_token(request.headers.getall(AUTHORIZATION, ()))
            if self._verifier is None:
                raise Refused("key")
            return await self._verifier.verify(token)
        except Refused as refused:
            if self._failures and refused.reason != MISSING:
                await self._count_failure(request)
            raise Denied(unauthenticated(refused.reason), refused.reason) from None
        except Unavailable:
            raise Denied(Problem("auth_unavailable"), "unavailable") from None

    def deny(self, denied: Denied) -> None:
        """Count a request that may not pass, and refuse it unless we only observe.

        :raises Problem: what it is refused with.
        """
        self._metrics.count(AUTH, "observed" if self.observe else "refused", denied.reason).events += 1
        if not self.observe:
            raise denied.problem

    def allow(self) -> None:
        """Count a request that may pass."""
        self._allowed.events += 1

    def _check_failures(self, request: Request) -> None:
        local = self._limiter.local
        if local.no_rare():  # as nearly always: nobody failed of late
            return
        who = address_of(request)
        verdicts = [local.peek(policy, who) for policy in self._failures]
        if not all([verdict.admitted for verdict in verdicts]):
            self._too_many(request, verdicts, "local")

    async def _count_failure(self, request: Request) -> None:
        """Count one, over all machines; the first one too many is already told so."""
        who = address_of(request)
        checks = [(policy, who) for policy in self._failures]
        verdicts = await self._limiter.take(checks)
        if not all(verdict.admitted for verdict in verdicts):
            self._limiter.local.record(checks)
            self._too_many(request, verdicts, self._limiter.backend)

    def _too_many(self, request: Request, verdicts: Sequence[Verdict], backend: str) -> None:
        self._metrics.count(AUTH, "refused", "limit").events += 1
        self._judge.judge(request, verdicts, backend)


def unauthenticated(reason: str) -> Problem:
    """What a request without a valid token is told (RFC 6750 section 3); nothing of the token is in it."""
    if reason == MISSING:  # section 3.1: no error code for who didn't try
        return Problem("unauthenticated", headers=(("WWW-Authenticate", "Bearer"),))
    code = "invalid_request" if reason == "repeated" else "invalid_token"
    challenge = f'Bearer error="{code}", error_description="{REASONS[reason]}"'
    return Problem("unauthenticated", REASONS[reason], headers=(("WWW-Authenticate", challenge),))


def auth(inner: Handler, route: Route, guard: Guard, refused: Callable[[Request], Awaitable[None]]) -> Handler:
    """Let pass whom the route's `auth` and `roles` allow.

    :param refused: called before a request is refused: the route's limits count it too.
    :raises Problem: `unauthenticated`, `forbidden`, `auth_unavailable`, `rate_limited`.
    """
    roles = frozenset(route.roles)
    optional = route.auth == "optional" and not roles
    decides = route.owner is None

    def judge(request: Request, identity: Identity) -> Awaitable[Response]:
        """Go on with a request whose token is good."""
        request.identity = identity
        if roles and roles.isdisjoint(identity.roles):
            return deny(request, Denied(forbidden("the token holds none of the roles that this path takes"), "role"))
        if decides:
            guard.allow()
        return inner(request)

    async def deny(request: Request, denied: Denied) -> Response:
        if not guard.observe:
            await refused(request)
        guard.deny(denied)
        return await inner(request)

    async def identify(request: Request, began: float) -> Response:
        try:
            identity = await guard.identify(request)
        except Denied as denied:
            request.record.auth = time.monotonic() - began
            return await deny(request, denied)
        request.record.auth = time.monotonic() - began
        return await judge(request, identity)

    def answer(request: Request) -> Awaitable[Response]:
        if optional and AUTHORIZATION not in request.headers:
            return inner(request)
        began = time.monotonic()
        identity = guard.recall(request)
        if identity is None:
            return identify(request, began)
        request.record.auth = time.monotonic() - began
        return judge(request, identity)

    return answer


def forbidden(detail: str) -> Problem:
    return Problem("forbidden", detail, headers=(("WWW-Authenticate", 'Bearer error="insufficient_scope"'),))
