"""Whose things a request is about: what the route's `owner` names must be the token's user (contract, `owner`).

Rules: the name must stand there once; absent and repeated are refused alike, because a service may take either for
whom it likes. Who has the role `superadmin` may act for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from aiogateway.errors import Problem
from aiogateway.forms import MalformedForm, scanner
from aiogateway.middlewares.auth import Denied, Guard, forbidden
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response

SUPERADMIN: Final = "superadmin"
URLENCODED: Final = ("application/x-www-form-urlencoded",)


def is_in_body(owner: str) -> bool:
    """Whether the name is that of a body's field."""
    return ":" in owner


def named(request: Request, owner: str) -> Sequence[bytes]:
    """Every value of what `owner` names.

    :raises Denied: `bad_request` for a query that can be read in two ways.
    """
    if is_in_body(owner):
        # Java and Go look into the query first, wherever a form's field stands: one there is one too many.
        return () if in_query(request, owner.partition(":")[2]) else request.fields[owner]
    params = request.match.params
    return (unquote_to_bytes(params[owner]),) if owner in params else in_query(request, owner)


def in_query(request: Request, name: str) -> Sequence[bytes]:
    """Every value of a parameter of the query.

    :raises Denied: `bad_request` for a query that can be read in two ways.
    """
    if not request.query:
        return ()
    query = scanner("form", name, URLENCODED, ())
    try:
        query.feed(request.query[1:].encode("utf-8", "surrogateescape"))
        query.finish()
    except MalformedForm:
        raise Denied(Problem("bad_request", "the query can be read in more than one way"), "owner") from None
    return query.values


def owner(inner: Handler, name: str, guard: Guard) -> Handler:
    """Let a user act for themselves only.

    :param name: of the path or query parameter, or of the body's field.
    :raises Problem: `forbidden`, `bad_request`.
    """

    async def answer(request: Request) -> Response:
        try:
            check(request)
        except Denied as denied:
            # Observing, a request without a user was counted when its token was looked at.
            if request.identity is not None or not guard.observe:
                guard.deny(denied)
        else:
            guard.allow()
        return await inner(request)

    def check(request: Request) -> None:
        identity = request.identity
        if identity is not None and SUPERADMIN in identity.roles:
            return
        values = named(request, name)
        if identity is None or list(values) != [identity.user.encode()]:
            raise Denied(forbidden("the token's user may not act for another"), "owner")

    return answer
