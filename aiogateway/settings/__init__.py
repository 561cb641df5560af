"""The environment, read and checked as a whole: variables of the process, options of the command line.

Rules: a name is read without regard to case, and an empty value is no value; every fault is reported, not only the
first; what a variable holds is repeated in a fault only if it can't be a secret. Variables whose names depend on the
route files (destinations, pools of one upstream) wait here for `loading`, which knows the upstreams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from aiogateway.settings import checks
from aiogateway.settings.faults import ENVIRONMENT, ConfigError, Fault, meant, shown
from aiogateway.settings.variables import (
    FIELDS,
    POOL_FIELDS,
    PoolSettings,
    Variables,
    is_secret,
    variable_name,
)

__all__ = ["ConfigError", "Fault", "PoolSettings", "Settings", "parse", "read", "variable_name"]


class Settings(Variables):
    """What the environment and the command line say.

    `pool_overrides`: upstream -> setting -> checked value, from `GATEWAY_POOL_<UPSTREAM>_<SETTING>`.
    `unplaced`: pool variables that fit no setting; `loading`, which knows the upstreams, reports them.
    `others`: variables that are none of the gateway's own, by upper-cased name, each with its distinct values; the
    upstreams' URLs are among them.
    """

    sources: Mapping[str, str] = Field(default_factory=dict, exclude=True, repr=False)
    pool_overrides: Mapping[str, Mapping[str, int | float]] = Field(default_factory=dict, exclude=True, repr=False)
    unplaced: tuple[str, ...] = Field(default=(), exclude=True, repr=False)
    others: Mapping[str, tuple[str, ...]] = Field(default_factory=dict, exclude=True, repr=False)

    def source(self, field: str) -> str:
        """Where a value came from: `default`, `variable NAME` or `option --name`."""
        return self.sources.get(field, "default")

    def pool_for(self, upstream: str) -> PoolSettings:
        """The pool limits of one upstream: its own variables over the common ones over the defaults."""
        common = {name: getattr(self, f"pool_{name}") for name in POOL_FIELDS}
        return PoolSettings(**{**common, **self.pool_overrides.get(upstream, {})})

    def pool_source(self, upstream: str, name: str) -> str:
        """Where one of `pool_for`'s values came from."""
        if name in self.pool_overrides.get(upstream, {}):
            return f"variable GATEWAY_POOL_{upstream.upper()}_{name.upper()}"
        return self.source(f"pool_{name}")


def read(environ: Mapping[str, str], overrides: Mapping[str, str] | None = None, *, need_key: bool = True) -> Settings:
    """As `parse`, for who needs no route table.

    :raises ConfigError: anything is wrong with the environment.
    """
    settings, faults = parse(environ, overrides, need_key=need_key)
    if faults:
        raise ConfigError(faults)
    return settings


def parse(
    environ: Mapping[str, str], overrides: Mapping[str, str] | None = None, *, need_key: bool = True
) -> tuple[Settings, list[Fault]]:
    """Read the environment, to the end.

    :param environ: variables, as `os.environ`.
    :param overrides: options of the command line by field name; they win over variables.
    :param need_key: whether the checks of the token keys apply; what only shows the table needs no key.
    :returns: the settings, in which a faulty value is replaced by its default, and every fault.
    """
    given, faults = _collect(environ)
    raw: dict[str, str] = {}
    sources: dict[str, str] = {}
    pools: dict[str, dict[str, int | float]] = {}
    unplaced: list[str] = []
    others: dict[str, tuple[str, ...]] = {}
    for name, found in given.items():
        if any(not value.isprintable() and _is_no_text(value) for value in found):
            faults.append(Fault(ENVIRONMENT, name, "", "is not UTF-8"))
        elif name in FIELDS:
            raw[FIELDS[name]], sources[FIELDS[name]] = found[0], f"variable {name}"
        elif name.startswith("GATEWAY_POOL_"):
            faults += _pool_override(name, found[0], pools, unplaced)
        elif name.startswith("GATEWAY_"):
            faults.append(Fault(ENVIRONMENT, name, "", f"unknown variable{meant(name, FIELDS)}"))
        else:
            others[name] = found
    for field, value in (overrides or {}).items():
        raw[field], sources[field] = value, f"option --{field.replace('_', '-')}"
    broken, value_faults = _check_values(raw, sources)
    good = {field: value for field, value in raw.items() if field not in broken}
    good.setdefault("jwt_algorithms", "HS256" if "jwt_secret" in good else "RS256,ES256")
    settings = Settings.model_validate(
        {**good, "sources": sources, "pool_overrides": pools, "unplaced": tuple(unplaced), "others": others}
    )
    return settings, [*faults, *value_faults, *checks.cross_faults(settings, sources, broken, need_key=need_key)]


def _collect(environ: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], list[Fault]]:
    """Variables by upper-cased name with their distinct values, less the empty ones and those of Kubernetes."""
    found: dict[str, dict[str, None]] = {}
    for name, value in environ.items():
        if value.strip() and not _is_from_kubernetes(name.upper(), value):
            found.setdefault(name.upper(), {})[value] = None
    faults = [
        Fault(ENVIRONMENT, name, "", "set more than once, in different spellings and with different values")
        for name, several in found.items()
        if len(several) > 1 and (name in FIELDS or name.startswith("GATEWAY_"))
    ]
    return {name: tuple(several) for name, several in found.items()}, faults


def _is_no_text(value: str) -> bool:
    """Whether a variable's bytes were no UTF-8; Python holds them as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_from_kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes set this for a Service called `gateway` (its documentation, "Environment variables")."""
    if name == "GATEWAY_PORT":
        return value.startswith(("tcp://", "udp://", "sctp://"))
    return name.startswith(("GATEWAY_SERVICE_", "GATEWAY_PORT_"))


def _pool_override(
    name: str, value: str, pools: dict[str, dict[str, int | float]], unplaced: list[str]
) -> Iterator[Fault]:
    """Take one `GATEWAY_POOL_<UPSTREAM>_<SETTING>`; upstreams have `_` in their names, so the setting is the suffix."""
    rest = name.removeprefix("GATEWAY_POOL_")
    setting = next((key for key in POOL_FIELDS if rest.endswith(f"_{key.upper()}")), None)
    if setting is None:
        unplaced.append(name)
        return
    upstream = rest[: -len(setting) - 1].lower()
    try:
        checked = Variables.model_validate({f"pool_{setting}": value})
    except ValidationError as error:
        yield Fault(ENVIRONMENT, name, "", f"{_sentence(error.errors()[0])}, not {shown(value)}")
        return
    pools.setdefault(upstream, {})[setting] = getattr(checked, f"pool_{setting}")


def _check_values(raw: Mapping[str, str], sources: Mapping[str, str]) -> tuple[set[str], list[Fault]]:
    try:
        Variables.model_validate(raw)
    except ValidationError as error:
        problems = {str(problem["loc"][0]): _sentence(problem) for problem in error.errors()}
    else:
        problems = {}
    faults = []
    for field, sentence in problems.items():
        held = "" if is_secret(field) else f", not {shown(raw[field])}"
        faults.append(Fault(ENVIRONMENT, sources[field].split(" ", 1)[1], "", sentence + held))
    return set(problems), faults


def _sentence(problem: ErrorDetails) -> str:
    """What pydantic found, without the input it found it in."""
    error = problem.get("ctx", {}).get("error")
    return str(error) if isinstance(error, ValueError) else problem["msg"]
