"""What must hold of services, ways in and out, and of how many pods there are. Each rule gives a line for a fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from .manifests import FOLDER, Manifests
from .rules_of_pods import longest, packaged

NGINX: Final = "nginx.ingress.kubernetes.io/"
# Requests in flight that a worker is given, by the sum in horizontal-autoscaler.yaml.
IN_FLIGHT: Final = 400
ADAPTER: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "prometheus-adapter" / "values.yaml").read_text())


def selectors_find_the_pods_and_no_others(given: Manifests) -> Iterator[str]:
    selectors = {"Deployment": given.one("Deployment")["spec"]["selector"]["matchLabels"]}
    for service in given.all("Service"):
        selectors[f"Service {service['metadata']['name']}"] = service["spec"]["selector"]
    for policy in given.all("NetworkPolicy"):
        selectors[f"NetworkPolicy {policy['metadata']['name']}"] = policy["spec"]["podSelector"].get("matchLabels", {})
    for budget in given.all("PodDisruptionBudget"):
        selectors["PodDisruptionBudget"] = budget["spec"]["selector"].get("matchLabels", {})
    for spread in given.pod.get("topologySpreadConstraints", []):
        selectors[spread["topologyKey"]] = spread["labelSelector"]["matchLabels"]
    for name, selector in selectors.items():
        if selector != given.labels:
            yield f"{name} selects {selector}, and the pods are {given.labels}"


def services_lead_to_ports_that_there_are(given: Manifests) -> Iterator[str]:
    targets = {
        service["metadata"]["name"]: {port["targetPort"] for port in service["spec"]["ports"]}
        for service in given.all("Service")
    }
    if targets != {"gateway": {"http"}, "gateway-admin": {"admin"}} or not given.ports.keys() >= {"http", "admin"}:
        yield f"Services lead to {targets}, of {given.ports}"
    if given.one("Service")["spec"]["type"] != "ClusterIP":
        yield "the Service is reachable without the Ingress"
    if given.one("Service", "gateway-admin")["spec"].get("clusterIP") != "None":
        yield "of the admin Service Prometheus finds one address, not each pod's"


def the_ingress_leads_to_the_public_port_only(given: Manifests) -> Iterator[str]:
    spec = given.one("Ingress")["spec"]
    ports = {port["name"] for port in given.one("Service")["spec"]["ports"]}
    for rule in spec["rules"]:
        for path in rule["http"]["paths"]:
            to = path["backend"]["service"]
            if to["name"] != "gateway" or to["port"].get("name") not in ports:
                yield f"the Ingress leads to {to}"
    if {rule["host"] for rule in spec["rules"]} != {host for tls in spec["tls"] for host in tls["hosts"]}:
        yield "a host has no certificate"


def the_ingress_passes_all_that_the_gateway_takes(given: Manifests) -> Iterator[str]:
    """Sizes are nginx's: `1g` is 1 GiB. Times are seconds between two reads, or two writes."""
    settings, table = given.settings, packaged()
    told = {name.removeprefix(NGINX): value for name, value in given.one("Ingress")["metadata"]["annotations"].items()}
    largest = max(route.max_body for route in table.routes)
    waits = settings.pool_acquire_timeout + settings.pool_connect_timeout
    silent = max(longest(table) + waits + settings.recaptcha_timeout, settings.stream_idle_timeout)
    units = {"k": 10, "m": 20, "g": 30}
    size = told["proxy-body-size"]
    if int(size[:-1]) << units[size[-1]] != largest:
        yield f"bodies may have {size}, and the largest that a route takes is {largest}"
    if not silent < float(told["proxy-read-timeout"]) <= silent + 60:
        yield f"an answer may be waited for {told['proxy-read-timeout']} s, and the gateway can be silent for {silent}"
    if not settings.idle_timeout + waits < float(told["proxy-send-timeout"]) <= settings.idle_timeout + waits + 60:
        yield f"an upload may rest for {told['proxy-send-timeout']} s, and the gateway lets it {settings.idle_timeout}"
    for what in ("proxy-buffering", "proxy-request-buffering"):
        if told[what] != "off":
            yield f"{what} is {told[what]}"


def the_network_is_open_where_it_must_be_and_nowhere_else(given: Manifests) -> Iterator[str]:
    own = given.one("NetworkPolicy")["spec"]
    if {"Ingress", "Egress"} != set(own["policyTypes"]):
        yield "one direction isn't closed"
    wanted = {("ingress-nginx", given.settings.port), ("monitoring", given.settings.admin_port)}
    yield from _differences(
        "in", _allowed(own["ingress"], "from"), {(_namespace(name), "TCP", port) for name, port in wanted}
    )
    rules = [rule for policy in given.all("NetworkPolicy") for rule in policy["spec"]["egress"]]
    needed = {(peer, protocol, 53) for peer in (_namespace("kube-system"), NODE_DNS) for protocol in ("UDP", "TCP")}
    needed |= {(peer, "TCP", 443) for peer in OUTSIDE}
    upstreams = {url for each in packaged().upstreams.values() for url in each.urls}
    needed |= {(_peer(podSelector={}), "TCP", urlsplit(url).port or 0) for url in upstreams}
    if given.settings.redis_url is not None:
        port = urlsplit(given.settings.redis_url.get_secret_value()).port or 0
        needed.add((_peer(namespaceSelector={}), "TCP", port))
    yield from _differences("out", _allowed(rules, "to"), needed)


# A peer as a policy has it, a protocol, a port.
Way = tuple[str, str, int]


def _peer(**peer: Any) -> str:
    return json.dumps(peer, sort_keys=True)


def _namespace(name: str) -> str:
    return _peer(namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": name}})


# NodeLocal DNSCache's address, which is a node's.
NODE_DNS: Final = _peer(ipBlock={"cidr": "169.254.20.10/32"})
# Whatever is in no cluster: neither private (RFC 1918, RFC 4193) nor a link's own (RFC 3927, RFC 4291).
OUTSIDE: Final = (
    _peer(ipBlock={"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]}),
    _peer(ipBlock={"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}),
)


def _allowed(rules: list[dict[str, Any]], side: str) -> set[Way]:
    """Every way that rules open. One that names no peer, or no port, is for all of them: `{}`, 0."""
    return {
        (_peer(**peer), port.get("protocol", "TCP"), number)
        for rule in rules
        for peer in rule.get(side) or [{}]
        for port in rule.get("ports") or [{}]
        for number in range(port.get("port", 0), port.get("endPort", port.get("port", 0)) + 1)
    }


def _differences(which: str, found: set[Way], needed: set[Way]) -> Iterator[str]:
    if found != needed:
        yield f"the way {which} is too wide by {found - needed} and too narrow by {needed - found}"


def the_autoscaler_has_what_it_scales(given: Manifests) -> Iterator[str]:
    scaler = given.find("HorizontalPodAutoscaler")
    if scaler is None:
        return
    spec = scaler["spec"]
    deployment = given.one("Deployment")
    target = {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": "gateway"}
    if spec["scaleTargetRef"] != target:
        yield f"it scales {spec['scaleTargetRef']}"
    if "replicas" in deployment["spec"]:
        yield "every apply undoes what it did: the Deployment says how many replicas there are"
    if not 2 <= spec["minReplicas"] < spec["maxReplicas"]:
        yield f"from {spec['minReplicas']} to {spec['maxReplicas']} there is nothing to scale"
    asked = {
        metric["pods"]["metric"]["name"]: metric["pods"]["target"] for metric in spec["metrics"] if "pods" in metric
    }
    given_names = {rule["name"]["as"] for rule in ADAPTER["rules"]["custom"]}
    target = {"type": "AverageValue", "averageValue": str(IN_FLIGHT * given.settings.workers)}
    if asked != dict.fromkeys(given_names, target):
        yield f"it asks for {asked}, the adapter has {given_names}, and pods can have {target}"
    if not any(metric.get("resource", {}).get("name") == "cpu" for metric in spec["metrics"]):
        yield "CPU doesn't count"


def several_replicas_are_kept_and_share_their_counts(given: Manifests) -> Iterator[str]:
    budget, many = given.find("PodDisruptionBudget"), given.least > 1
    if (budget is not None) != many:
        yield f"{given.least} replicas at least, and the budget is {budget}"
    if budget is not None:
        may = str(budget["spec"].get("maxUnavailable", ""))
        count = -(-given.least * int(may[:-1]) // 100) if may.endswith("%") else int(may or 0)
        if not 1 <= count < given.least:
            yield f"of {given.least} replicas {may or 'none'} may be away: nodes can't be emptied, or all go at once"
    if (given.settings.redis_url is not None) != many:
        yield "limits are counted by each replica for itself, or Redis is asked for nothing"
    keys = {spread["topologyKey"] for spread in given.pod.get("topologySpreadConstraints", [])}
    if many and keys != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
        yield f"replicas are spread over {keys}"


def prometheus_finds_every_pod(given: Manifests) -> Iterator[str]:
    for monitor in given.all("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [each for each in given.all("Service") if wanted <= each["metadata"]["labels"].items()]
        if [each["metadata"]["name"] for each in found] != ["gateway-admin"]:
            yield f"it selects {[each['metadata']['name'] for each in found]}"
        for endpoint in monitor["spec"]["endpoints"]:
            if [endpoint["port"]] != [port["name"] for each in found for port in each["spec"]["ports"]]:
                yield f"it asks port {endpoint['port']}"
            if endpoint["path"] != "/metrics":
                yield f"it asks for {endpoint['path']}"
            if endpoint.get("authorization", {}).get("credentials", {}).get("key") != "GATEWAY_ADMIN_TOKEN":
                yield "it doesn't give the token"
        if found and found[0]["metadata"]["labels"][monitor["spec"]["jobLabel"]] != "aiogateway":
            yield "the job has another name than in deploy/prometheus"


def what_is_referred_to_exists(given: Manifests) -> Iterator[str]:
    names = {(found["kind"], found["metadata"]["name"]) for found in given.documents}
    wanted = {("ServiceAccount", given.pod["serviceAccountName"])}
    wanted |= {("ConfigMap", source["configMapRef"]["name"]) for source in given.container["envFrom"]}
    wanted |= {("ConfigMap", volume["configMap"]["name"]) for volume in given.pod["volumes"] if "configMap" in volume}
    yield from (f"there is no {kind} {name}" for kind, name in sorted(wanted - names))
    mounted = {mount["name"] for mount in given.container["volumeMounts"]}
    if mounted != {volume["name"] for volume in given.pod["volumes"]}:
        yield "volumes and mounts differ"
