"""Configuration folders for tests, written and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from aiogateway.routes import Table, configure
from aiogateway.settings.faults import ConfigError, Fault

KEY = {"JWT_SECRET": "k" * 32}
ONE_UPSTREAM = '[b]\nurl = "http://b:1"\n'


def folder(root: Path, routes: Mapping[str, str] | str, upstreams: str = ONE_UPSTREAM) -> Path:
    """A folder with `upstreams.toml` and route files; one text alone becomes `routes/test.toml`."""
    (root / "routes").mkdir(parents=True, exist_ok=True)
    (root / "upstreams.toml").write_text(upstreams, encoding="utf-8")
    for name, text in ({"test": routes} if isinstance(routes, str) else routes).items():
        (root / "routes" / f"{name}.toml").write_text(text, encoding="utf-8")
    return root


def load(root: Path, routes: Mapping[str, str] | str, upstreams: str = ONE_UPSTREAM, **environ: str) -> Table:
    """The table of such a folder."""
    config = str(folder(root, routes, upstreams))
    return configure({**KEY, "GATEWAY_CONFIG": config, **environ})[1]


def faults(
    root: Path, routes: Mapping[str, str] | str, upstreams: str = ONE_UPSTREAM, **environ: str
) -> tuple[Fault, ...]:
    """The faults of such a folder; that it has any is asserted."""
    with pytest.raises(ConfigError) as caught:
        load(root, routes, upstreams, **environ)
    return caught.value.faults
