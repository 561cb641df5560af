"""Documents, read: their fenced blocks, headings and links.

Rules: as GitHub reads them, as far as ours go; what stands in a fence is no heading and no link.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# Within a list a block is indented.
FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
HEADING: Final = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
CODE: Final = re.compile(r"`[^`\n]*`")
PATH: Final = re.compile(r"`((?:scripts|deploy|docs|aiogateway|benchmarks|tests)/[\w./-]+)`")
VARIABLE: Final = re.compile(r"\b(?:GATEWAY|JWT|RECAPTCHA)_[A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    :ivar page: of which document, from the root of the checkout.
    :ivar line: the line of its first fence.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def documents(root: Path = ROOT) -> list[Path]:
    """All that is held to what is tested here: README.md, what is under docs, the READMEs under deploy."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "deploy").rglob("README.md"))]


def blocks(path: Path, root: Path = ROOT) -> Iterator[Block]:
    """The fenced blocks of a document."""
    text = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(path.relative_to(root).as_posix(), line, match[2], textwrap.dedent(match[3]))


def all_blocks(*languages: str, root: Path = ROOT) -> list[Block]:
    """The blocks of all documents in some languages."""
    return [block for path in documents(root) for block in blocks(path, root) if block.language in languages]


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """What the headings can be linked to by: lower case, spaces as hyphens, other signs gone."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(text)):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", bare.lower()).replace(" ", "-")
        number = 0
        while (unique := slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(unique)
    return found


def broken_links(path: Path) -> list[str]:
    """Links of a document to files and headings that there aren't."""
    text = path.read_text(encoding="utf-8")
    faults = []
    for link in LINK.findall(CODE.sub("", prose(text))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists():
            faults.append(f"{path.name}: no file {link}")
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            faults.append(f"{path.name}: no heading {link}")
    return faults


def unknown_variables(text: str, known: set[str]) -> set[str]:
    """Variables that a text names and the settings don't know. `GATEWAY_POOL_…` and the like stand for known ones."""
    return {
        name
        for name in VARIABLE.findall(text)
        if name not in known and not (name.endswith("_") and any(other.startswith(name) for other in known))
    }


def missing_paths(text: str) -> set[str]:
    """Files and folders of the checkout that a text names and there aren't."""
    return {name for name in PATH.findall(prose(text)) if not (ROOT / name).exists()}


def is_table(block: Block) -> bool:
    """Whether a TOML block is a part of a route file or of `upstreams.toml`, and not of something else."""
    held = tomllib.loads(block.text)
    return "route" in held or any(isinstance(part, dict) and "url" in part for part in held.values())
