"""Rules of our own for the Kubernetes manifests: they hold in every overlay, and each would notice a fault."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import reduce
from types import ModuleType
from typing import Any, Final, cast

import pytest

from . import rules_of_pods, rules_of_traffic
from .manifests import OVERLAYS, Manifests, manifests

Rule = Callable[[Manifests], Iterator[str]]
Path = tuple[str | int, ...]
GONE: Final = object()
POD: Final = ("spec", "template", "spec")
CONTAINER: Final = (*POD, "containers", 0)


def rules_in(*modules: ModuleType) -> dict[str, Rule]:
    """Every rule by its name: the public functions that take manifests."""
    return {
        name: rule
        for module in modules
        for name, rule in vars(module).items()
        if getattr(rule, "__module__", None) == module.__name__
        and getattr(rule, "__annotations__", {}).get("given") == "Manifests"
    }


RULES: Final = rules_in(rules_of_pods, rules_of_traffic)

# By rule: what is spoilt in the large fleet, where in it, and what it becomes.
FAULTS: Final[dict[str, list[tuple[str, Path, Any]]]] = {
    "a_pod_has_the_time_to_drain": [
        ("Deployment", (*POD, "terminationGracePeriodSeconds"), 610),
        ("Deployment", (*POD, "terminationGracePeriodSeconds"), 700),
        ("ConfigMap settings", ("data", "GATEWAY_DRAIN_TIMEOUT"), "590"),
    ],
    "probes_ask_the_admin_listener": [
        ("Deployment", (*CONTAINER, "readinessProbe", "httpGet", "port"), "http"),
        ("Deployment", (*CONTAINER, "livenessProbe", "httpGet", "path"), "/readyz"),
        ("ConfigMap settings", ("data", "GATEWAY_ADMIN_HOST"), "127.0.0.1"),
    ],
    "ports_are_those_the_gateway_listens_on": [
        ("Deployment", (*CONTAINER, "ports", 0, "containerPort"), 8080),
        ("ConfigMap settings", ("data", "GATEWAY_ADMIN_PORT"), "9001"),
    ],
    "workers_and_cores_agree": [
        ("Deployment", (*CONTAINER, "resources", "requests", "cpu"), "1500m"),
        ("Deployment", (*CONTAINER, "resources", "limits", "cpu"), "4"),
    ],
    "memory_is_enough": [
        ("Deployment", (*CONTAINER, "resources", "limits", "memory"), "1Gi"),
        ("Deployment", (*CONTAINER, "resources", "requests", "memory"), "512Mi"),
        ("ConfigMap settings", ("data", "GATEWAY_CACHE_MAX_BYTES"), "512 MiB"),
    ],
    "what_the_gateway_writes_is_in_memory": [
        ("Deployment", (*CONTAINER, "volumeMounts", 1, "mountPath"), "/scratch"),
        ("Deployment", (*POD, "volumes", 0, "emptyDir", "medium"), ""),
    ],
    "the_pod_is_restricted": [
        ("Deployment", (*POD, "enableServiceLinks"), GONE),
        ("Deployment", (*POD, "securityContext", "runAsUser"), 0),
        ("Deployment", (*CONTAINER, "securityContext", "readOnlyRootFilesystem"), GONE),
        ("Deployment", (*CONTAINER, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
    ],
    "routes_are_mounted_where_they_are_read": [
        ("ConfigMap settings", ("data", "GATEWAY_CONFIG"), "/etc/gateway"),
        ("ConfigMap settings", ("data", "GATEWAY_CONFIG_WATCH"), "0"),
        ("ConfigMap gateway-routes", ("data", "more.toml"), ""),
        ("Deployment", (*CONTAINER, "volumeMounts", 0, "subPath"), "routes"),
    ],
    "settings_roll_the_pods_and_routes_do_not": [
        ("ConfigMap gateway-routes", ("metadata", "name"), "gateway-routes-0a1b2c3d4e"),
    ],
    "secrets_are_only_referred_to": [
        ("Deployment", (*CONTAINER, "env", 2), {"name": "GATEWAY_ADMIN_TOKEN", "value": "a"}),
        ("Deployment", (*CONTAINER, "env", 2, "valueFrom", "secretKeyRef", "key"), "JWT_SECRET"),
        ("ServiceAccount", ("kind",), "Secret"),
    ],
    "the_image_is_this_release": [("Deployment", (*CONTAINER, "image"), "registry.example.com/aiogateway:latest")],
    "selectors_find_the_pods_and_no_others": [
        ("Service", ("spec", "selector", "app.kubernetes.io/name"), "gateway"),
        ("NetworkPolicy", ("spec", "podSelector"), {}),
        ("PodDisruptionBudget", ("spec", "selector"), {}),
        ("Deployment", (*POD, "topologySpreadConstraints", 0, "labelSelector", "matchLabels"), {"app": "gateway"}),
    ],
    "services_lead_to_ports_that_there_are": [
        ("Service", ("spec", "ports", 0, "targetPort"), "admin"),
        ("Deployment", (*CONTAINER, "ports", 1, "name"), "metrics"),
        ("Service gateway-admin", ("spec", "clusterIP"), GONE),
        ("Service", ("spec", "type"), "LoadBalancer"),
    ],
    "the_ingress_leads_to_the_public_port_only": [
        ("Service", ("spec", "ports", 0, "name"), "web"),
        ("Ingress", ("spec", "rules", 0, "http", "paths", 0, "backend", "service", "name"), "gateway-admin"),
        ("Ingress", ("spec", "rules", 0, "host"), "other.example.com"),
    ],
    "the_ingress_passes_all_that_the_gateway_takes": [
        ("Ingress", ("metadata", "annotations", "nginx.ingress.kubernetes.io/proxy-body-size"), "512m"),
        ("Ingress", ("metadata", "annotations", "nginx.ingress.kubernetes.io/proxy-read-timeout"), "600"),
        ("Ingress", ("metadata", "annotations", "nginx.ingress.kubernetes.io/proxy-send-timeout"), "60"),
        ("Ingress", ("metadata", "annotations", "nginx.ingress.kubernetes.io/proxy-request-buffering"), "on"),
        ("ConfigMap settings", ("data", "GATEWAY_STREAM_IDLE_TIMEOUT"), "900"),
    ],
    "the_network_is_open_where_it_must_be_and_nowhere_else": [
        ("NetworkPolicy", ("spec", "ingress", 1, "ports", 0, "port"), 8000),
        ("NetworkPolicy", ("spec", "ingress", 0, "from", 0), {"ipBlock": {"cidr": "0.0.0.0/0"}}),
        ("NetworkPolicy", ("spec", "ingress", 0, "from", 0, "podSelector"), {}),
        ("NetworkPolicy", ("spec", "ingress", 1, "from"), GONE),
        ("NetworkPolicy", ("spec", "egress", 0, "to", 0, "namespaceSelector"), {}),
        ("NetworkPolicy", ("spec", "egress", 1, "to"), GONE),
        ("NetworkPolicy", ("spec", "egress", 1, "to", 0), {"namespaceSelector": {}}),
        ("NetworkPolicy", ("spec", "egress", 1, "ports"), GONE),
        ("NetworkPolicy", ("spec", "egress", 1, "ports", 0, "endPort"), 8019),
        ("NetworkPolicy", ("spec", "egress", 2, "to", 0, "ipBlock", "except"), GONE),
        ("NetworkPolicy", ("spec", "policyTypes"), ["Ingress"]),
        ("NetworkPolicy gateway-redis", ("spec", "egress", 0, "ports", 0, "port"), 6380),
        ("NetworkPolicy gateway-redis", ("spec", "egress", 0, "to"), []),
    ],
    "the_autoscaler_has_what_it_scales": [
        ("HorizontalPodAutoscaler", ("spec", "scaleTargetRef", "name"), "aiogateway"),
        ("HorizontalPodAutoscaler", ("spec", "metrics", 1, "pods", "metric", "name"), "http_server_active_requests"),
        ("HorizontalPodAutoscaler", ("spec", "metrics", 1, "pods", "target", "averageValue"), "400"),
        ("HorizontalPodAutoscaler", ("spec", "metrics", 0), GONE),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas"), 12),
        ("Deployment", ("spec", "replicas"), 3),
    ],
    "several_replicas_are_kept_and_share_their_counts": [
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), 0),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), "100%"),
        ("PodDisruptionBudget", ("metadata", "name"), "other"),
        ("HorizontalPodAutoscaler", ("spec", "minReplicas"), 1),
        ("Deployment", (*CONTAINER, "env", 0), GONE),
        ("Deployment", (*POD, "topologySpreadConstraints", 0), GONE),
    ],
    "prometheus_finds_every_pod": [
        ("ServiceMonitor", ("spec", "selector", "matchLabels", "app.kubernetes.io/component"), GONE),
        ("ServiceMonitor", ("spec", "endpoints", 0, "port"), "http"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "path"), "/"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "authorization"), GONE),
        ("ServiceMonitor", ("spec", "jobLabel"), "app.kubernetes.io/instance"),
    ],
    "what_is_referred_to_exists": [
        ("Deployment", (*POD, "serviceAccountName"), "other"),
        ("Deployment", (*POD, "volumes", 1, "configMap", "name"), "other"),
        ("Deployment", (*CONTAINER, "volumeMounts", 0, "name"), "other"),
    ],
}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_rule_holds(rule: Rule, overlay: str) -> None:
    assert list(rule(manifests(overlay))) == []


def test_every_rule_has_faults_to_notice() -> None:
    assert FAULTS.keys() == RULES.keys()


@pytest.mark.parametrize(
    ("name", "document", "path", "value"),
    [(name, *fault) for name, faults in FAULTS.items() for fault in faults],
    ids=lambda value: "" if value is GONE or isinstance(value, dict) else None,
)
def test_the_rule_notices_a_planted_fault(name: str, document: str, path: Path, value: Any) -> None:
    given = manifests("large")
    spoil(given, document, path, value)
    assert list(RULES[name](given)) != []


def spoil(given: Manifests, document: str, path: Path, value: Any) -> None:
    """Change what stands at a path, or take it out."""
    kind, _, name = document.partition(" ")
    if name == "settings":
        name = given.container["envFrom"][0]["configMapRef"]["name"]
    *above, last = path
    holder: Any = reduce(operator.getitem, above, cast(Any, given.one(kind, name or "gateway")))
    if value is GONE:
        del holder[last]
    else:
        holder[last] = value
