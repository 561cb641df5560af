"""The tables of docs/configuration.md, made from the settings.

`python -m tests.documents.settings_tables docs/configuration.md` writes them anew between two marks of that file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BeforeValidator

from aiogateway.describe import size_text
from aiogateway.routes import load
from aiogateway.routes.table import Upstream
from aiogateway.settings import parse, values
from aiogateway.settings.variables import FIELDS, POOL_FIELDS, Variables, variable_name
from tests.documents.variables import GROUPS

BEGIN: Final = "<!-- settings:begin: written by scripts/configuration -->\n"
END: Final = "<!-- settings:end -->\n"

# How a value is written, by what reads it; a reader that isn't here says so in its own words.
TAKES: Final[dict[object, str]] = {
    values.size: "size",
    values.positive_size: "size above 0",
    values.seconds: "seconds above 0",
    values.seconds_or_zero: "seconds",
    values.share: "share from 0 to 1",
    values.score: "number from 0 to 1",
    values.boolean: "true, false",
    values.words: "words, with commas",
    values.rates: "limits such as `5/minute`, or `off`",
    values.web_url: "URL",
    values.redis_url: "URL: redis, rediss, unix",
    values.networks: "networks, with commas",
    values.origins: "origins, with commas",
    values.algorithms: "algorithms, with commas",
}
SIZES: Final = frozenset({values.size, values.positive_size})
SECONDS: Final = frozenset({values.seconds, values.seconds_or_zero})


def reader(field: str) -> Any:
    """What reads a field's text; None where any text will do."""
    found = [part for part in Variables.model_fields[field].metadata if isinstance(part, BeforeValidator)]
    return found[0].func if found else None


def takes(field: str) -> str:
    """What may be given, with its unit."""
    read = reader(field)
    if read is None:
        return "path" if "Path" in str(Variables.model_fields[field].annotation) else "text"
    if read in TAKES:
        return TAKES[read]
    try:
        read("?")
    except ValueError as error:
        said = str(error).removeprefix("must be ").replace("a whole number", "number").replace(" or ", ", ")
        return said.removesuffix(f" to {values.MAX_COUNT}")
    raise TypeError(f"the reader of {field} takes anything")


def default(field: str) -> str:
    """What holds where nothing is given, as one would write it."""
    held = Variables.model_fields[field].default
    if field == "jwt_algorithms":
        ours = [",".join(parse({"JWT_SECRET": text})[0].jwt_algorithms) for text in ("k" * 32, "")]
        return f"`{ours[0]}` with a secret, else `{ours[1]}`"
    if held is None or held == ():
        return "none"
    if isinstance(held, bool):
        return f"`{str(held).lower()}`"
    if reader(field) in SIZES:
        return f"`{size_text(held)}`"
    if isinstance(held, float):
        return f"`{held:g}`"
    if isinstance(held, tuple):
        return ", ".join(f"`{part}`" for part in held)
    return f"`{held}`"


def row(*cells: str) -> str:
    """A table's line."""
    return f"| {' | '.join(cells)} |\n"


def head(*names: str) -> str:
    """A table's first two lines."""
    return row(*names) + row(*["---"] * len(names)).replace(" ", "")


def of_group(title: str) -> Iterator[str]:
    """One group of variables as a section."""
    yield f"\n### {title}\n\n"
    yield head("variable", "default", "takes", "meaning")
    for field, meaning in GROUPS[title].items():
        yield row(f"`{variable_name(field)}`", default(field), takes(field), meaning)


@cache
def upstreams() -> Mapping[str, Upstream]:
    """Those of the packaged table."""
    return load(parse({})[0]).upstreams


def of_upstreams() -> Iterator[str]:
    """The variables of each upstream of the packaged table."""
    yield "\n### Upstreams of the packaged table\n\n"
    yield head("upstream", "variable of its URLs", "default", "its pool's variables begin with")
    for name, upstream in upstreams().items():
        pool = f"`GATEWAY_POOL_{name.upper()}_`"
        yield row(f"`{name}`", f"`{upstream.env}`", " ".join(f"`{url}`" for url in upstream.urls), pool)


def tables() -> str:
    """All of it."""
    return "".join([*(line for title in GROUPS for line in of_group(title)), *of_upstreams()])


def missing(groups: Iterable[Iterable[str]] = tuple(GROUPS.values())) -> set[str]:
    """Fields that no group explains, and explained ones that there aren't."""
    return {field for group in groups for field in group} ^ set(FIELDS.values())


def renewed(text: str) -> str:
    """A document with its tables written anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document lacks the marks between which the tables stand")
    return f"{before}{BEGIN}{tables()}\n{END}{after}"


def of_pools() -> set[str]:
    """Names of all pool variables of single upstreams."""
    return {f"GATEWAY_POOL_{name.upper()}_{field.upper()}" for name in upstreams() for field in POOL_FIELDS}


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
