"""`python -m aiogateway.demo`: the stand-ins alone, for a gateway that runs somewhere else (`deploy/compose.yaml`).

Rules: each listens on the port that the packaged table gives its service, and the verifier on `VERIFIER_PORT`, so that
names which lead here are all that the gateway needs. The environment is the gateway's: `JWT_SECRET` signs the tokens of
the logins, `RECAPTCHA_SECRET_KEY` is what the verifier takes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import click
import uvloop
from yarl import URL

from aiogateway.demo.stand_ins import VERIFIER, StandIns
from aiogateway.routes import configure
from aiogateway.settings import ConfigError, Settings, read

VERIFIER_PORT = 8021


def addresses(host: str) -> dict[str, tuple[str, int]]:
    """Where each stand-in listens, by its service's variable."""
    _, table = configure({}, need_key=False)
    ports = {str(upstream.env): URL(upstream.urls[0]).port or 80 for upstream in table.upstreams.values()}
    return {variable: (host, port) for variable, port in {**ports, VERIFIER: VERIFIER_PORT}.items()}


def stand_ins(settings: Settings, host: str) -> StandIns:
    """The stand-ins, bound.

    :raises click.ClickException: there is no key to sign with, or a port that can't be had.
    """
    if settings.jwt_secret is None:
        raise click.ClickException("set JWT_SECRET: the stand-ins sign tokens with it")
    recaptcha = settings.recaptcha_secret_key
    try:
        return StandIns(
            settings.jwt_secret.get_secret_value(),
            addresses=addresses(host),
            recaptcha_secret=None if recaptcha is None else recaptcha.get_secret_value(),
        )
    except OSError as error:
        raise click.ClickException(f"the stand-ins can't start: {error}") from error


async def serve(services: StandIns) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await services.start()
    try:
        click.echo("the stand-ins listen")
        await stopped.wait()
    finally:
        await services.close()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that all of them listen on.")
def main(host: str) -> None:
    """Run the stand-ins of all services, and of the reCAPTCHA verifier, without a gateway."""
    try:
        settings = read(os.environ)
    except ConfigError as error:
        sys.exit("\n".join(map(str, error.faults)))
    with stand_ins(settings, host) as services:
        uvloop.run(serve(services))


if __name__ == "__main__":
    main(prog_name="python -m aiogateway.demo")
