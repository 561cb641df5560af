"""How values are written in variables and route files: sizes, times, rates, origins, networks.

Rules: pure functions, from text (or what TOML made of it) to the value the program uses; each raises ValueError with a
sentence that says what would be right and never repeats the input, because some inputs are secrets.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNITS: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
PERIODS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Algorithm -> the kind of key that verifies it.
ALGORITHMS: Final = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "secret"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Edwards"},
}
MAX_COUNT: Final = 10**9
MAX_SIZE: Final = 1 << 50
MAX_NUMBER: Final = 10**9

_SIZE = re.compile(r"(\d{1,15})[ \t]*([a-z]*)", re.ASCII | re.IGNORECASE)
_RATE = re.compile(r"(\d{1,9})/(second|minute|hour|day)(?:[ \t]+([a-z][a-z0-9_-]{0,31}))?", re.ASCII)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of events in a period (contract, `rate_limit`).

    :param limit: how many events.
    :param period: in how many seconds.
    :param counter: the name of a counter that routes share; None: the route's own.
    """

    limit: int
    period: int
    counter: str | None = None

    def __str__(self) -> str:
        unit = next(name for name, seconds in PERIODS.items() if seconds == self.period)
        return f"{self.limit}/{unit}" + (f" {self.counter}" if self.counter else "")


def size(value: object) -> int:
    """Bytes: a whole number, alone or with KiB, MiB or GiB."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        unit = UNITS.get(found[2].lower())
        count = None if unit is None else int(found[1]) * unit
    else:
        count = value if isinstance(value, int) and not isinstance(value, bool) else None
    if count is None or not 0 <= count <= MAX_SIZE:
        raise ValueError("must be a size: whole bytes, or a whole number with KiB, MiB or GiB, such as 64 KiB")
    return count


def positive_size(value: object) -> int:
    """Bytes, at least one."""
    count = size(value)
    if count == 0:
        raise ValueError("must be more than 0 bytes")
    return count


def _number(value: object, what: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(what) from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(what)
    if number > MAX_NUMBER:
        raise ValueError(f"must be at most {MAX_NUMBER}, which is 30 years of seconds")
    return number


def seconds(value: object) -> float:
    """Seconds, finite and more than 0."""
    number = _number(value, "must be a number of seconds above 0")
    if number == 0:
        raise ValueError("must be a number of seconds above 0")
    return number


def seconds_or_zero(value: object) -> float:
    """Seconds, finite, 0 included."""
    return _number(value, "must be a number of seconds, 0 or more")


def share(value: object) -> float:
    """A share above 0, up to 1."""
    number = _number(value, "must be a share above 0 and at most 1")
    if not 0 < number <= 1:
        raise ValueError("must be a share above 0 and at most 1")
    return number


def score(value: object) -> float:
    """A score from 0 to 1."""
    number = _number(value, "must be a number from 0 to 1")
    if number > 1:
        raise ValueError("must be a number from 0 to 1")
    return number


def integer(lowest: int, highest: int = MAX_COUNT) -> Callable[[object], int]:
    """A parser of whole numbers between two bounds, both included."""
    wanted = f"must be a whole number from {lowest} to {highest}"

    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d{1,10}", value.strip(), re.ASCII):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise ValueError(wanted)
        return value

    return parse


def boolean(value: object) -> bool:
    """true, false, 1, 0, yes or no."""
    if isinstance(value, bool):
        return value
    found = BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be true or false")
    return found


def choice(*allowed: str) -> Callable[[object], str]:
    """A parser that takes one of a few words, whatever their case."""
    wanted = "must be " + " or ".join((", ".join(allowed[:-1]), allowed[-1]))

    def parse(value: object) -> str:
        if not isinstance(value, str) or (word := value.strip().lower()) not in allowed:
            raise ValueError(wanted)
        return word

    return parse


def words(value: object) -> tuple[str, ...]:
    """What stands between commas, or a list; without repetitions, and at least one."""
    parts: Sequence[object] = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else ()
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("must be a list of strings")
    found = tuple(dict.fromkeys(text for part in parts if (text := str(part).strip())))
    if not found:
        raise ValueError("must hold at least one value")
    return found


def rates(value: object) -> tuple[Rate, ...] | None:
    """Rate limits as the contract writes them: `5/minute`, `10/second login`, several in a list or with commas.

    :returns: the limits, or None for `off`.
    """
    if isinstance(value, str) and value.strip().lower() == "off":
        return None
    found = []
    for text in words(value):
        match = _RATE.fullmatch(text)
        if match is None or int(match[1]) == 0:
            raise ValueError(
                "must be limits such as 5/minute (second, minute, hour, day; a counter's name may follow), or off"
            )
        found.append(Rate(int(match[1]), PERIODS[match[2]], match[3]))
    return tuple(found)


def networks(value: object) -> tuple[Network, ...]:
    """CIDRs, with commas."""
    found: list[Network] = []
    for text in words(value):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            raise ValueError("must be networks such as 10.0.0.0/8 or fd00::/8, without host bits") from None
    return tuple(found)


def _split(text: str, wanted: str) -> SplitResult:
    """A URL's parts, lower-cased where case doesn't matter; only http and https, nothing odd in the authority."""
    if not text.isascii() or any(c <= " " or c in '\\"<>^`{|}\x7f' for c in text):
        raise ValueError(wanted)
    try:
        parts = urlsplit(text)
        port, host = parts.port, (parts.hostname or "").lower()
        if host and ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(wanted) from None
    named = ":" in host or _HOST.fullmatch(host)
    empty_port = parts.netloc.endswith(":")
    if parts.scheme not in DEFAULT_PORTS or not named or empty_port or port == 0 or "@" in parts.netloc:
        raise ValueError(wanted)
    where = f"[{host}]" if ":" in host else host
    if port is not None and port != DEFAULT_PORTS[parts.scheme]:
        where += f":{port}"
    return SplitResult(parts.scheme, where, parts.path, parts.query, parts.fragment)


def origins(value: object) -> tuple[str, ...]:
    """Exact origins (RFC 6454 section 6.2), normalised the way browsers send them."""
    wanted = "must be exact origins such as https://app.example.com: scheme, host, port if unusual, nothing more"
    found = []
    for text in words(value):
        parts = _split(text, wanted)
        if parts.path or "?" in text or "#" in text:
            raise ValueError(wanted)
        found.append(f"{parts.scheme}://{parts.netloc}")
    return tuple(dict.fromkeys(found))


def destination(value: object) -> str:
    """One URL of an upstream: http or https, a base path at most, no trailing slash."""
    wanted = "must be http:// or https:// URLs with host, port and at most a base path"
    if not isinstance(value, str):
        raise ValueError(wanted)
    parts = _split(value.strip(), wanted)
    base = parts.path.rstrip("/")
    if "?" in value or "#" in value or re.search(r"//|%(?![0-9a-f]{2})|/\.\.?(/|$)", base, re.IGNORECASE):
        raise ValueError(wanted)
    return f"{parts.scheme}://{parts.netloc}{base}"


def destinations(value: object) -> tuple[str, ...]:
    """The URLs of an upstream, in a list or with commas; each once."""
    return tuple(dict.fromkeys(destination(text) for text in words(value)))


def web_url(value: object) -> str:
    """An http or https URL of a helper service, as written."""
    wanted = "must be an http:// or https:// URL without user name and fragment"
    if not isinstance(value, str):
        raise ValueError(wanted)
    _split(value.strip(), wanted)
    if "#" in value:
        raise ValueError(wanted)
    return value.strip()


def redis_url(value: object) -> str:
    """A Redis URL; it may hold a password, so it is never repeated."""
    wanted = "must be a redis://, rediss:// or unix:// URL"
    if not isinstance(value, str) or not value.strip().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError(wanted)
    from redis.asyncio.connection import parse_url  # a tenth of a second, which most don't need

    try:
        parse_url(value.strip())
        _ = urlsplit(value.strip()).port
    except (ValueError, TypeError):
        raise ValueError(wanted) from None
    return value.strip()


def algorithms(value: object) -> tuple[str, ...]:
    """Names of JWT signature algorithms (RFC 7518 section 3.1, RFC 8037); `none` is not one."""
    found = words(value)
    if unknown := [name for name in found if name not in ALGORITHMS]:
        never = "none is never accepted; " if "none" in map(str.lower, unknown) else ""
        raise ValueError(f"{never}must be among {', '.join(ALGORITHMS)}")
    return found
