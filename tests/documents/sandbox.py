"""A place where a reader's commands run: a copy of the checkout's files, the installed program, free ports.

Rules: what a block says is run as it stands, in bash, with ports replaced by free ones. The blocks of a page run in one
shell, in their order, so that what one exports the next has. What would fetch from an index is answered by a `pip` that
only looks whether the files it is given are there; a new virtual environment is the one that the tests run in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.documents.reading import ROOT, Block
from tests.e2e.harness import free_port

PATIENCE: Final = 60.0
READY: Final = 20.0
# What is copied, and what is only linked to, for nobody writes there.
COPIED: Final = ("setup.cfg", "setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
LINKED: Final = ("aiogateway", "benchmarks", "deploy", "docs", "tests")

PIP: Final = """#!/usr/bin/env bash
# Looks whether what is to be installed is there.
set -euo pipefail
[[ $1 == install ]]; shift
while (($#)); do
  case $1 in
    -r) [[ -f $2 ]]; shift ;;
    -q | -e) ;;
    . | .\\[*) [[ -f setup.cfg ]] ;;
    aiogateway | aiogateway\\[*) ;;
    *) echo "pip: what is $1?" >&2; exit 1 ;;
  esac
  shift
done
"""
PYTHON: Final = """#!/usr/bin/env bash
# Python; a virtual environment is the one that the tests run in.
if [[ ${{1-}} == -m && ${{2-}} == venv ]]; then mkdir -p "$3" && ln -s {tools} "$3/bin" && exit; fi
exec {python} "$@"
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a gateway of the sandbox listens."""

    public: int
    admin: int

    def placed(self, text: str) -> str:
        """A text with the documents' ports replaced by these."""
        return text.replace("127.0.0.1:8000", f"127.0.0.1:{self.public}").replace(
            "127.0.0.1:9000", f"127.0.0.1:{self.admin}"
        )


def new_ports() -> Ports:
    return Ports(free_port(), free_port())


class Sandbox:
    """:param folder: an empty one.
    :ivar tree: where commands run.
    """

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "checkout"
        self._tools = folder / "tools"
        self.tree.mkdir()
        self._tools.mkdir()
        for name in COPIED:
            shutil.copy(ROOT / name, self.tree)
        for name in LINKED:
            (self.tree / name).symlink_to(ROOT / name)
        (self.tree / "scripts").mkdir()
        for script in (ROOT / "scripts").iterdir():
            (self.tree / "scripts" / script.name).symlink_to(script)
        environment = self.tree / "scripts" / "environment"
        environment.unlink()
        environment.write_text(f"#!/bin/sh\necho {sys.prefix}\n")
        environment.chmod(0o755)
        programs = Path(sys.executable).parent
        for name, text in (("pip", PIP), ("python3", PYTHON.format(tools=self._tools, python=sys.executable))):
            (self._tools / name).write_text(text)
            (self._tools / name).chmod(0o755)
        (self._tools / "aiogateway").symlink_to(programs / "aiogateway")

    def environment(self, ports: Ports, **more: str) -> dict[str, str]:
        """What commands see. Ports come as variables too, for those that start a gateway."""
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        own = {
            "PATH": f"{self._tools}:{os.environ['PATH']}",
            "HOME": str(self.tree),
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(ports.public),
            "GATEWAY_ADMIN_PORT": str(ports.admin),
            "GATEWAY_DRAIN_DELAY": "0",
        }
        return {**kept, **own, **more}

    def run(self, blocks: Sequence[Block], ports: Ports, **more: str) -> str:
        """Run blocks in one shell, to their end.

        :returns: what they wrote.
        :raises AssertionError: naming the block that failed, with what was written last.
        """
        lines = ["set -euo pipefail"]
        for number, block in enumerate(blocks):
            file = self.tree.parent / f"block-{number}.sh"
            file.write_text(ports.placed(block.text))
            lines += [f"block='{block}'", f". '{file}'"]
        script = "\n".join(["trap '(($? == 0)) || echo \"failed: $block\" >&2' EXIT", *lines])
        with started(["bash", "-c", script], self.tree, self.environment(ports, **more)) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said[-2000:]
        return said

    def serve(self, block: Block, ports: Ports, **more: str) -> None:
        """Run a block that ends in a server, until that is ready; then end it.

        :raises AssertionError: it ended before, or was never ready.
        """
        script = f"set -euo pipefail\n{ports.placed(block.text)}"
        with started(["bash", "-c", script], self.tree, self.environment(ports, **more)) as process:
            until = time.monotonic() + READY
            while not answers(ports.admin):
                said = process.communicate()[0][-2000:] if process.poll() is not None else ""
                assert process.poll() is None and time.monotonic() < until, f"{block} was never ready: {said}"
                time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether a gateway with this admin port is ready."""
    done = subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/readyz"], capture_output=True, check=False)
    return done.returncode == 0


@contextlib.contextmanager
def started(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, all of which ends with the block."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=5)
                break
