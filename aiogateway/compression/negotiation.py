"""Which content coding a client gets, by what it says it takes (RFC 9110 section 12.5.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

IDENTITY: Final = "identity"
# Those we make; of those that a client likes equally well, the first.
CODINGS: Final = ("zstd", "br", "gzip")
# Spellings up to this many characters are remembered: browsers use few, and others may make any up.
REMEMBERED: Final = 128

_WEIGHT: Final = r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?"
_MEMBER: Final = re.compile(
    rf"[ \t]*(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(?P<weight>{_WEIGHT}))?[ \t]*"
)
_ALIASES: Final = {"x-gzip": "gzip"}


class Choice(NamedTuple):
    """:ivar coding: the best of ours, or `identity`.
    :ivar refused: whether the client takes no plain answer.
    """

    coding: str
    refused: bool


PLAIN: Final = Choice(IDENTITY, False)


def choose(values: Iterable[str]) -> Choice:
    """The coding for a client; plain when it takes nothing that we could give.

    :param values: of each `Accept-Encoding` field.
    """
    value = ",".join(values)
    return _choose(value) if len(value) <= REMEMBERED else _choose.__wrapped__(value)


@lru_cache(maxsize=256)
def _choose(value: str) -> Choice:
    weights: dict[str, float] = {}
    for member in value.split(","):
        found = _MEMBER.fullmatch(member)
        if found is not None:  # what is malformed says nothing
            name = found["name"].lower()
            weights.setdefault(_ALIASES.get(name, name), float(found["weight"] or 1))
    others = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    # Nobody needs to ask for a plain answer; who says nothing of it takes it when nothing better is to be had.
    plain = weights.get(IDENTITY, weights.get("*"))
    refused = plain == 0
    if not weight or (plain is not None and plain > weight):
        return PLAIN
    return Choice(best, refused)
