"""What the gateway counts, by the contract's names (contract, "Metrics").

Rules: labels have few values, whatever clients send. What a request does is added to plain numbers; they are folded
into Prometheus's own counters every second, because adding to those costs fifty times as much.
"""

from __future__ import annotations

import os
from typing import Final

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

RATE_LIMIT: Final = "gateway_ratelimit_decisions"
AUTH: Final = "gateway_auth_decisions"
RECAPTCHA: Final = "gateway_recaptcha"

# Family -> what it says, and its labels.
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    RATE_LIMIT: ("Checks of rate limits, by who decided.", ("policy", "decision", "backend")),
    AUTH: ("Requests whose route wants to know who asks.", ("decision", "reason")),
    RECAPTCHA: ("reCAPTCHA tokens, by what became of them.", ("outcome",)),
}


# A second series for each, which says since when; nothing here asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Count:
    """How often one thing happened; whoever sees it happen adds one to `events`."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0


class Metrics:
    """What one worker counts, and what all of them counted.

    :param folder: where the workers keep their figures for one another; None when there is one alone.
    :param slot: this worker's number. Who takes a dead worker's place goes on from its figures, so that none goes back.
    """

    def __init__(self, folder: str | None = None, slot: int = 0) -> None:
        registry = CollectorRegistry()
        if folder is None:
            self._shown = registry
        else:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # there is no other way to tell
            values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
            self._shown = CollectorRegistry()
            MultiProcessCollector(self._shown, folder)  # type: ignore[no-untyped-call]
        self._counters = {
            family: Counter(family, text, labels, registry=registry) for family, (text, labels) in COUNTERS.items()
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

    def fold(self) -> None:
        """Add what was counted to what all workers' scrapes show."""
        for (family, labels), count in self._counts.items():
            new, count.events = count.events, 0
            if new:
                self._counters[family].labels(*labels).inc(new)

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        self.fold()
        return generate_latest(self._shown)
