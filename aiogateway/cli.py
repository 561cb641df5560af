"""The command line: `serve`, `demo`, `check`, `routes`, `explain`, `token` (contract, "Commands"), and `completion`.

Rules: commands only read options, call what does the work, and print; everything heavy is imported by the command that
needs it, so that `--help` is quick. A fault of the configuration is a list of lines and exit 1, never a traceback.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from aiogateway import __version__
from aiogateway.manual import Program

if TYPE_CHECKING:
    from aiogateway.settings import Settings

SHELLS: Final = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@contextmanager
def _told() -> Iterator[None]:
    """Turn what a person can put right into lines and exit 1."""
    from aiogateway.settings.faults import ConfigError

    try:
        yield
    except ConfigError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        sys.exit(1)


def _config_option(command: Callable[..., None]) -> Callable[..., None]:
    option = click.option(
        "--config",
        metavar="FOLDER",
        help="Folder with upstreams.toml and routes/*.toml (GATEWAY_CONFIG).",
        shell_complete=lambda context, option, begun: [CompletionItem(begun, type="dir")],
    )
    return option(command)


def _overrides(**options: str | None) -> dict[str, str]:
    return {field: value for field, value in options.items() if value is not None}


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aiogateway")
def main() -> None:
    """aiogateway: one public HTTP entry to many services.

    Every setting is an environment variable, checked as a whole before anything starts.
    """
    gc.disable()  # what a command loads stays, so that looking for garbage meanwhile only costs; a server enables it


def _without_rich() -> None:
    """Load structlog as where rich is missing: it would load that, 3 MiB, for tracebacks that nobody asks for."""
    sys.modules["rich"] = cast(ModuleType, None)  # an import of it fails then
    import structlog  # noqa: F401

    del sys.modules["rich"]


@main.command()
@click.option("--host", metavar="HOST", help="Public listener (GATEWAY_HOST).")
@click.option("--port", metavar="PORT", help="Public listener (GATEWAY_PORT).")
@click.option("--admin-host", metavar="HOST", help="Admin listener (GATEWAY_ADMIN_HOST).")
@click.option("--admin-port", metavar="PORT", help="Admin listener (GATEWAY_ADMIN_PORT).")
@click.option("--workers", metavar="N", help="Worker processes (GATEWAY_WORKERS).")
@_config_option
def serve(**options: str | None) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    It refuses to start with any fault that `check` would find.
    """
    import functools

    _without_rich()
    from aiogateway import workers
    from aiogateway.routes import configure

    with _told():
        sys.exit(workers.run(functools.partial(configure, os.environ, _overrides(**options))))


@main.command()
def demo() -> None:
    """Run the gateway with stand-ins for every upstream, on loopback.

    A sample page of another origin uses it; requests to try are printed.
    """
    _without_rich()
    from aiogateway.demo import command

    with _told():
        try:
            sys.exit(command.run(os.environ, click.echo))
        except OSError as error:
            raise click.ClickException(f"the demo can't start: {error}") from error


@main.command()
@_config_option
def check(config: str | None) -> None:
    """Validate environment and route files; list every fault.

    A fault is a line with file, entry and key. Without any, what is worth a note is listed.
    """
    from aiogateway import describe
    from aiogateway.routes import configure
    from aiogateway.settings.faults import ConfigError

    try:
        settings, table = configure(os.environ, _overrides(config=config))
    except ConfigError as error:
        for fault in error.faults:
            click.echo(str(fault))
        sys.exit(1)
    for line in describe.summary(settings, table):
        click.echo(line)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON with every policy.")
@_config_option
def routes(as_json: bool, config: str | None) -> None:
    """Print the route table.

    On a terminal it is drawn; elsewhere each route is a line.
    """
    from aiogateway import describe
    from aiogateway.routes import configure

    with _told():
        _, table = configure(os.environ, _overrides(config=config), need_key=False)
    if as_json:
        import orjson

        records = [describe.route_record(route) for route in table.routes]
        click.echo(orjson.dumps(records, option=orjson.OPT_INDENT_2).decode())
    elif sys.stdout.isatty():
        _print_table(describe.route_rows(table))
    else:
        for line in describe.aligned(describe.route_rows(table)):
            click.echo(line)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*rows[0], header_style="bold")
    for row in rows[1:]:
        # Text, not str: rich would read brackets in a path as markup.
        shown.add_row(*map(Text, row))
    Console().print(shown)


@main.command()
@click.argument("method")
@click.argument("path")
@_config_option
def explain(method: str, path: str, config: str | None) -> None:
    """Say what happens to a request, and why.

    Its route, upstream, rewritten path and policies, and where each value comes from: default, file, variable.
    """
    from aiogateway import describe
    from aiogateway.errors import Problem
    from aiogateway.routes import OWN_PATHS, configure

    with _told():
        _, table = configure(os.environ, _overrides(config=config), need_key=False)
    method = method.upper()
    bare, mark, query = path.partition("?")
    if bare in OWN_PATHS:
        click.echo(f"{bare} is answered by the gateway itself, to GET and HEAD")
        return
    try:
        endpoint, params, encoded_slash = table.match(bare)
        route = endpoint.route(method, encoded_slash=encoded_slash)
        lines = describe.explanation(method, bare, mark + query, route, params)
    except Problem as problem:
        fields = "".join(f" ({name}: {value})" for name, value in problem.headers)
        click.echo(f"{method} {path}: {problem.status} {problem.code}: {problem.detail}{fields}", err=True)
        sys.exit(1)
    for line in lines:
        click.echo(line)


@main.command()
@click.option("--sub", required=True, metavar="ID", help="The user.")
@click.option("--role", "roles", multiple=True, metavar="R", help="A role; may be repeated.")
@click.option("--ttl", type=click.IntRange(1, 10**9), default=3600, show_default=True, help="Seconds until it expires.")
def token(sub: str, roles: tuple[str, ...], ttl: int) -> None:
    """Sign a token with JWT_SECRET, for trying things."""
    from aiogateway.settings import read

    with _told():
        settings = read(os.environ, need_key=False)
    click.echo(_signed(settings, sub, roles, ttl))


@main.command()
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and options."""
    click.echo(SHELLS[shell](main, {}, "aiogateway", "_AIOGATEWAY_COMPLETE").source())


def _signed(settings: Settings, sub: str, roles: tuple[str, ...], ttl: int) -> str:
    from aiogateway.settings import checks

    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret is not None else ""
    if checks.secret_is_short(secret):
        raise click.ClickException(f"set JWT_SECRET to at least {checks.MIN_SECRET} bytes to sign tokens")
    for text in (sub, *roles):
        # What X-User-Id and X-User-Roles can carry (contract, "To and from the upstream").
        if not text or not text.isascii() or not text.isprintable() or "," in text:
            raise click.ClickException("user and roles must be printable ASCII without commas")
    import jwt

    now = int(time.time())
    claims = {
        "sub": sub,
        settings.jwt_user_claim: sub,
        settings.jwt_roles_claim: list(roles),
        "iat": now,
        "exp": now + ttl,
    }
    claims |= {"iss": settings.jwt_issuer} if settings.jwt_issuer else {}
    claims |= {"aud": settings.jwt_audience} if settings.jwt_audience else {}
    algorithm = next((name for name in settings.jwt_algorithms if name.startswith("HS")), None)
    if algorithm is None:
        raise click.ClickException("JWT_ALGORITHMS has no algorithm that JWT_SECRET can sign with: HS256, HS384, HS512")
    return jwt.encode(claims, secret, algorithm=algorithm)
