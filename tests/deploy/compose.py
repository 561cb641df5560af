"""The Compose files as Docker Compose itself reads them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.deploy.dockerfile import ROOT

TRIAL: Final = ROOT / "deploy" / "compose.yaml"
PLATFORM: Final = ROOT / "deploy" / "compose.platform.yaml"
FILES: Final = (TRIAL, PLATFORM)
IMAGE: Final = "aiogateway:local"
# What has no default.
REQUIRED: Final[Mapping[Path, Mapping[str, str]]] = {
    TRIAL: {"JWT_SECRET": "a" * 40},
    PLATFORM: {
        "JWT_SECRET": "a" * 40,
        "RECAPTCHA_SECRET_KEY": "b" * 40,
        "GATEWAY_ADMIN_TOKEN": "c" * 40,
        "AIOGATEWAY_IMAGE": IMAGE,
    },
}


def program(name: str) -> str:
    """One that pip installed."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def config(file: Path, environ: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config`."""
    return subprocess.run(
        [program("docker-compose"), "--file", str(file), "config", *options],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@functools.cache
def resolved(file: Path, *options: str, **environ: str) -> dict[str, Any]:
    """A file with its variables filled in, and what it leaves to the defaults."""
    done = config(file, {**REQUIRED[file], **environ}, "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def names(services: Mapping[str, Any]) -> list[str]:
    """What services call each other."""
    attached = [network for service in services.values() for network in service["networks"].values()]
    return [*services, *(alias for network in attached for alias in (network or {}).get("aliases", ()))]
