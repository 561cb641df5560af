"""`GATEWAY_CONFIG_WATCH`: a changed folder is taken up without a signal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .harness import Backend, Gateway, children, eventually, request, running

KEYS = 'auth = "public"\nrate_limit = "off"\nupstream = "b"\n'


class Mounted:
    """A ConfigMap as kubelet mounts it: files are links through `..data`, which is led elsewhere in one step."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.folder = folder
        self._upstreams = f'[b]\nurl = "{backend.url}"\n'
        self._version = 0
        folder.mkdir()

    def back(self, version: int) -> None:
        """Have an earlier version hold again."""
        link = self.folder / "..data_tmp"
        link.symlink_to(f"..{version}")
        link.replace(self.folder / "..data")

    def write(self, *names: str, more: str = "") -> None:
        """Routes `/<name>`, in a version of the folder that takes the place of the last."""
        self._version += 1
        version = self.folder / f"..{self._version}"
        (version / "routes").mkdir(parents=True)
        (version / "upstreams.toml").write_text(self._upstreams)
        routes = "".join(f'[[route]]\npath = "/{name}"\n' for name in names)
        (version / "routes" / "own.toml").write_text(KEYS + more + routes)
        self.back(self._version)
        for name in ("upstreams.toml", "routes"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")


def holds(gateway: Gateway, path: str, status: int) -> bool:
    """Whether all workers, which share the connections, answer so."""
    return all(gateway.get(path).status == status for _ in range(20))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_kubernetes_changes_is_taken_up(tmp_path: Path, backend: Backend, workers: int) -> None:
    mounted = Mounted(tmp_path / "config", backend)
    mounted.write("old")
    with running(mounted.folder, GATEWAY_CONFIG_WATCH="0.1", GATEWAY_WORKERS=str(workers)) as gateway:
        with gateway.client() as client:
            assert client.ask(request("GET", "/old")).status == 200
            mounted.write("new")
            eventually(lambda: holds(gateway, "/new", 200), "every worker has the new route", within=20)
            assert client.ask(request("GET", "/old")).status == 404, "the connection lives on, by the new table"
        mounted.write("broken", more="colour = 1\n")
        eventually(lambda: "reload refused" in gateway.output, "the faulty set is told", within=20)
        assert "colour" in gateway.output and holds(gateway, "/new", 200)
        mounted.write("last")
        eventually(lambda: holds(gateway, "/last", 200), "the next one is taken up", within=20)


def test_who_takes_the_watching_worker_s_place_watches_on(tmp_path: Path, backend: Backend) -> None:
    mounted = Mounted(tmp_path / "config", backend)
    mounted.write("old")
    with running(mounted.folder, GATEWAY_CONFIG_WATCH="0.1", GATEWAY_WORKERS="2") as gateway:
        eventually(lambda: len(children(gateway.process.pid)) == 2, "all processes run")
        for worker in children(gateway.process.pid):
            os.kill(worker, 9)
        mounted.write("new")
        eventually(lambda: holds(gateway, "/new", 200), "every worker has the new route", within=20)


def test_who_takes_its_place_sees_that_the_files_are_as_they_were_at_first(tmp_path: Path, backend: Backend) -> None:
    mounted = Mounted(tmp_path / "config", backend)
    mounted.write("old")
    with running(mounted.folder, GATEWAY_CONFIG_WATCH="0.1", GATEWAY_WORKERS="2") as gateway:
        mounted.write("new")
        eventually(lambda: holds(gateway, "/new", 200), "every worker has the new route", within=20)
        for worker in children(gateway.process.pid):
            os.kill(worker, 9)
        mounted.back(1)
        eventually(lambda: holds(gateway, "/old", 200), "every worker has the old route again", within=20)


# The files change while the program begins, between their being read and being looked at.
HURRIED = """
import os, pathlib, sys
from aiogateway import workers
from aiogateway.routes import configure
file = pathlib.Path(os.environ["GATEWAY_CONFIG"], "routes", "own.toml")
def read():
    found = configure(os.environ)
    file.write_text(file.read_text().replace("/old", "/new"))
    return found
sys.exit(workers.run(read))
"""


def test_what_changes_while_the_program_begins_is_taken_up(tmp_path: Path, backend: Backend) -> None:
    mounted = Mounted(tmp_path / "config", backend)
    mounted.write("old")
    program = (sys.executable, "-c", HURRIED)
    with running(mounted.folder, program=program, GATEWAY_CONFIG_WATCH="0.1") as gateway:
        eventually(lambda: holds(gateway, "/new", 200), "it has the new route", within=20)


def test_without_the_variable_only_a_signal_counts(tmp_path: Path, backend: Backend) -> None:
    mounted = Mounted(tmp_path / "config", backend)
    mounted.write("old")
    with running(mounted.folder) as gateway:
        mounted.write("new")
        assert holds(gateway, "/new", 404)
        gateway.process.send_signal(1)
        eventually(lambda: holds(gateway, "/new", 200), "it has the new route", within=20)
