"""What `--help` says, and what a shell completes."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from aiogateway.cli import SHELLS, main
from aiogateway.manual import PAGES
from aiogateway.settings.variables import FIELDS
from tests.config_folders import folder

SECTIONS: Final = {"Exit status", "Environment", "Files", "Examples"}
PROGRAM: Final = Path(sys.executable).with_name("aiogateway")
PATIENCE: Final = 20.0
# Variables that the settings don't have: the upstreams' and systemd's.
OTHERS: Final = {"AUTH_SERVICE_URL", "NOTIFY_SOCKET", "WATCHDOG_USEC"}


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert PAGES.keys() - {""} == main.commands.keys()
    assert all(page.keys() >= SECTIONS for name, page in PAGES.items() if name)


@pytest.mark.parametrize("name", PAGES)
def test_help_shows_the_whole_page_in_80_columns(name: str) -> None:
    shown = CliRunner().invoke(main, [*name.split(), "--help"], terminal_width=80).output
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    for title, rows in PAGES[name].items():
        assert f"\n{title}:\n" in shown
        assert all(" ".join(part.split()) in words for row in rows for part in row)


def test_the_variables_that_help_names_exist() -> None:
    terms = " ".join(term for page in PAGES.values() for term, _ in page.get("Environment", ()))
    named = {word for word in re.findall(r"\b[A-Z][A-Z_]+\b", terms) if not word.endswith("_")}
    assert named and named <= FIELDS.keys() | OTHERS


EXAMPLES: Final = sorted({line for page in PAGES.values() for line, _ in page["Examples"] if "COMMAND" not in line})


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_works_as_it_stands(tmp_path: Path, line: str) -> None:
    """Those that serve are only read: a port may be taken."""
    (tmp_path / "table").mkdir()
    folder(tmp_path / "table", '[[route]]\npath = "/a"\nupstream = "b"\n')
    words = [*shlex.split(line), *(["--help"] if "serve" in line or "demo" in line else [])]
    environ = {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "JWT_SECRET": "k" * 40}
    done = subprocess.run(
        ["env", *words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), line
    assert done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_lines_that_ask_the_program(shell: str) -> None:
    printed = CliRunner().invoke(main, ["completion", shell]).output
    assert f"_AIOGATEWAY_COMPLETE={shell}_complete" in printed


class Terminal:
    """An interactive bash, and what one types."""

    def __init__(self, cwd: Path) -> None:
        environ = {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "TERM": "dumb", "PS1": "ready> ", "HOME": str(cwd)}
        self._ours, theirs = pty.openpty()
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-i"], cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, text: str) -> str:
        """What is shown up to and with a text."""
        end = time.monotonic() + PATIENCE
        while text not in self._shown:
            assert time.monotonic() < end, f"no {text!r} in {self._shown!r}"
            try:
                self._shown += os.read(self._ours, 65536).decode()
            except BlockingIOError:
                time.sleep(0.01)
        before, found, self._shown = self._shown.partition(text)
        return before + found

    def close(self) -> None:
        self.shell.kill()
        self.shell.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A bash that was told to complete."""
    (tmp_path / "only-folder").mkdir()
    (tmp_path / "only-file").touch()
    opened = Terminal(tmp_path)
    try:
        opened.until("ready> ")
        opened.type('eval "$(aiogateway completion bash)"\n')
        opened.until('bash)"')
        opened.until("ready> ")
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("aiogateway che\t", "aiogateway check "),
        ("aiogateway serve --admin-p\t", "aiogateway serve --admin-port "),
        ("aiogateway check --config onl\t", "aiogateway check --config only-folder/"),
        ("aiogateway completion f\t", "aiogateway completion fish "),
    ],
)
def test_bash_completes_commands_options_and_folders(terminal: Terminal, typed: str, becomes: str) -> None:
    terminal.type(typed)
    terminal.until(becomes)
