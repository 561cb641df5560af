"""Upstreams, from the documents of all layers and the environment.

Rules: layers merge key by key under one name; an upstream's own variable wins over every file; an upstream with a
fault is left out of the result but its name stays known, so that its routes aren't blamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from aiogateway.routes.files import Document
from aiogateway.routes.policies import UPSTREAM_KEYS, read_certificates
from aiogateway.routes.table import Upstream
from aiogateway.settings import Settings
from aiogateway.settings.faults import ENVIRONMENT, Fault, meant, shown
from aiogateway.settings.variables import POOL_FIELDS

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


def read_upstreams(
    documents: Iterable[Document], settings: Settings, faults: list[Fault]
) -> tuple[dict[str, Upstream], set[str]]:
    """Merge and check every upstream.

    :param documents: the layers' `upstreams.toml`, the undermost first.
    :param faults: where faults go.
    :returns: the good upstreams by name, and every name that occurs.
    """
    found: dict[str, dict[str, tuple[Any, str]]] = {}
    broken: set[str] = set()
    for document in documents:
        for name, entry in document.data.items():
            if not isinstance(entry, dict):
                faults.append(Fault(document.where, "", name, "must be a table [name] of an upstream"))
            elif not _NAME.fullmatch(name):
                faults.append(Fault(document.where, f"[{name}]", "", "must be named in a-z, 0-9 and _, a letter first"))
            elif not _merge(found.setdefault(name, {}), name, entry, document.where, faults):
                broken.add(name)
    upstreams = {}
    for name, keys in found.items():
        upstream = _upstream(name, keys, settings, faults, complete=name not in broken)
        if upstream is not None:
            upstreams[name] = upstream
    return upstreams, set(found)


def pool_faults(settings: Settings, names: set[str]) -> list[Fault]:
    """Pool variables that name no upstream or no setting, now that the upstreams are known."""
    known = [f"GATEWAY_POOL_{name.upper()}" for name in POOL_FIELDS]
    known += [f"GATEWAY_POOL_{upstream.upper()}_{name.upper()}" for upstream in names for name in POOL_FIELDS]
    unknown = [
        f"GATEWAY_POOL_{upstream.upper()}_{name.upper()}"
        for upstream, given in settings.pool_overrides.items()
        if upstream not in names
        for name in given
    ]
    return [
        Fault(ENVIRONMENT, name, "", f"unknown variable{meant(name, known)}") for name in (*settings.unplaced, *unknown)
    ]


def _merge(keys: dict[str, tuple[Any, str]], name: str, entry: dict[str, Any], where: str, faults: list[Fault]) -> bool:
    good = True
    for key, value in entry.items():
        row = UPSTREAM_KEYS.get(key)
        if row is None:
            faults.append(Fault(where, f"[{name}]", key, f"unknown key{meant(key, UPSTREAM_KEYS)}"))
            good = False
            continue
        try:
            keys[key] = row.parse(value), where
        except ValueError as error:
            # A URL may hold a password where none belongs.
            held = "" if key == "url" else f", not {shown(value)}"
            faults.append(Fault(where, f"[{name}]", key, f"{error}{held}"))
            good = False
    return good


def _upstream(
    name: str, keys: dict[str, tuple[Any, str]], settings: Settings, faults: list[Fault], *, complete: bool
) -> Upstream | None:
    values = {key: row.default for key, row in UPSTREAM_KEYS.items()} | {key: held[0] for key, held in keys.items()}
    sources = dict.fromkeys(UPSTREAM_KEYS, "default") | {key: held[1] for key, held in keys.items()}
    env = values["env"]
    if given := settings.others.get(env or "", ()):
        try:
            values["url"] = UPSTREAM_KEYS["url"].parse(given[0])
            sources["url"] = f"variable {env}"
        except ValueError as error:
            faults.append(Fault(ENVIRONMENT, str(env), "", str(error)))
            complete = False
        if len(given) > 1:
            message = "set more than once, in different spellings and with different values"
            faults.append(Fault(ENVIRONMENT, str(env), "", message))
            complete = False
    elif complete and not values["url"]:
        faults.append(Fault(next(iter(sources_of(keys)), "upstreams.toml"), f"[{name}]", "url", "is missing"))
        complete = False
    if not complete:
        return None
    authorities = None
    if values["ca_file"] is not None:
        try:
            authorities = read_certificates(values["ca_file"])
        except ValueError as error:  # it has changed since its key was checked
            faults.append(Fault(sources["ca_file"], f"[{name}]", "ca_file", str(error)))
            return None
    for setting in POOL_FIELDS:
        sources[f"pool_{setting}"] = settings.pool_source(name, setting)
    urls = values.pop("url")
    return Upstream(
        name=name, urls=urls, **values, authorities=authorities, pool=settings.pool_for(name), sources=sources
    )


def sources_of(keys: dict[str, tuple[Any, str]]) -> list[str]:
    """The files that said anything about an upstream, the latest first."""
    return list(dict.fromkeys(where for _, where in reversed(keys.values())))
