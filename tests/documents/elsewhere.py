"""Commands that can't run in a test, why, and what is looked at instead.

Instead: bash must be able to read the block; what it names of the checkout must exist, and so must the commands and
options of `aiogateway` and the modules that it runs.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from aiogateway.cli import main
from tests.documents.reading import ROOT, Block

ENGINE: Final = "needs a container engine"
CLUSTER: Final = "needs a cluster"
SYSTEMD: Final = "needs systemd as the first process"
AS_ROOT: Final = "changes the machine, as root"
LONG: Final = "takes minutes; tests/test_benchmarks.py and tests/test_soak.py run it short"

# Program -> why a block with it doesn't run here.
NOT_HERE: Final[dict[str, str]] = {
    **dict.fromkeys(("docker", "podman", "buildah", "skopeo"), ENGINE),
    **dict.fromkeys(("kubectl", "kustomize", "helm"), CLUSTER),
    **dict.fromkeys(("systemctl", "journalctl", "systemd-creds", "systemd-run"), SYSTEMD),
    **dict.fromkeys(("sudo", "apt-get", "useradd", "install", "sysctl"), AS_ROOT),
    **dict.fromkeys(("scripts/bench", "scripts/soak", "python -m benchmarks"), LONG),
    "scripts/test": "runs this very test",
    "scripts/check": "scripts/test runs it",
    "scripts/screenshots": "writes the pictures anew; tests/admin and tests/test_sample_page.py look at the same pages",
    "scripts/release": "makes a release",
    "python -m pip": "builds packages, as a test of the wheel does",
    "git": "changes the checkout",
    "redis-cli": "asks a Redis of yours",
}
_SEPARATOR: Final = re.compile(r"&&|\|\||[;|&]|\$\(|\n")
_BEFORE: Final = re.compile(r"^(?:(?:[A-Za-z_]\w*=\S*|if|then|else|while|until|do|!|time)\s+)+")
_PATH: Final = re.compile(r"(?<![\w./:-])(?:scripts|deploy|docs|aiogateway|benchmarks|tests)/[\w./-]*\w")
_MODULE: Final = re.compile(r"python3? -m (benchmarks\.\w+)")
# Words in brackets, as JSON or a `-c` program, are no commands.
_EXPANDED: Final = re.compile(r'"(\$\w+(?:/[\w./-]*)?)"')
_QUOTED: Final = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"")


def programs(text: str) -> set[str]:
    """First words of the commands of a block, and what a Python is to run."""
    found = set()
    lines = "\n".join(line.partition(" #")[0] for line in text.splitlines() if not line.startswith("#"))
    for piece in _SEPARATOR.split(_QUOTED.sub("''", _EXPANDED.sub(r"\1", lines.replace("\\\n", " ")))):
        words = _BEFORE.sub("", piece.strip()).split()
        if words:
            found.add(words[0])
            if words[1:2] == ["-m"] and words[2:]:
                found.add(f"python -m {words[2].partition('.')[0]}")
    return found


def reason(block: Block) -> str | None:
    """Why a block doesn't run here; None when it does."""
    return next((NOT_HERE[name] for name in sorted(programs(block.text)) if name in NOT_HERE), None)


def faults(block: Block, root: Path = ROOT) -> list[str]:
    """What is wrong with a block that can't run."""
    found = []
    read = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    if read.returncode != 0:
        found.append(read.stderr.strip())
    found += [f"there is no {name}" for name in _PATH.findall(block.text) if not (root / name).exists()]
    for module in _MODULE.findall(block.text):
        if not (root / f"{module.replace('.', '/')}.py").exists():
            found.append(f"there is no module {module}")
    return [f"{block}: {fault}" for fault in (*found, *_of_the_program(block.text))]


def _of_the_program(text: str) -> Iterator[str]:
    """Commands and options of `aiogateway` that there aren't."""
    for name, rest in re.findall(r"(?<![\w/.@-])aiogateway ([a-z][a-z-]*)\b([^|&;\n)]*)", text):
        command = main.commands.get(name)
        if command is None:
            yield f"aiogateway has no command {name}"
            continue
        options = {option for part in command.params if isinstance(part, click.Option) for option in part.opts}
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
            if option not in options | {"--help"}:
                yield f"aiogateway {name} has no option {option}"
