"""Reads a Dockerfile as far as ours goes: its instructions, one each, by stage."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "deploy" / "docker" / "Dockerfile"
# What the base image has for it, where ours adds to it.
BASE_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """One stage.

    :ivar instructions: name and text, in their order, without the line breaks within one.
    """

    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [text for found, text in self.instructions if found == name]

    def one(self, name: str) -> str:
        """The text of what there is once. Raises ValueError when there is more, or none."""
        (text,) = self.all(name)
        return text

    def command(self, name: str) -> list[str]:
        """The words of an ENTRYPOINT, a CMD or a HEALTHCHECK, in its exec form."""
        words: list[str] = json.loads(re.sub(r"^.*?(?=\[)", "", self.one(name)))
        return words

    @property
    def environment(self) -> dict[str, str]:
        pairs = (pair.partition("=") for text in self.all("ENV") for pair in text.split())
        return {name: value.replace("$PATH", BASE_PATH) for name, _, value in pairs}

    def runs(self, word: str) -> list[str]:
        """The shell commands of those RUN instructions that hold a word, without what is mounted for them."""
        return [re.sub(r"--mount=\S+ +", "", text) for text in self.all("RUN") if word in text]


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile, in their order; what stands before the first is none."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append(Stage())
        if name and found:
            found[-1].instructions.append((name, rest))
    return found
