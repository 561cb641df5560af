"""People only: the form's token is shown to the verifier, and taken out before the form goes on."""

from __future__ import annotations

from typing import Final

from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_TYPE

from aiogateway.errors import Problem
from aiogateway.forms import take_out
from aiogateway.metrics import Metrics
from aiogateway.metrics.families import RECAPTCHA
from aiogateway.middlewares.chain import Handler
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import Response
from aiogateway.recaptcha import FAILED, UNCONFIGURED, Recaptcha, problem_of

FIELD: Final = "recaptcha_token"
NAME: Final = f"form:{FIELD}"


def recaptcha(inner: Handler, client: Recaptcha, metrics: Metrics, action: str | None) -> Handler:
    """Let people pass.

    :param action: the v3 action that the token must be for; None: any.
    :raises Problem: `recaptcha_failed`, `recaptcha_unconfigured`, `recaptcha_unavailable`.
    """

    async def answer(request: Request) -> Response:
        values = request.fields[NAME]
        outcome = FAILED
        if len(values) == 1 and values[0].isascii():
            outcome = await client.outcome(values[0].decode(), request.client, action)
        metrics.count(RECAPTCHA, outcome).events += 1
        if (problem := problem_of(outcome)) is not None:
            raise problem
        headers = request.headers
        request.sent = take_out(
            FIELD, headers.getall(CONTENT_TYPE, ()), headers.getall(CONTENT_ENCODING, ()), request.sent
        )
        return await inner(request)

    return answer


def unconfigured(metrics: Metrics) -> Handler:
    """Let nobody pass: there is no key to ask the verifier with.

    :raises Problem: `recaptcha_unconfigured`.
    """

    async def answer(request: Request) -> Response:
        metrics.count(RECAPTCHA, UNCONFIGURED).events += 1
        raise Problem("recaptcha_unconfigured")

    return answer
