"""The pages among each other and beside the program: links, names of variables, tables, the runbook."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from aiogateway.errors import CODES
from aiogateway.routes.policies import ROUTE_KEYS, UPSTREAM_KEYS, Key
from aiogateway.settings.variables import FIELDS, variable_name
from tests.documents import settings_tables
from tests.documents.reading import ROOT, anchors, broken_links, documents, missing_paths, unknown_variables
from tests.test_layers import LAYERS, PACKAGE, RANK

PAGES: Final = sorted((ROOT / "docs").glob("*.md"))
KNOWN: Final = FIELDS.keys() | settings_tables.of_pools()
# Named because they are none of ours: what Kubernetes sets for a Service that is called `gateway`.
OTHERS: Final = {"GATEWAY_SERVICE_", "GATEWAY_PORT_"}
# Parts that are named before they are there.
TO_COME: Final = {"deploy/docker", "deploy/kubernetes", "deploy/systemd", "docs/scaling.md", "docs/releasing.md"}
# A table's line: the first two cells.
ROW: Final = re.compile(r"^\| `(\w+)` \| (.*?) \|", re.MULTILINE)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_are_named_are_there(page: Path) -> None:
    assert missing_paths(page.read_text(encoding="utf-8")) - TO_COME == set()


@pytest.mark.parametrize("page", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_variables_are_ones_that_the_settings_know(page: Path) -> None:
    assert unknown_variables(page.read_text(encoding="utf-8"), set(KNOWN)) - OTHERS == set()


def test_the_readme_lists_the_programs_that_the_tests_install() -> None:
    (line,) = re.findall(r"^needed=\((.*?)\)$", text_of("scripts/test"), re.MULTILINE)
    (sentence,) = re.findall(r"`scripts/test` installs (.*?) with apt", text_of("README.md"), re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", sentence)) == set(line.split()) - {"python3-venv"}


def unlisted(index: str, pages: Iterable[Path]) -> list[str]:
    """Pages that an index leaves out."""
    return [page.name for page in pages if page.name != "README.md" and page.name not in index]


def test_every_page_and_every_decision_is_in_its_index() -> None:
    assert unlisted(text_of("docs/README.md"), PAGES) == []
    decisions = (ROOT / "docs" / "decisions").glob("*.md")
    assert unlisted(text_of("docs/decisions/README.md"), decisions) == []


def test_the_tables_of_variables_are_what_the_settings_are() -> None:
    assert settings_tables.missing() == set()
    page = text_of("docs/configuration.md")
    assert settings_tables.renewed(page) == page, "run scripts/configuration"


def wrong_keys(page: str) -> set[str]:
    """Keys of route files without a line, with a line too many, or with another default than theirs."""
    rows, keys = dict(ROW.findall(page)), {**ROUTE_KEYS, **UPSTREAM_KEYS}
    written = {name: default.strip("`") for name, default in rows.items() if default.startswith("`") and name in keys}
    return (rows.keys() ^ keys.keys()) | {name for name, text in written.items() if text != default_of(keys[name])}


def test_every_key_of_route_files_has_its_line_and_its_default() -> None:
    assert wrong_keys(text_of("docs/routes.md")) == set()


def default_of(key: Key) -> str:
    """A key's default as one would write it: the variable that it comes from, or the value."""
    if key.setting is not None:
        return variable_name(key.setting)
    if isinstance(key.default, bool):
        return str(key.default).lower()
    if isinstance(key.default, tuple):
        return ", ".join(key.default)
    return f"{key.default:g}" if isinstance(key.default, float) else str(key.default)


def wrong_codes(page: str) -> set[str]:
    """Codes of answers without a line, with a line too many, or with another status than theirs."""
    statuses = {code: str(row.status) for code, row in CODES.items()} | {"upstream_error": "the service's"}
    return {code for code, _ in statuses.items() ^ dict(ROW.findall(page)).items()}


def test_every_code_of_an_answer_has_its_line_with_its_status() -> None:
    assert wrong_codes(text_of("docs/errors.md")) == set()


def alerts() -> list[str]:
    return re.findall(r"alert: (\w+)", text_of("deploy/prometheus/alerts.yaml"))


def without_a_section(names: list[str], book: str) -> list[str]:
    """Alerts that the runbook says too little of: what it means, what to look at, what to do."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", book, re.DOTALL | re.MULTILINE))
    parts = ("**Means.**", "**Look at.**", "**Do.**")
    return [name for name in names if not all(part in sections.get(name, "") for part in parts)]


def test_every_alert_has_its_section_in_the_runbook() -> None:
    book = text_of("docs/operations.md")
    assert alerts() and without_a_section(alerts(), book) == []
    assert {name.lower() for name in alerts()} <= anchors(book)


def test_the_picture_of_the_architecture_shows_the_layers_in_their_order() -> None:
    root = ElementTree.parse(ROOT / "docs" / "images" / "architecture.svg").getroot()
    lines = [element.text or "" for element in root.iter() if element.get("class") == "m"]
    shown = [name for line in lines for name in line.split(", ")]
    assert [RANK[name] for name in shown] == sorted((RANK[name] for name in shown), reverse=True)
    # Of the lowest layer the packages will do.
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    above = {name for layer in LAYERS[1:] for name in layer} - {"__main__"}
    assert above | (packages & LAYERS[0]) <= set(shown)


def test_planted_faults_are_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n[a](none.md) [b](#a-page) [c](#b-page) `[d](e.md)`\n")
    assert broken_links(page) == ["page.md: no file none.md", "page.md: no heading #b-page"]
    wrong = "GATEWAY_PROT, GATEWAY_PORT, GATEWAY_POOL_X_, JWT_KEY, GATEWAY_POOL_<UPSTREAM>"
    assert unknown_variables(wrong, set(KNOWN)) == {"GATEWAY_PROT", "GATEWAY_POOL_X_", "JWT_KEY"}
    assert without_a_section(["Planted"], "### Planted\n\n**Means.** Much.\n") == ["Planted"]
    assert settings_tables.missing([["host", "nothing"]]) >= {"port", "nothing"}
    table = text_of("docs/configuration.md").replace("| `8000` |", "| `8001` |")
    assert settings_tables.renewed(table) != table
    assert missing_paths("`scripts/tset` and `scripts/test`") == {"scripts/tset"}
    assert unlisted("[a](a.md)", [Path("a.md"), Path("b.md")]) == ["b.md"]
    keys = text_of("docs/routes.md").replace("| `retry` |", "| `rety` |")
    assert wrong_keys(keys.replace("| `eject_after` | `5` |", "| `eject_after` | `6` |")) == {
        "retry",
        "rety",
        "eject_after",
    }
    codes = text_of("docs/errors.md").replace("| `overloaded` | 503 |", "| `overloaded` | 500 |")
    assert wrong_codes(codes) == {"overloaded"}
