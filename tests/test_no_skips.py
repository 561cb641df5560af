"""The plugin that fails a run in which a test did not run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

SKIPS: Final = {
    "mark": '@pytest.mark.skip(reason="because")\ndef test_it() -> None: ...',
    "call": 'def test_it() -> None:\n    pytest.skip("because")',
    "fixture": '@pytest.fixture\ndef it() -> None:\n    pytest.skip("because")\n\ndef test_it(it: None) -> None: ...',
    "expected_failure": '@pytest.mark.xfail(reason="because")\ndef test_it() -> None:\n    assert False',
    "call_that_expects_failure": 'def test_it() -> None:\n    pytest.xfail("because")',
}


def run_pytest(folder: Path, sources: dict[str, str]) -> tuple[int, str]:
    """The exit status and the output of a run of its own over files made of `sources`."""
    for name, source in sources.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n\n{source}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider", str(folder)]
    # Where it sees CI, pytest says every reason twice.
    environ = {name: value for name, value in os.environ.items() if name != "CI"}
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return run.returncode, run.stdout


def test_every_kind_of_skip_fails_and_shows_its_reason(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, SKIPS)
    assert status == 1
    assert len(re.findall(r"this one did not: (?:Skipped: )?because", output)) == len(SKIPS)
    assert not {"passed", "skipped", "xfailed"} & set(output.splitlines()[-1].split())


def test_a_whole_file_that_is_skipped_fails(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, {"file": 'pytest.skip("because", allow_module_level=True)'})
    assert status == 2
    assert "this one did not: Skipped: because" in output


def test_a_run_without_skips_passes(tmp_path: Path) -> None:
    status, _ = run_pytest(tmp_path, {"it": "def test_it() -> None: ..."})
    assert status == 0
