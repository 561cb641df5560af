"""Path patterns: how they are written, which of them a request's path fits, and what its parameters hold.

Rules (contract, "Route files"): matching goes segment by segment over the percent-decoded path, and what a parameter
holds is the client's own bytes, undecoded. In every segment a literal comes before the longest literal prefix, that
before `{x}`, that before `{x:path}`. Parameters are never empty. A trailing slash is a last, empty segment: only a
literal pattern that ends in one has it, or a tail that began before it (`/f/{rest:path}` takes `/f/a/` as `a/`, and
neither `/f/` nor `/f/a//b`). A path that could mean another one to an upstream is refused before any pattern is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from aiogateway.errors import Problem
from aiogateway.routes.readings import CONTROL, DOTS, decode, lax_readings

T = TypeVar("T")
Shape = tuple[tuple["Kind", str], ...]

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")
_UNWRITABLE = re.compile(r"[^\x21-\x7e]|[#?%\\]")
DOT_SEGMENT = "the path has a segment . or .."
_REFUSED_RAW = re.compile(r"[^\x21-\x7e]|[#?\\]|%(?![0-9A-Fa-f]{2})")


class Kind(IntEnum):
    """What a pattern's segment is, the most specific first."""

    LITERAL = 0
    PREFIX = 1
    PARAMETER = 2
    TAIL = 3


class Segment(NamedTuple):
    """One segment of a pattern: its kind, the literal text (a prefix may be followed by the parameter), the name."""

    kind: Kind
    text: str
    name: str


def parse(pattern: str) -> tuple[Segment, ...]:
    """Take a pattern apart.

    :raises ValueError: it is not one; the text says what would be right.
    """
    if not pattern.startswith("/"):
        raise ValueError("must begin with /")
    if _UNWRITABLE.search(pattern):
        raise ValueError("must be printable ASCII without # ? % and \\")
    texts = pattern[1:].split("/")
    if "" in texts[:-1]:
        raise ValueError("must not have an empty segment (//)")
    segments = (*[_segment(text, last=False) for text in texts[:-1]], _segment(texts[-1], last=True))
    names = names_of(segments)
    if len(set(names)) < len(names):
        raise ValueError("names a parameter twice")
    return segments


def _segment(text: str, *, last: bool) -> Segment:
    if text in DOTS:
        raise ValueError("must not have a segment . or ..")
    if "{" not in text and "}" not in text:
        return Segment(Kind.LITERAL, text, "")
    prefix, brace, rest = text.partition("{")
    found = _PARAMETER.fullmatch(brace + rest)
    if found is None or "}" in prefix:
        raise ValueError("has a segment that is neither text, {name}, text{name} nor {name:path}")
    if found[2] is None:
        return Segment(Kind.PREFIX if prefix else Kind.PARAMETER, prefix, found[1])
    if prefix or not last:
        raise ValueError("has {name:path} elsewhere than as its whole last segment")
    return Segment(Kind.TAIL, "", found[1])


def names_of(segments: tuple[Segment, ...]) -> tuple[str, ...]:
    """The parameters of a pattern, from left to right."""
    return tuple([segment.name for segment in segments if segment.name])


def shape_of(segments: tuple[Segment, ...]) -> Shape:
    """What makes two patterns the same, whatever their parameters are called."""
    return tuple([(kind, text) for kind, text, _ in segments])


class Template:
    """A path with places for parameters: `upstream_path`.

    :raises ValueError: it is no path, or its parameters are not exactly `names`.
    """

    __slots__ = ("_parts",)

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        if not text.startswith("/"):
            raise ValueError("must begin with /")
        parts = _PARAMETER.split(text)
        if any("{" in literal or "}" in literal or _REFUSED_RAW.search(literal) for literal in parts[::3]):
            raise ValueError("must be a path with {name} or {name:path}, without query")
        if DOTS & {segment.lower().replace("%2e", ".") for segment in text.split("/")}:
            raise ValueError("must not have a segment . or ..")
        if sorted(parts[1::3]) != sorted(names):
            wanted = ", ".join(f"{{{name}}}" for name in names) or "none"
            raise ValueError(f"must have the parameters of the path, each once: {wanted}")
        self._parts = tuple((parts[i], parts[i + 1] if i + 1 < len(parts) else "") for i in range(0, len(parts), 3))

    def fill(self, values: Mapping[str, str]) -> str:
        """The path with raw values in the parameters' places.

        :raises Problem: `bad_request`: beside the template's text a value makes a path that can't be trusted, such as
            `..` that followed a prefix in the client's path.
        """
        path = "".join(text + (values[name] if name else "") for text, name in self._parts)
        _, decoded = split(path)
        if "%" in path:
            lax_readings(decoded)
        return path


def split(path: str) -> tuple[list[str], list[str]]:
    """A raw path's segments, as received and percent-decoded.

    Bytes that are no UTF-8 stay what they are (as surrogates): they match parameters and go on untouched.

    :raises Problem: `bad_request`: the path is not one, or an upstream might read another path in it.
    """
    if not path.startswith("/"):
        raise Problem("bad_request", "the path must begin with /")
    if _REFUSED_RAW.search(path):
        raise Problem("bad_request", "the path has a character or an escape that can't be in a path")
    raw = path[1:].split("/")
    decoded = raw
    if "%" in path:
        decoded = [decode(segment) if "%" in segment else segment for segment in raw]
        for segment in decoded:
            if "/" in segment and not DOTS.isdisjoint(segment.split("/")):
                raise Problem("bad_request", DOT_SEGMENT)
            if CONTROL.search(segment):
                raise Problem("bad_request", "the path has a control character or a backslash")
    if not DOTS.isdisjoint(decoded):
        raise Problem("bad_request", DOT_SEGMENT)
    return raw, decoded


def _after(raw: str, prefix: str) -> str:
    """What follows a prefix's decoded bytes in a raw segment; an escape is one byte, as is every other character."""
    if raw.startswith(prefix):
        return raw[len(prefix) :]
    position = 0
    for _ in prefix:
        position += 3 if raw[position] == "%" else 1
    return raw[position:]


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    prefixes: dict[str, _Node[T]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    parameter: _Node[T] | None = None
    tail: _Leaf[T] | None = None
    leaf: _Leaf[T] | None = None


class _Leaf(NamedTuple, Generic[T]):
    names: tuple[str, ...]
    value: T


def _child(children: dict[str, _Node[T]], text: str) -> _Node[T]:
    """The one under a text, made if need be: most are there already, and one for nothing costs more than the look."""
    child = children.get(text)
    if child is None:
        child = children[text] = _Node()
    return child


class Trie(Generic[T]):
    """Patterns by segment. A search visits a node at most once, so its time is bound by the patterns it can meet."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, segments: tuple[Segment, ...], value: T) -> None:
        """Put a value under a pattern; a later one replaces an earlier one of the same shape."""
        node = self._root
        leaf = _Leaf(names_of(segments), value)
        for kind, text, _ in segments:
            if kind is Kind.TAIL:
                node.tail = leaf
                return
            if kind is Kind.LITERAL:
                node = _child(node.literals, text)
            elif kind is Kind.PREFIX:
                if len(text) not in node.lengths:
                    node.lengths = sorted((*node.lengths, len(text)), reverse=True)
                node = _child(node.prefixes, text)
            else:
                node.parameter = node = node.parameter or _Node()
        node.leaf = leaf

    def is_alone(self, segments: tuple[Segment, ...]) -> bool:
        """Whether no other pattern leads on where this one, which was added, has its parameters."""
        node: _Node[T] | None = self._root
        for kind, text, _ in segments:
            if node is None:
                break
            if kind is Kind.LITERAL:
                node = node.literals.get(text)
                continue
            if len(node.literals) + len(node.prefixes) + (node.parameter is not None) + (node.tail is not None) > 1:
                return False
            node = node.prefixes.get(text) if kind is Kind.PREFIX else node.parameter
        return True

    def find(self, raw: list[str], decoded: list[str], *, empty_tail: bool = False) -> tuple[T, dict[str, str]] | None:
        """The value of the most specific pattern that fits, and its parameters, raw.

        :param raw: the path's segments as received.
        :param decoded: the same, decoded, as `split` gives them.
        :param empty_tail: whether nothing but a slash is a tail too, as it is to many an upstream.
        """
        if "" in decoded[:-1]:
            return None
        found = _search(self._root, raw, decoded, 0, (), empty_tail)
        if found is None:
            return None
        leaf, values = found
        return leaf.value, dict(zip(leaf.names, values, strict=True))


def _search(
    node: _Node[T], raw: list[str], decoded: list[str], index: int, values: tuple[str, ...], empty_tail: bool
) -> tuple[_Leaf[T], tuple[str, ...]] | None:
    """The leaf that the segments from `index` on lead to, the most specific way first, with what its parameters hold.

    :param values: of the parameters so far.
    """
    if index == len(decoded):
        return (node.leaf, values) if node.leaf is not None else None
    segment, child = decoded[index], node.literals.get(decoded[index])
    if child is not None and (found := _search(child, raw, decoded, index + 1, values, empty_tail)) is not None:
        return found
    for length in node.lengths:
        if length < len(segment) and (child := node.prefixes.get(segment[:length])) is not None:
            longer = (*values, _after(raw[index], segment[:length]))
            if (found := _search(child, raw, decoded, index + 1, longer, empty_tail)) is not None:
                return found
    if node.parameter is not None and segment:
        found = _search(node.parameter, raw, decoded, index + 1, (*values, raw[index]), empty_tail)
        if found is not None:
            return found
    if node.tail is not None and (segment or empty_tail):
        return node.tail, (*values, "/".join(raw[index:]))
    return None
