"""The image's own files, made as the Dockerfile makes them, from what the build would be sent, without any network."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from docker.utils.build import exclude_paths

from tests.deploy import sandbox
from tests.deploy.dockerfile import BASE_PATH, FILE, ROOT, stages
from tests.test_frame import PINS

PLACE: Final = "/opt/aiogateway"
_ONLY_TO_BUILD: Final = ("/src", "/wheels", "/stock")
# What an installer adds to a distribution's metadata.
_ADDED: Final = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})


def sent(root: Path = ROOT) -> set[str]:
    """The files that a build gets, of those in the folder, as Docker's own library reads `.dockerignore`."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    return {name for name in exclude_paths(str(root), rules) if (root / name).is_file()}


def wheel(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    """Pack an installed distribution again."""
    texts = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in texts if line.startswith("Tag: ")]
    files = distribution.files or []
    (metadata,) = {file.parts[0] for file in files if file.name == "METADATA"}
    name = "-".join(
        [metadata.removesuffix(".dist-info"), *(".".join(sorted(set(part))) for part in zip(*tags, strict=True))]
    )
    with zipfile.ZipFile(folder / f"{name}.whl", "w") as archive:
        for file in files:
            if file.parts[0] != ".." and file.suffix != ".pyc" and file.name not in _ADDED:
                archive.write(str(file.locate()), str(file))


class Image:
    """What the Dockerfile makes, in folders of this machine.

    :param folder: empty; holds them.
    :param names: of hosts, all of which are this machine.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.builder, self.stage = stages(FILE.read_text())
        self._folders = {place: folder / place.strip("/").replace("/", "-") for place in (PLACE, *_ONLY_TO_BUILD)}
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
        self.mounts = {PLACE: self._folders[PLACE], "/etc/hosts": hosts}

    def build(self) -> None:
        """Run what the Dockerfile runs, with the distributions of this environment for an index.

        :raises subprocess.CalledProcessError: a step failed.
        """
        for made in self._folders.values():
            made.mkdir(parents=True)
        source = self._folders["/src"]
        for name in sent():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        for pin in PINS:
            wheel(importlib.metadata.distribution(pin), self._folders["/stock"])
        for text in (*self.builder.runs("/wheels"), *self.stage.runs("/wheels")):
            self._run(text)
        for copied in self.stage.all("COPY"):
            name, place = copied.split()
            shutil.copy(source / name, self._folders[PLACE] / place.removeprefix(f"{PLACE}/"))

    def _run(self, text: str) -> None:
        environ = {
            **self.builder.environment,
            "PATH": f"{sys.prefix}/bin:{BASE_PATH}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/stock",
        }
        command = ["sh", "-ec", text]
        place = sandbox.command(
            command, user=0, environ=environ, mounts=self._folders, writable=True, options=("--chdir", "/src")
        )
        subprocess.run(place, check=True, timeout=120, capture_output=True)

    def own_command(self, entrypoint: list[str] | None = None, command: list[str] | None = None) -> list[str]:
        """What a container of it runs."""
        return (entrypoint or self.stage.command("ENTRYPOINT")) + (command or self.stage.command("CMD"))

    def inside(
        self,
        words: list[str],
        environ: Mapping[str, str] = MappingProxyType({}),
        mounts: Mapping[str, Path] = MappingProxyType({}),
        options: tuple[str, ...] = (),
    ) -> list[str]:
        """The command line that runs something in a container of this image, read-only.

        :param environ: variables that are added to the image's.
        :param mounts: what is mounted besides.
        :param options: more of bubblewrap's.
        """
        return sandbox.command(
            words,
            user=int(self.stage.one("USER").partition(":")[0]),
            environ={**self.stage.environment, **environ},
            mounts={**self.mounts, **mounts},
            options=("--chdir", self.stage.one("WORKDIR"), *options),
        )
