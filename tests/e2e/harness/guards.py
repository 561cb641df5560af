"""What the guards' answers look like, and what they tell on the admin listener."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from .client import Response
from .gateway import Gateway
from .problem import assert_problem

REFUSALS = {
    "recaptcha_failed": (400, "client"),
    "unauthenticated": (401, "client"),
    "forbidden": (403, "client"),
    "unsupported_form": (415, "client"),
    "rate_limited": (429, "client"),
    "recaptcha_unconfigured": (503, "gateway"),
    "recaptcha_unavailable": (503, "gateway"),
    "auth_unavailable": (503, "gateway"),
}
POLICY = re.compile(r'"[^"]+";q=(\d+);w=(\d+)')
"""One item of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10 section 3)."""
LEFT = re.compile(r'"[^"]+";r=(\d+);t=(\d+)')
"""One item of `RateLimit` (section 4)."""


def assert_refused(response: Response, code: str) -> dict[str, Any]:
    """Assert that a guard refused with this code of the contract; the problem document."""
    return assert_problem(response, code, *REFUSALS.get(code, (None, None)))


def assert_limited(response: Response, quota: int, window: int) -> None:
    """Assert that this is the refusal of a limit of `quota` requests in `window` seconds."""
    document = assert_refused(response, "rate_limited")
    assert document["retryable"]
    after = response.value("retry-after")
    assert after is not None and after.isdigit() and 1 <= int(after) <= window, after
    assert (str(quota), str(window)) in POLICY.findall(response.value("ratelimit-policy") or "")
    assert "0" in [left for left, _ in LEFT.findall(response.value("ratelimit") or "")], response.values("ratelimit")


def samples(gateway: Gateway, name: str) -> dict[tuple[str, ...], float]:
    """A metric's samples on the admin listener: values of the labels, in the order of their names -> value."""
    text = gateway.admin("/metrics").data.decode()
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {_values(sample.labels): sample.value for sample in found if sample.name == name}


def _values(labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels[label] for label in sorted(labels))


def grown(gateway: Gateway, name: str, during: Callable[[], object]) -> dict[tuple[str, ...], float]:
    """By how much each sample of a counter grows while `during` runs; those that stay are left out."""
    before = samples(gateway, name)
    during()
    growth = {labels: value - before.get(labels, 0) for labels, value in samples(gateway, name).items()}
    return {labels: value for labels, value in growth.items() if value}
