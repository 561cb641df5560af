"""The manifests of deploy/kubernetes as kubectl renders them, and ways to ask them."""

from __future__ import annotations

import copy
import functools
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from aiogateway.settings import Settings, read

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy" / "kubernetes"
OVERLAYS: Final = sorted(path.name for path in (FOLDER / "overlays").iterdir())
# Installed beside the interpreter, by the packages of the extra `test`.
PROGRAMS: Final = Path(sys.executable).parent
# What a cluster's Secret holds; those that aren't needed are left out.
SECRETS: Final = {
    "GATEWAY_ADMIN_TOKEN": "a" * 32,
    "GATEWAY_REDIS_URL": "redis://redis.test:6379/0",
    "JWT_SECRET": "s" * 32,
}
UNITS: Final = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifests:
    """What one overlay gives."""

    documents: list[Document]

    def all(self, kind: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] == kind]

    def find(self, kind: str, name: str = "gateway") -> Document | None:
        return next((found for found in self.all(kind) if found["metadata"]["name"] == name), None)

    def one(self, kind: str, name: str = "gateway") -> Document:
        found = self.find(kind, name)
        assert found is not None, f"there is no {kind} {name}"
        return found

    @property
    def pod(self) -> Document:
        """The pod's spec."""
        spec: Document = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """The pod's."""
        labels: dict[str, str] = self.one("Deployment")["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def container(self) -> Document:
        (container,) = self.pod["containers"]
        found: Document = container
        return found

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def least(self) -> int:
        """How many replicas there are at least."""
        scaler = self.find("HorizontalPodAutoscaler")
        found: int = (scaler or self.one("Deployment"))["spec"]["minReplicas" if scaler else "replicas"]
        return found

    def environment(self, secrets: Mapping[str, str] = SECRETS) -> dict[str, str]:
        """The gateway's variables, as a kubelet would set them.

        :raises KeyError: a reference leads nowhere.
        """
        values: dict[str, str] = {}
        for source in self.container["envFrom"]:
            values |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for entry in self.container["env"]:
            values |= dict(self._value(entry, secrets))
        return values

    def _value(self, entry: Document, secrets: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        if "value" in entry:
            yield entry["name"], entry["value"]
        elif "resourceFieldRef" in entry["valueFrom"]:
            kind, resource = entry["valueFrom"]["resourceFieldRef"]["resource"].split(".")
            yield entry["name"], str(math.ceil(cores(self.container["resources"][kind][resource])))
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            if reference["key"] in secrets or not reference.get("optional"):
                yield entry["name"], secrets[reference["key"]]

    @property
    def settings(self) -> Settings:
        return read(self.environment())

    def lay_out(self, folder: Path) -> Path:
        """Write the folder that the pod has at GATEWAY_CONFIG."""
        (volume,) = (found["configMap"] for found in self.pod["volumes"] if "configMap" in found)
        data = self.one("ConfigMap", volume["name"])["data"]
        for item in volume["items"]:
            path = folder / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(data[item["key"]])
        return folder


def cores(text: str) -> float:
    """A quantity of CPU, in cores."""
    return int(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def size(text: str) -> int:
    """A quantity of memory, in bytes."""
    return int(text[:-2]) * UNITS[text[-2:]]


def kustomize(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder. Speaks to no cluster."""
    command = [str(PROGRAMS / "kubectl"), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "what is deprecated is told there"
    return done.stdout


@functools.cache
def rendered(overlay: str) -> str:
    """An overlay's manifests, as YAML."""
    return kustomize(FOLDER / "overlays" / overlay)


def manifests(overlay: str) -> Manifests:
    """An overlay's manifests, the caller's own to change."""
    return Manifests([document for document in copy.deepcopy(_parsed(overlay)) if document])


@functools.cache
def _parsed(overlay: str) -> list[Document]:
    return list(yaml.safe_load_all(rendered(overlay)))
