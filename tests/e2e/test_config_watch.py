"""`GATEWAY_CONFIG_WATCH`: a changed folder is taken up without a signal."""

from __future__ import annotations

import os
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

    def write(self, *names: str, more: str = "") -> None:
        """Routes `/<name>`, in a version of the folder that takes the place of the last."""
        self._version += 1
        version = self.folder / f"..{self._version}"
        (version / "routes").mkdir(parents=True)
        (version / "upstreams.toml").write_text(self._upstreams)
        routes = "".join(f'[[route]]\npath = "/{name}"\n' for name in names)
        (version / "routes" / "own.toml").write_text(KEYS + more + routes)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")
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


def test_without_the_variable_only_a_signal_counts(tmp_path: Path, backend: Backend) -> None:
    mounted = Mounted(tmp_path / "config", backend)
    mounted.write("old")
    with running(mounted.folder) as gateway:
        mounted.write("new")
        assert holds(gateway, "/new", 404)
        gateway.process.send_signal(1)
        eventually(lambda: holds(gateway, "/new", 200), "it has the new route", within=20)
