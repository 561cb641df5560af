"""What is released: one version, a changelog that knows it, a source distribution and a wheel that work elsewhere."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from packaging.version import Version

from aiogateway import __version__
from tests.e2e.harness import running
from tests.test_frame import PINS, ROOT

CHANGELOG: Final = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS: Final = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
# What is in a checkout and in no release: built, kept by tools, or made by tests.
UNTRACKED: Final = shutil.ignore_patterns(".?*", "__pycache__", "*.egg-info", "build", "dist", "node_modules")
# What a source distribution holds besides the package.
BESIDES: Final = {
    *("CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md"),
    *("pyproject.toml", "requirements.txt", "setup.cfg", "setup.py"),
}


def test_the_version_stands_in_one_place() -> None:
    sources = [path for name in ("aiogateway", "scripts", "deploy") for path in (ROOT / name).rglob("*")]
    sources += [ROOT / name for name in ("README.md", "pyproject.toml", "setup.cfg", "setup.py", "requirements.txt")]
    written = re.compile(rb"(?<![\d.=])%b(?![\d.])" % re.escape(__version__).encode())
    vendored = ROOT / "aiogateway" / "apidocs" / "swagger"
    texts = (path for path in sources if path.is_file() and path.suffix != ".pyc" and vendored not in path.parents)
    held = ROOT / "deploy" / "kubernetes" / "base" / "kustomization.yaml"  # to the version, by a test of its own
    assert {path for path in texts if written.search(path.read_bytes())} - {held} == {
        ROOT / "aiogateway" / "__init__.py"
    }


def faults_of(changelog: str) -> list[str]:
    """Where it isn't in Keep a Changelog's form, or lacks this version."""
    heads = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", head) for head in heads[1:]]
    versions = [Version(match[1]) for match in released if match]
    found = {
        "no [Unreleased] on top": heads[:1] != ["[Unreleased]"],
        "a version without its date": not all(released),
        "the versions' order": versions != sorted(versions, reverse=True),
        "this version isn't the newest": versions[:1] != [Version(__version__)],
        "a kind of change that there is not": not set(re.findall(r"^### (.*)$", changelog, re.MULTILINE)) <= KINDS,
    }
    return [fault for fault, holds in found.items() if holds]


def test_the_changelog_knows_the_version() -> None:
    assert faults_of(CHANGELOG) == []


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("## [Unreleased]\n", ""),
        (f"## [{__version__}] - ", f"## [{__version__}] on "),
        (f"## [{__version__}]", "## [0.0.1]"),
        ("### Added", "### New"),
    ],
)
def test_a_fault_of_the_changelog_is_found(was: str, becomes: str) -> None:
    assert was in CHANGELOG
    assert faults_of(CHANGELOG.replace(was, becomes)) != []


def build(checkout: Path) -> tuple[Path, Path]:
    """Do what docs/releasing.md says; the wheel, and the source distribution, unpacked."""
    text = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "build_sdist" in block]
    script = block.replace("$(scripts/environment)", shlex.quote(sys.prefix))
    subprocess.run(["bash", "-euc", script], cwd=checkout, check=True, timeout=120, stdout=subprocess.DEVNULL)
    name = f"aiogateway-{__version__}"
    subprocess.run(["tar", "-xzf", f"dist/{name}.tar.gz"], cwd=checkout, check=True, timeout=60)
    return checkout / "dist" / f"{name}-py3-none-any.whl", checkout / name


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this one, with what tools and people leave about."""
    copy = tmp_path_factory.mktemp("release") / "checkout"
    shutil.copytree(ROOT, copy, ignore=UNTRACKED)
    for junk in ("aiogateway/.DS_Store", "aiogateway/proxy/notes.txt", "aiogateway/config/old.toml.orig", "core"):
        (copy / junk).write_text("junk")
    (copy / "aiogateway" / "__pycache__").mkdir()
    (copy / "aiogateway" / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"junk")
    return copy


@pytest.fixture(scope="module")
def built(checkout: Path) -> tuple[Path, Path]:
    return build(checkout)


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Path:
    return built[0]


@pytest.fixture(scope="module")
def source(built: tuple[Path, Path]) -> Path:
    return built[1]


def content(wheel: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def package() -> set[str]:
    """The package's files, below the checkout."""
    files = (path.relative_to(ROOT) for path in (ROOT / "aiogateway").rglob("*") if path.is_file())
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


def held(wheel: Path) -> set[str]:
    return {name for name in content(wheel) if ".dist-info/" not in name}


def files_of(source: Path) -> set[str]:
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("aiogateway.egg-info/")}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert held(wheel) == package()
    assert "aiogateway/py.typed" in package()


def test_the_source_distribution_holds_what_makes_the_wheel_and_nothing_else(source: Path) -> None:
    assert files_of(source) == package() | BESIDES


def test_what_a_release_lacks_or_has_too_much_of_is_noticed(checkout: Path, tmp_path: Path) -> None:
    faulty = shutil.copytree(checkout, tmp_path / "checkout", ignore=UNTRACKED)
    for name, line in (("setup.cfg", "    admin/dashboard/*\n"), ("MANIFEST.in", "prune tests\n")):
        text = (faulty / name).read_text()
        assert line in text
        (faulty / name).write_text(text.replace(line, ""))
    wheel, source = build(faulty)
    assert "aiogateway/admin/dashboard/index.html" in package() - held(wheel)
    assert "tests/test_frame.py" in files_of(source) - BESIDES


def test_the_source_distribution_makes_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), "."], cwd=source, check=True, timeout=120)
    assert content(tmp_path / wheel.name) == content(wheel)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment that has the wheel, and only what requirements.txt pins."""
    fresh = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True, timeout=120)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = fresh / "lib" / version / "site-packages"
    for name in PINS:
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (packages / top).symlink_to(str(distribution.locate_file(top)))
    pip = [sys.executable, "-m", "pip", "--python", str(fresh / "bin" / "python"), "install", "--quiet", "--no-index"]
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, timeout=120)
    return fresh / "bin"


def test_the_commands_work_where_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        command = [str(installed / "aiogateway"), *arguments]
        environ = {"JWT_SECRET": "k" * 40}
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    assert said("--version") == f"aiogateway, version {__version__}\n"
    assert said("check").startswith("ok: 20 upstreams, ")
    assert len(said("routes").splitlines()) > 90
    assert "crawling" in said("explain", "POST", "/v2/fetch-pdf")
    assert said("token", "--sub", "u1").count(".") == 2
    assert "aiogateway" in said("completion", "bash")


def test_it_serves_pages_and_documents_from_there(installed: Path) -> None:
    with running(None, program=[str(installed / "aiogateway")]) as gateway:
        for page in ("/", "/docs"):
            text = gateway.admin(page).data.decode()
            assets = re.findall(r'(?:src|href)="((?:assets|docs)[^"]+)"', text)
            assert assets
            assert [gateway.admin(f"/{asset}").status for asset in assets] == [200] * len(assets)
        assert gateway.admin("/openapi.json").json()["info"]["version"] == __version__


def test_its_types_are_seen_from_there(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text("from aiogateway import __version__\n\nnumber: int = __version__\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed / "python"), "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "error: Incompatible types in assignment" in done.stdout and "Found 1 error" in done.stdout
