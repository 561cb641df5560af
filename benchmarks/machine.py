"""What a run ran on: processor, cores, kernel, and the versions of everything that took part."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TypedDict

VERSION_COMMANDS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "caddy": ["caddy", "version"],
    "wrk": ["wrk", "-v"],
}
PACKAGES = ("aiogateway", "aiohttp", "uvloop", "starlette", "httpx", "uvicorn")
VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


class Machine(TypedDict):
    """As it stands in the JSON; `load` is the machine's load average as the run began, 0 when it was quiet."""

    date: str
    cpu: str
    cores: int
    kernel: str
    load: float
    versions: dict[str, str]


def describe() -> Machine:
    """This machine, now."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
        "versions": versions(),
    }


def cpu_model(cpuinfo: str) -> str:
    """The processor's name as /proc/cpuinfo has it, else the architecture."""
    name = re.search(r"^model name\s*: *(.+)$", cpuinfo, re.MULTILINE)
    return name[1].strip() if name else platform.machine()


def versions() -> dict[str, str]:
    """Name -> version of each program and package that is installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    for program, argv in VERSION_COMMANDS.items():
        if shutil.which(program):
            said = subprocess.run(argv, capture_output=True, text=True, check=False)  # wrk -v exits 1
            version = VERSION.search(said.stdout + said.stderr)
            found[program] = version[0] if version else "unknown"
    return found
