"""Where each pattern stands in the document: its path template, and its parameters.

OpenAPI takes two templates for one when they differ in their parameters' names only, and has no word for a parameter
with slashes: there `/a/{x}` and `/a/{rest:path}` would be one. But since the first decides whatever has one segment,
the other only ever means more of them, and stands as `/a/{rest_1}/{rest}`: every operation has its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from aiogateway.routes import Route
from aiogateway.routes.patterns import Kind, Segment, Shape

_PARAMETER: Final = re.compile(r"\{[^}]*\}")


class Parameter(NamedTuple):
    """A parameter of a template.

    :param tail: the pattern's own `{name:path}`: may hold slashes.
    :param part_of: the tail whose one segment it is; empty for a pattern's own parameter.
    """

    name: str
    tail: bool = False
    part_of: str = ""


class Place(NamedTuple):
    """A path template of the document, with its parameters from left to right."""

    template: str
    parameters: tuple[Parameter, ...]


def places(routes: Iterable[Route]) -> dict[Shape, Place]:
    """A place for each pattern, by its shape; no two are one to OpenAPI."""
    patterns = {route.shape: route.segments for route in routes}
    found: dict[Shape, Place] = {}
    taken: set[str] = set()
    # A tail takes what others leave, and of two tails the longer pattern is the more specific.
    for shape in sorted(patterns, key=lambda shape: (shape[-1][0] is Kind.TAIL, -len(shape), shape)):
        segments, more = patterns[shape], 0
        place = _place(segments, more)
        while (blank := _PARAMETER.sub("{}", place.template)) in taken:
            more += 1
            place = _place(segments, more)
        taken.add(blank)
        found[shape] = place
    return found


def _place(segments: tuple[Segment, ...], more: int) -> Place:
    """:param more: how many segments of the tail are parameters of their own."""
    names = {segment.name for segment in segments}
    parts: list[str] = []
    parameters: list[Parameter] = []
    for kind, text, name in segments:
        if kind is Kind.TAIL:
            for number in range(1, more + 1):
                part = f"{name}_{number}"
                while part in names:
                    part += "_"
                parts.append(f"{{{part}}}")
                parameters.append(Parameter(part, part_of=name))
        parts.append(f"{text}{{{name}}}" if name else text)
        if name:
            parameters.append(Parameter(name, tail=kind is Kind.TAIL))
    return Place("/" + "/".join(parts), tuple(parameters))
