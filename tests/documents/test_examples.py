"""What documents show of other languages: it can be read, and route files by the gateway's own loader."""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from aiogateway.routes import configure
from aiogateway.settings.faults import ConfigError
from tests.documents.reading import Block, all_blocks, is_table

READERS: Final[dict[str, Any]] = {
    "toml": tomllib.loads,
    "json": json.loads,
    "python": ast.parse,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}
EXAMPLES: Final = all_blocks(*READERS)
TABLES: Final = [block for block in all_blocks("toml") if is_table(block)]
LAID_OVER: Final = 'extends = "packaged"\n'


def load(block: Block, folder: Path) -> None:
    """Load an example as the gateway would: laid over the packaged table, unless it says so itself.

    :raises ConfigError: with the faults of the example.
    """
    (folder / "routes").mkdir()
    upstreams, routes = LAID_OVER, ""
    if "[[route]]" not in block.text:
        upstreams = block.text if "extends" in block.text else LAID_OVER + block.text
    elif "\nupstream = " in f"\n{block.text}":
        routes = block.text
    else:
        routes = f'upstream = "crawling"\n{block.text}'
    (folder / "upstreams.toml").write_text(upstreams)
    (folder / "routes" / "example.toml").write_text(routes)
    configure({"GATEWAY_CONFIG": str(folder)}, need_key=False)


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_can_be_read(block: Block) -> None:
    READERS[block.language](block.text)


@pytest.mark.parametrize("block", TABLES, ids=str)
def test_an_example_of_routes_or_upstreams_is_taken(block: Block, tmp_path: Path) -> None:
    load(block, tmp_path)


def test_there_are_examples_of_routes_and_of_upstreams() -> None:
    kinds = {"[[route]]" in block.text for block in TABLES}
    assert kinds == {True, False}


@pytest.mark.parametrize(
    ("language", "text"), [("toml", "a = "), ("json", "{"), ("python", "def"), ("yaml", "a: b: c")], ids=lambda v: v
)
def test_a_planted_example_that_cannot_be_read_is_caught(language: str, text: str) -> None:
    with pytest.raises((ValueError, SyntaxError, yaml.YAMLError)):
        READERS[language](text)


@pytest.mark.parametrize(
    "text", ['[[route]]\npath = "/x"\ntimout = 3\n', '[crawling]\nurl = "http://x:1"\nbalanse = "round_robin"\n']
)
def test_a_planted_example_that_is_not_taken_is_caught(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(Block("planted.md", 1, "toml", text), tmp_path)
