"""The keys of route files and of upstreams.toml: one row each, with its parser and its default.

Rules: a key that is not here is a fault. A parser takes what TOML gave and raises ValueError with what would be right.
A default that names a field of the settings is taken from there, so that a variable can change it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from aiogateway.settings import values

TIERS: Final = ("short", "medium", "long")
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Seconds between probes, at least: each costs the service a request.
SHORTEST_INTERVAL: Final = 0.1
KNOWN_METHODS: Final = frozenset({*METHODS, "HEAD"})

_FIELD = re.compile(r"(?:(?:form|json):)?[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_BODY_FIELD = re.compile(r"(?:form|json):[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_ACTION = re.compile(r"[A-Za-z0-9_/]{1,100}", re.ASCII)
_ROLE = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,64}", re.ASCII)
_ENV = re.compile(r"[A-Z][A-Z0-9_]{0,127}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Key:
    """One key: how it is read, and what holds without it.

    :param default: the value itself.
    :param setting: instead of `default`: the field of the settings that holds it.
    """

    parse: Callable[[object], Any]
    default: Any = None
    setting: str | None = None


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _text(pattern: re.Pattern[str], wanted: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(wanted)
        return value

    return parse


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of strings")
    return tuple(dict.fromkeys(value))


def _methods(value: object) -> frozenset[str]:
    found = _strings(value)
    if not found or not KNOWN_METHODS.issuperset(found):
        raise ValueError(f"must be a list with some of {', '.join(METHODS)}, HEAD")
    return frozenset(found)


def _timeout(value: object) -> str | float:
    if isinstance(value, str):
        if value not in TIERS:
            raise ValueError(f"unknown tier: must be {', '.join(TIERS)}, or a number of seconds")
        return value
    return values.seconds(value)


def _roles(value: object) -> tuple[str, ...]:
    found = _strings(value)
    if not all(_ROLE.fullmatch(role) for role in found):
        raise ValueError("must be a list of roles: printable ASCII without spaces and commas")
    return found


def _limited_by(value: object) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else _strings(value)
    if not found or not all(name == "client" or _BODY_FIELD.fullmatch(name) for name in found):
        raise ValueError("must be client, form:<field> or json:<field>, or a list of them")
    return found


def _recaptcha(value: object) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and _ACTION.fullmatch(value)):
        return value
    raise ValueError("must be true, false or the name of an action")


def _cache(value: object) -> bool | int | None:
    if value is False:
        return None
    if value is True or (isinstance(value, int) and value > 0):
        return value
    raise ValueError("must be true, false or a whole number of seconds above 0")


def _limits(value: object) -> tuple[values.Rate, ...] | None:
    if not isinstance(value, str | list):
        raise ValueError("must be a limit such as 5/minute, a list of them, or off")
    return values.rates(value)


def _message_rate(value: object) -> values.Rate | None:
    found = _limits(value)
    if found is not None and (len(found) != 1 or found[0].counter):
        raise ValueError("must be one limit such as 100/second, or off")
    return found[0] if found else None


def _date(value: object) -> date:
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, date) or isinstance(found, datetime):
        raise ValueError("must be a date such as 2026-11-22")
    return found


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _health_path(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[\x21\x22\x24-\x7e]*", value):
        raise ValueError("must be a path that begins with /")
    return value


def _interval(value: object) -> float:
    found = values.seconds(value)
    if found < SHORTEST_INTERVAL:
        raise ValueError(f"must be at least {SHORTEST_INTERVAL:g} seconds")
    return found


def _environment_name(value: object) -> str:
    if not isinstance(value, str) or not _ENV.fullmatch(value) or value.startswith("GATEWAY_"):
        raise ValueError("must be a variable's name in capitals that does not begin with GATEWAY_")
    return value


def _certificates(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be the path of a file")
    read_certificates(value)
    return value


def read_certificates(path: str) -> str:
    """Certificates as `ssl` takes them, less what stands between them in other letters than ASCII's.

    :raises ValueError: there are none in the file, or it can't be read.
    """
    try:
        found = Path(path).read_bytes().decode("ascii", "ignore")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ssl.SSLError, ValueError):  # of an empty text it says the latter, and so of a path with a NUL in it
        raise ValueError("must be certificates in PEM") from None
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    return found


ROUTE_KEYS: Final[Mapping[str, Key]] = {
    "path": Key(_path),
    "methods": Key(_methods, frozenset(METHODS)),
    "upstream": Key(_path),
    "upstream_path": Key(_path),
    "timeout": Key(_timeout, "short"),
    "auth": Key(values.choice("required", "optional", "public"), "required"),
    "roles": Key(_roles, ()),
    "owner": Key(_text(_FIELD, "must be <name>, form:<field> or json:<field>")),
    "cors": Key(values.choice("allowlist", "public"), "allowlist"),
    "rate_limit": Key(_limits, setting="rate_limit"),
    "rate_limit_by": Key(_limited_by, ("client",)),
    "max_body": Key(values.size, setting="max_body"),
    "recaptcha": Key(_recaptcha, False),
    "cache": Key(_cache),
    "compress": Key(_bool, True),
    "retry": Key(_bool),
    "encoded_slash": Key(_bool, False),
    "websocket": Key(_bool, False),
    "ws_max_message": Key(values.positive_size, setting="ws_max_message"),
    "ws_rate": Key(_message_rate),
    "sse_keepalive": Key(values.seconds_or_zero, setting="sse_keepalive"),
    "errors": Key(values.choice("replace", "pass"), "replace"),
    "deprecated": Key(_date),
}

UPSTREAM_KEYS: Final[Mapping[str, Key]] = {
    "url": Key(values.destinations, ()),
    "env": Key(_environment_name),
    "balance": Key(values.choice("least_requests", "round_robin"), "least_requests"),
    "health_path": Key(_health_path),
    "health_interval": Key(_interval, 10.0),
    "health_timeout": Key(values.seconds, 2.0),
    "health_failures": Key(values.integer(1, 1000), 3),
    "health_successes": Key(values.integer(1, 1000), 2),
    "eject_after": Key(values.integer(1, 1000), 5),
    "eject_rate": Key(values.share, 0.5),
    "eject_window": Key(values.seconds, 30.0),
    "eject_time": Key(values.seconds, 30.0),
    "ca_file": Key(_certificates),
    "server_name": Key(_text(_NAME, "must be a host name")),
}
