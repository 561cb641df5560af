"""What `--help` says beyond options, as a manual page does: signals, exit status, environment, files, examples.

Rules: one table, by command; nothing here needs anything else of the package, so that `--help` stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import click

Section = Sequence[tuple[str, str]]

_CONFIG: Final = ("GATEWAY_CONFIG", "Folder of route files; --config overrides it. Left out: the packaged table.")
_ALL: Final = ("GATEWAY_..., JWT_...", "Every other setting: see docs/configuration.md.")
_SERVICES: Final = ("AUTH_SERVICE_URL, ...", "Where each service is: the names stand in upstreams.toml.")
_KEY: Final = ("JWT_SECRET", "What tokens are signed with; or JWT_PUBLIC_KEY, or JWT_JWKS_URL.")
_FOLDER: Final = (
    "FOLDER/upstreams.toml",
    'Services. With extends = "packaged" at its top the folder adds to that table.',
)
_ROUTES: Final = ("FOLDER/routes/*.toml", "Endpoints, a file for each category.")
_FINE: Final = ("0", "All is well.")
_FAULTS: Final = ("1", "Environment or route files have faults: each is a line.")
_USAGE: Final = ("2", "Options or arguments that there are not.")

# By command; "" is the program itself.
PAGES: Final[Mapping[str, Mapping[str, Section]]] = {
    "": {
        "Environment": (_CONFIG, _KEY, _SERVICES, _ALL),
        "Examples": (
            ("aiogateway COMMAND --help", "What a command does, its exit status, variables and files."),
            ("aiogateway demo", "See it work, with nothing set up."),
        ),
    },
    "serve": {
        "Signals": (
            (
                "SIGTERM, SIGINT",
                "Stop: not ready, then no new connections, then end what is in flight. Again: at once.",
            ),
            ("SIGHUP", "Read route files, certificate and CA bundles again. With faults nothing changes."),
        ),
        "Exit status": (
            ("0", "Stopped by a signal, as it should."),
            ("1", "Faults of the configuration, a port that is taken, or a worker that failed at the end."),
            _USAGE,
        ),
        "Environment": (
            ("GATEWAY_HOST, GATEWAY_PORT", "Public listener."),
            ("GATEWAY_ADMIN_HOST, GATEWAY_ADMIN_PORT", "Admin listener: dashboard, metrics, health."),
            ("GATEWAY_WORKERS", "Processes that share the port; a good number is one for each core."),
            _CONFIG,
            _KEY,
            _SERVICES,
            ("NOTIFY_SOCKET, WATCHDOG_USEC", "Set by systemd: told of ready, reloading, stopping, and alive."),
            _ALL,
        ),
        "Files": (_FOLDER, _ROUTES),
        "Examples": (
            ("GATEWAY_AUTH_MODE=observe aiogateway serve", "Verify tokens, and refuse nobody yet."),
            ("aiogateway serve --port 8080 --workers 4", "Four processes on another port."),
        ),
    },
    "demo": {
        "Exit status": (_FINE, ("1", "Faults of the environment, or a port that is taken."), _USAGE),
        "Environment": (
            ("GATEWAY_PORT, GATEWAY_ADMIN_PORT", "Where it listens; always on loopback."),
            _ALL,
        ),
        "Files": (("none", "It reads the packaged table, makes its own key, and keeps nothing."),),
        "Examples": (("aiogateway demo", "It prints requests to try, and the dashboard's address."),),
    },
    "check": {
        "Exit status": (_FINE, _FAULTS, _USAGE),
        "Environment": (_CONFIG, _KEY, _SERVICES, _ALL),
        "Files": (_FOLDER, _ROUTES),
        "Examples": (("aiogateway check --config ./table", "Before a folder goes live; also in CI."),),
    },
    "routes": {
        "Exit status": (_FINE, _FAULTS, _USAGE),
        "Environment": (_CONFIG, _SERVICES),
        "Files": (_FOLDER, _ROUTES),
        "Examples": (
            ("aiogateway routes", "The table, for people."),
            ("aiogateway routes --json", "Every policy of every route, for programs."),
        ),
    },
    "explain": {
        "Exit status": (_FINE, ("1", "No route takes the request, or the configuration has faults."), _USAGE),
        "Environment": (_CONFIG, _SERVICES, _ALL),
        "Files": (_FOLDER, _ROUTES),
        "Examples": (("aiogateway explain POST /v2/fetch-pdf", "Its upstream, timeout, limits, and why."),),
    },
    "token": {
        "Exit status": (_FINE, ("1", "There is no JWT_SECRET, or the token could not be used."), _USAGE),
        "Environment": (
            ("JWT_SECRET", "What it is signed with: at least 32 bytes."),
            ("JWT_ISSUER, JWT_AUDIENCE", "Put into it, if they are set."),
            ("JWT_USER_CLAIM, JWT_ROLES_CLAIM", "The names of the user's and the roles' claims."),
        ),
        "Files": (("none", "It reads none."),),
        "Examples": (("aiogateway token --sub u1 --role admin --ttl 600", "A token for ten minutes."),),
    },
    "completion": {
        "Exit status": (_FINE, _USAGE),
        "Environment": (("none", "It reads none."),),
        "Files": (
            ("~/.bashrc", 'eval "$(aiogateway completion bash)"'),
            ("~/.zshrc", 'eval "$(aiogateway completion zsh)"'),
            ("~/.config/fish/config.fish", "aiogateway completion fish | source"),
        ),
        "Examples": (("aiogateway completion bash", "The lines that make bash complete commands and options."),),
    },
}


def _write(command: click.Command, formatter: click.HelpFormatter) -> None:
    name = "" if isinstance(command, click.Group) else command.name or ""
    for title, rows in PAGES[name].items():
        with formatter.section(title):
            formatter.write_dl(rows)


class Command(click.Command):
    """A command whose help ends with its page."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write(self, formatter)


class Program(click.Group):
    """The program, whose commands have pages as well."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write(self, formatter)
