"""The Dockerfile: what hadolint makes of it, and what must hold whatever a linter says."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from aiogateway.settings.variables import FIELDS, Variables
from tests.deploy.compose import program
from tests.deploy.dockerfile import FILE, ROOT, stages

TEXT: Final = FILE.read_text()
BUILDER, IMAGE = stages(TEXT)


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    command = [program("hadolint"), "--no-color", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_hadolint_is_content() -> None:
    done = hadolint(FILE)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("was", "becomes", "rule"),
    [
        ("FROM ${PYTHON_IMAGE} AS wheels", "FROM python:latest AS wheels", "DL3007"),
        ('CMD ["serve"]', "CMD serve", "DL3025"),
        ("USER 65532:65532", "USER root", "DL3002"),
        ("setuptools==84.2.1", "setuptools", "DL3013"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
    ],
)
def test_hadolint_catches_a_planted_fault(tmp_path: Path, was: str, becomes: str, rule: str) -> None:
    assert TEXT.count(was) == 1
    file = tmp_path / "Dockerfile"
    file.write_text(TEXT.replace(was, becomes))
    done = hadolint(file)
    assert done.returncode != 0 and rule in done.stdout


def test_its_python_is_one_that_the_project_says_it_runs_on() -> None:
    (version,) = re.findall(r"^ARG PYTHON_IMAGE=python:(3\.\d+)-slim-\w+$", TEXT, re.MULTILINE)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert f"Programming Language :: Python :: {version}" in config["metadata"]["classifiers"].splitlines()
    assert [stage.one("FROM").split()[0] for stage in (BUILDER, IMAGE)] == ["${PYTHON_IMAGE}"] * 2


def test_nothing_comes_from_an_index_but_to_the_stage_that_makes_wheels() -> None:
    installs = [text for text in IMAGE.all("RUN") if "pip " in text]
    assert len(installs) == 2 and all("--no-index" in text for text in installs)
    assert all("--only-binary=:all:" in text for text in BUILDER.runs("pip wheel"))


def test_it_names_variables_and_ports_that_the_gateway_has() -> None:
    own = {name for name in IMAGE.environment if name.startswith("GATEWAY_")}
    assert own <= FIELDS.keys() and IMAGE.environment["GATEWAY_ADMIN_HOST"] == "0.0.0.0"
    assert IMAGE.one("EXPOSE").split() == [str(Variables().port), str(Variables().admin_port)]


def test_the_readme_passes_arguments_that_there_are_and_names_files_that_exist() -> None:
    readme = (FILE.parent / "README.md").read_text()
    taken = {re.split(r"\W", text)[0] for text in re.findall(r"^ARG (.*)$", TEXT, re.MULTILINE)}
    passed = set(re.findall(r"--build-arg (\w+)=", readme))
    assert passed and passed <= taken
    named = set(re.findall(r"\bdeploy/[\w./-]+", readme))
    assert len(named) == 3 and all((ROOT / name).is_file() for name in named)
