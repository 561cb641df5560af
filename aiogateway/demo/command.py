"""`aiogateway demo`: the gateway with the packaged table and the stand-ins behind it, in one process, and a page to try
them on.

Rules: the process's environment holds, less what would lead the demo away from its table, its keys and its one process;
what was set aside is said. The printed token is the demo user's, and good for a day.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Mapping, Sequence

from aiogateway import routes, workers
from aiogateway.demo.sample_page import SamplePage, Together
from aiogateway.demo.stand_ins import StandIns
from aiogateway.demo.welcome import EMAIL, addresses_of, welcome_text
from aiogateway.demo.world import user_id_of
from aiogateway.settings import Settings

TOKEN_SECONDS = 24 * 3600
KEY = "JWT_SECRET"
ORIGINS = "ALLOWED_ORIGINS"
PORTS = ("GATEWAY_PORT", "GATEWAY_ADMIN_PORT")
# The stand-ins work in the same loop: what holds them up is no overload of the gateway.
DEFAULTS = {"GATEWAY_HOST": "127.0.0.1", "GATEWAY_OVERLOAD_LAG": "5"}
SET_ASIDE = frozenset({"GATEWAY_CONFIG", "GATEWAY_WORKERS", "RECAPTCHA_HOSTNAMES"})


def run(environ: Mapping[str, str], echo: Callable[[str], None]) -> int:
    """Run the demo until it is told to stop; answers the exit code.

    :param environ: variables, as `os.environ`.
    :param echo: takes the welcome, once, when the gateway listens.
    :raises ConfigError: the environment doesn't fit.
    :raises OSError: no socket can be bound for a stand-in.
    """
    key = _value(environ, KEY) or secrets.token_urlsafe(48)
    with StandIns(key) as stand_ins, SamplePage(gateway_ports(environ)) as page:
        own = {**stand_ins.environment(), KEY: key, ORIGINS: _origins(environ, page.origins)}
        demo_environ, aside = demo_environment(environ, own)
        settings, _ = routes.configure(demo_environ)
        addresses = addresses_of(settings, page.url)
        page.gateway, page.dashboard = addresses.public, addresses.admin
        user_id = user_id_of(EMAIL)
        token = stand_ins.world.token(user_id, seconds=TOKEN_SECONDS)
        text = welcome_text(addresses, user_id, token, aside)
        return workers.run(
            functools.partial(routes.configure, demo_environ),
            alongside=Together(stand_ins, page),
            on_ready=lambda: echo(text),
        )


def _origins(environ: Mapping[str, str], own: Sequence[str]) -> str:
    """Whose pages may call the gateway: those that it would let anyway, and the demo's own."""
    listed = _value(environ, ORIGINS) or ",".join(Settings().allowed_origins)
    return ",".join((listed, *own))


def gateway_ports(environ: Mapping[str, str]) -> set[int]:
    """The gateway's ports, as far as they are numbers: whatever else they are is found when settings are read."""
    values = (_value(environ, name).strip() for name in PORTS)
    return {int(value) for value in values if value.isascii() and value.isdigit() and len(value) <= 5}


def demo_environment(environ: Mapping[str, str], own: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment that the demo's gateway reads, and the names that were set aside.

    :param environ: variables, as `os.environ`; their names count without regard to case, as the gateway reads them.
    :param own: the stand-ins' variables and the key; they win.
    """
    kept = {name: value for name, value in environ.items() if name.upper() not in own}
    aside = sorted(name for name, value in kept.items() if value.strip() and _leads_away(name.upper()))
    kept = {name: value for name, value in kept.items() if name not in aside}
    defaults = {name: value for name, value in DEFAULTS.items() if not _value(kept, name)}
    return {**kept, **defaults, **own}, aside


def _leads_away(name: str) -> bool:
    # A second key, other claims or algorithms: the tokens of the stand-ins would be refused
    return name in SET_ASIDE or name.startswith("JWT_")


def _value(environ: Mapping[str, str], wanted: str) -> str:
    return next((value for name, value in environ.items() if name.upper() == wanted and value.strip()), "")
