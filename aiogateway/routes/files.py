"""Configuration folders as they lie on disk or in the package: TOML in, documents and faults out.

Rules: reading is all that happens here; a file that can't be read or parsed is a fault that names it, and the others
are read all the same. Names in faults are relative to the folder, so that they read the same on every machine.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from aiogateway.settings.faults import ENVIRONMENT, Fault, shown

UPSTREAMS: Final = "upstreams.toml"
PACKAGED: Final = "packaged"


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file.

    :param where: its name in faults and sources.
    :param stem: the name without folder and ending; a route file's category.
    :param data: what TOML gave.
    """

    where: str
    stem: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """One folder. `upstreams` is None when its file is missing or no TOML, so that nobody blames names on it."""

    upstreams: Document | None
    routes: tuple[Document, ...]


def read_layers(config: Path | None) -> tuple[list[Layer], list[Fault]]:
    """Read the configuration.

    :param config: the folder; None: the packaged table.
    :returns: the layers, the undermost first, and every fault.
    """
    packaged = resources.files("aiogateway") / "config"
    faults: list[Fault] = []
    if config is None:
        return [_read_layer(packaged, "", faults)], faults
    try:
        wrong = None if config.is_dir() else "is no folder"
    except OSError as error:
        wrong = f"can't be read: {error.strerror}"
    if wrong is not None:
        return [], [Fault(ENVIRONMENT, "GATEWAY_CONFIG", "", f"{shown(str(config), 200)} {wrong}")]
    layer = _read_layer(config, "", faults)
    extends = layer.upstreams.data.pop("extends", None) if layer.upstreams is not None else None
    if extends not in (None, PACKAGED):
        faults.append(Fault(UPSTREAMS, "", "extends", f'must be "{PACKAGED}", or left out'))
    if extends is not None:
        return [_read_layer(packaged, f"{PACKAGED} ", faults), layer], faults
    if not layer.routes and not faults:
        faults.append(Fault("routes", "", "", "has no .toml file with routes"))
    return [layer], faults


def _read_layer(folder: Traversable, label: str, faults: list[Fault]) -> Layer:
    upstreams = _read(folder / UPSTREAMS, f"{label}{UPSTREAMS}", faults)
    routes: list[Document] = []
    inner = folder / "routes"
    try:
        files = sorted(inner.iterdir(), key=lambda file: file.name) if inner.is_dir() else []
    except OSError as error:
        faults.append(Fault(f"{label}routes", "", "", f"can't be read: {error.strerror}"))
        files = []
    for file in files:
        if file.name.endswith(".toml") and not file.name.startswith("."):
            document = _read(file, f"{label}routes/{file.name}", faults)
            routes += [document] if document is not None else []
    return Layer(upstreams, tuple(routes))


def _read(file: Traversable, where: str, faults: list[Fault]) -> Document | None:
    try:
        if not file.is_file():  # a pipe, for one, would never end
            faults.append(Fault(where, "", "", "can't be read: it is missing, or no file"))
            return None
        data = tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        faults.append(Fault(where, "", "", f"can't be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        faults.append(Fault(where, "", "", f"is not UTF-8 at byte {error.start}"))
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(where, "", "", f"is not TOML: {error}"))
    except (RecursionError, ValueError):  # nested too deep, or a number of thousands of digits
        faults.append(Fault(where, "", "", "is TOML that no table has any use for: too deep, or too long a number"))
    else:
        return Document(where, file.name.removesuffix(".toml"), data)
    return None
