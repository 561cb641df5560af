"""Imports go one way, from the program down to the tables that it reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).resolve().parent.parent / "aiogateway"

# A module may import from its own layer and from those above it in this list.
LAYERS: Final = (
    {
        *(
            "address",
            "board",
            "deadlines",
            "errors",
            "forms",
            "garbage",
            "history",
            "linux",
            "logs",
            "manual",
            "memory",
            "metrics",
            "oversight",
            "pipes",
            "service_manager",
            "upkeep",
        ),
        *("metrics", "output", "overload", "recent", "splice", "streams"),
    },
    {"settings"},
    {"routes"},
    {"compression", "describe", "openapi", "recaptcha", "stores", "tokens", "upstreams", "watching", "websocket"},
    {"proxy"},
    {"caching"},
    {"access_log", "apidocs", "middlewares", "spans", "telemetry"},
    {"report"},
    {"app"},
    {"admin", "reloading", "warmup"},
    {"draining"},
    {"serving"},
    {"parent"},
    {"workers"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
RANK: Final = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES: Final = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    """`aiogateway/proxy/headers.py` is `proxy.headers`, `aiogateway/proxy/__init__.py` is `proxy`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(path: Path) -> Iterator[str]:
    """What a module imports of the package, as dotted names below it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("aiogateway."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write the package's name, so that imports can be searched for"
            if node.module == "aiogateway":
                yield from (alias.name for alias in node.names)
            elif node.module is not None and node.module.startswith("aiogateway."):
                module = node.module.partition(".")[2]
                yield from (submodule(module, alias.name) for alias in node.names)


def submodule(module: str, name: str) -> str:
    """`from aiogateway.proxy import headers` imports `proxy.headers`; a function's name adds nothing."""
    base = PACKAGE.joinpath(*module.split("."), name)
    return f"{module}.{name}" if base.with_suffix(".py").exists() or base.is_dir() else module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_its_own_layer_or_below(path: Path) -> None:
    top = name_of(path).partition(".")[0]
    assert top in RANK, f"say in LAYERS where {top} stands"
    below = {name for name in imports(path) if name != "__version__" and RANK[name.partition(".")[0]] > RANK[top]}
    assert not below, f"{name_of(path)} must not know of {', '.join(sorted(below))}"


def test_no_two_modules_import_each_other() -> None:
    graph = {name_of(path): set(imports(path)) - {"__version__", name_of(path)} for path in MODULES}
    TopologicalSorter(graph).prepare()


def test_every_layer_named_here_exists() -> None:
    assert {name_of(path).partition(".")[0] for path in MODULES} == RANK.keys()
