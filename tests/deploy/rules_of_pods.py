"""What must hold of the pods, beyond what a schema knows. Each rule gives a line for everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import aiogateway
from aiogateway.board import MEMORY
from aiogateway.routes import Table, configure
from aiogateway.serving import CLOSING

from .manifests import Manifests, cores, size

# Seconds that a pod may be left to end, beyond what it can need.
SPARE: Final = 30
# For the memory: a worker that has served, an idle connection of a client, what may be read of an answer before its
# client takes it, counters of a million clients; how many clients are slow at once (README "Benchmarks", decision 10).
MIB: Final = 1 << 20
WORKER, CONNECTION, DOWNLOAD, COUNTERS, SLOW = 58 * MIB, 12 << 10, 512 << 10, 118 * MIB, 500


def packaged() -> Table:
    return configure({}, need_key=False)[1]


def longest(table: Table) -> float:
    """Seconds of the longest timeout of a route."""
    return max(route.timeout for route in table.routes)


def a_pod_has_the_time_to_drain(given: Manifests) -> Iterator[str]:
    settings, grace = given.settings, given.pod["terminationGracePeriodSeconds"]
    hook = given.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = hook + settings.drain_delay + settings.drain_timeout + CLOSING
    if not needed <= grace <= needed + SPARE:
        yield f"terminationGracePeriodSeconds is {grace}, and a pod needs {needed}"
    if settings.drain_timeout < longest(packaged()):
        yield f"GATEWAY_DRAIN_TIMEOUT cuts off requests that may take {longest(packaged())} s"


def probes_ask_the_admin_listener(given: Manifests) -> Iterator[str]:
    if given.settings.admin_host != "0.0.0.0":
        yield "GATEWAY_ADMIN_HOST lets nobody ask"
    for probe, path in {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}.items():
        asked = given.container[f"{probe}Probe"]["httpGet"]
        if asked != {"path": path, "port": "admin"}:
            yield f"the {probe} probe asks for {asked}"


def ports_are_those_the_gateway_listens_on(given: Manifests) -> Iterator[str]:
    listens = {"http": given.settings.port, "admin": given.settings.admin_port}
    if given.ports != listens:
        yield f"the container's ports are {given.ports}, and the gateway's are {listens}"


def workers_and_cores_agree(given: Manifests) -> Iterator[str]:
    wanted = cores(given.container["resources"]["requests"]["cpu"])
    if given.settings.workers != wanted:
        yield f"there are {given.settings.workers} workers and {wanted} cores are asked for"
    if "cpu" in given.container["resources"]["limits"]:
        yield "a limit of CPU holds workers back, and they take themselves for overloaded"


def memory_is_enough(given: Manifests) -> Iterator[str]:
    settings, resources = given.settings, given.container["resources"]
    scratch = sum(size(volume["emptyDir"]["sizeLimit"]) for volume in given.pod["volumes"] if "emptyDir" in volume)
    worker = WORKER + settings.cache_max_bytes + settings.max_connections * CONNECTION
    needed = (settings.workers * worker + SLOW * DOWNLOAD + COUNTERS + scratch) / settings.overload_memory
    limit, request = size(resources["limits"]["memory"]), size(resources["requests"]["memory"])
    if limit < needed:
        yield f"the limit of memory is {limit >> 20} MiB, and {needed / MIB:.0f} may be needed"
    if not limit / 2 <= request <= limit:
        yield f"{request >> 20} MiB are asked for, and up to {limit >> 20} may be taken"


def what_the_gateway_writes_is_in_memory(given: Manifests) -> Iterator[str]:
    in_memory = {
        volume["name"] for volume in given.pod["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory"
    }
    writable = {mount["mountPath"] for mount in given.container["volumeMounts"] if mount["name"] in in_memory}
    if not writable >= {str(MEMORY), "/tmp"}:
        yield f"the gateway can write to {writable} only"


def the_pod_is_restricted(given: Manifests) -> Iterator[str]:
    """As Kubernetes' own standard `restricted` has it, and more."""
    wanted: dict[str, tuple[Any, Any]] = {
        "runAsNonRoot": (given.pod["securityContext"].get("runAsNonRoot"), True),
        "runAsUser": (given.pod["securityContext"].get("runAsUser"), 65532),
        "runAsGroup": (given.pod["securityContext"].get("runAsGroup"), 65532),
        "seccompProfile": (given.pod["securityContext"].get("seccompProfile"), {"type": "RuntimeDefault"}),
        "allowPrivilegeEscalation": (given.container["securityContext"].get("allowPrivilegeEscalation"), False),
        "readOnlyRootFilesystem": (given.container["securityContext"].get("readOnlyRootFilesystem"), True),
        "capabilities": (given.container["securityContext"].get("capabilities"), {"drop": ["ALL"]}),
        "automountServiceAccountToken": (given.pod.get("automountServiceAccountToken"), False),
        "enableServiceLinks": (given.pod.get("enableServiceLinks"), False),
    }
    yield from (f"{name} is {found}, not {right}" for name, (found, right) in wanted.items() if found != right)


def routes_are_mounted_where_they_are_read(given: Manifests) -> Iterator[str]:
    settings = given.settings
    volumes = {volume["name"]: volume["configMap"] for volume in given.pod["volumes"] if "configMap" in volume}
    (mount,) = (mount for mount in given.container["volumeMounts"] if mount["name"] in volumes)
    if mount["mountPath"] != str(settings.config) or "subPath" in mount:
        yield f"GATEWAY_CONFIG is {settings.config}, and routes are mounted at {mount}; a subPath is never updated"
    if not settings.config_watch:
        yield "nobody looks whether routes changed"
    volume = volumes[mount["name"]]
    mounted = {item["key"] for item in volume["items"]}
    if mounted != given.one("ConfigMap", volume["name"])["data"].keys():
        yield f"of the files of routes only {mounted} are mounted"


def settings_roll_the_pods_and_routes_do_not(given: Manifests) -> Iterator[str]:
    names = {found["metadata"]["name"] for found in given.all("ConfigMap")}
    settings = {source["configMapRef"]["name"] for source in given.container["envFrom"]}
    if names - settings != {"gateway-routes"} or settings & {"gateway-settings"}:
        yield f"hashes of contents stand in the wrong names: {names}"


def secrets_are_only_referred_to(given: Manifests) -> Iterator[str]:
    if given.all("Secret"):
        yield "a Secret is among the manifests"
    for entry in given.container["env"]:
        if not {"resourceFieldRef", "secretKeyRef"} & entry.get("valueFrom", {}).keys():
            yield f"{entry['name']} stands in the Deployment itself"
        elif "secretKeyRef" in entry["valueFrom"] and entry["valueFrom"]["secretKeyRef"]["key"] != entry["name"]:
            yield f"{entry['name']} comes from a key of another name"


def the_image_is_this_release(given: Manifests) -> Iterator[str]:
    if not given.container["image"].endswith(f"/aiogateway:{aiogateway.__version__}"):
        yield f"{given.container['image']} is not release {aiogateway.__version__}"
