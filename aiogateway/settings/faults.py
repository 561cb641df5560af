"""Faults of the configuration: what is wrong, where, and what was probably meant.

Rules: faults are values that are collected, never the first one raised; a message says what to write instead; a
secret's value is never in one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing to put right.

    :param where: `environment`, or the file, relative to the configuration folder.
    :param entry: the variable, the route (`GET /v2/x`) or the upstream (`[auth]`).
    :param key: the key inside that entry; empty when the entry as a whole is meant.
    :param message: what is wrong, and what would be right.
    """

    where: str
    entry: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.entry, self.key, self.message) if part)


class ConfigError(Exception):
    """The configuration can't be used.

    :param faults: every fault found, in the order of reading.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a fault's message about an unknown name: the nearest known one, if any is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]}?" if near else ""


def shown(value: object, limit: int = 60) -> str:
    """A value for people: quoted, cut, on one line."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
