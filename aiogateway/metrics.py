"""What the gateway counts, by the contract's names (contract, "Metrics").

Rules: labels have few values, whatever clients send. What a request does is added to plain numbers; they are folded
into Prometheus's own counters when those are asked for, because adding to them costs fifty times as much.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, generate_latest

RATE_LIMIT: Final = "gateway_ratelimit_decisions"
AUTH: Final = "gateway_auth_decisions"
RECAPTCHA: Final = "gateway_recaptcha"

# Family -> what it says, and its labels.
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    RATE_LIMIT: ("Checks of rate limits, by who decided.", ("policy", "decision", "backend")),
    AUTH: ("Requests whose route wants to know who asks.", ("decision", "reason")),
    RECAPTCHA: ("reCAPTCHA tokens, by what became of them.", ("outcome",)),
}


class Count:
    """How often one thing happened; whoever sees it happen adds one to `events`."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0


class Metrics:
    """One process's figures."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {
            family: Counter(family, text, labels, registry=self._registry)
            for family, (text, labels) in COUNTERS.items()
        }
        self._counts: dict[tuple[str, tuple[str, ...]], Count] = {}

    def count(self, family: str, *labels: str) -> Count:
        """What counts one thing, the same for the same labels.

        :param family: a key of `COUNTERS`.
        :param labels: the values of its labels, in their order.
        """
        key = family, labels
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = Count()
        return found

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        for (family, labels), count in self._counts.items():
            new, count.events = count.events, 0
            if new:
                self._counters[family].labels(*labels).inc(new)
        return generate_latest(self._registry)
