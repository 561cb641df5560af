"""The reports of all workers as one: what the admin listener's JSON says of upstreams, pools and failures.

Pure functions. A report older than `SILENT` seconds is of a worker that is dead or stuck: its history counts, its
gauges don't.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from aiogateway.admin.hints import Figures, hints, reload_hints, worker_hints
from aiogateway.history import INTERVAL, INTERVALS, Interval, add_up, merge, quantile
from aiogateway.report import SILENT
from aiogateway.routes import Table, Upstream
from aiogateway.upstreams.breaker import STATES

Report = Mapping[str, Any]

# Seconds that rates and percentiles look back.
WINDOW: Final = 60
GAUGES: Final = ("active", "idle", "pending", "streams")
# Share of failing requests from which a service is not well, and requests that it takes to tell.
DEGRADED: Final = 0.05
ENOUGH: Final = 5
FAILURES: Final = 100


def live_ones(reports: Sequence[Report], now: float) -> list[Report]:
    """:param now: seconds, monotonic."""
    return [report for report in reports if now - report["at"] < SILENT]


def upstreams_view(reports: Sequence[Report], table: Table, version: str, now: float, wall: float) -> dict[str, Any]:
    """`/admin/upstreams`.

    :param now: seconds, monotonic.
    :param wall: Unix time in seconds.
    """
    live = live_ones(reports, now)
    routes = {name: sum(route.upstream.name == name for route in table.routes) for name in table.upstreams}
    shown = [
        {**_upstream(reports, live, upstream, wall), "routes": routes[name]}
        for name, upstream in table.upstreams.items()
    ]
    reasons = sorted({reason for report in live for reason in report["unready"]})
    requests = sum(each["requests_per_second"] for each in shown)
    errors = sum(each["requests_per_second"] * each["error_rate"] for each in shown)
    reload = reload_of(live)
    workers = [_worker(report, now, wall) for report in reports]
    return {
        "at": wall,
        "interval": INTERVAL,
        "window": WINDOW,
        "version": version,
        "gateway": {
            "state": "unready" if reasons else "ready",
            "reasons": reasons,
            "overloaded": next((report["overloaded"] for report in live if report["overloaded"]), None),
            "workers": len(live),
            "active": sum(report["active"] for report in live),
            "connections": sum(report["connections"] for report in live),
            "lag": max((report["lag"] for report in live), default=0.0),
            "requests_per_second": round(requests, 3),
            "error_rate": round(errors / requests, 4) if requests else 0.0,
            "lost_lines": sum(report["lost_lines"] for report in reports),
            "reload": reload,
            "hints": [*worker_hints(workers), *reload_hints(reload)],
        },
        "workers": workers,
        "upstreams": shown,
    }


def reload_of(live: Iterable[Report]) -> dict[str, Any] | None:
    """How reading the configuration again ended last, where it ended worst; None before the first time."""
    ended: list[dict[str, Any]] = [report["reload"] for report in live if report["reload"] is not None]
    return min(ended, key=lambda each: (each["ok"], -each["at"]), default=None)


def _worker(report: Report, now: float, wall: float) -> dict[str, Any]:
    kept = {key: report[key] for key in ("slot", "pid", "active", "connections", "lag", "unready", "overloaded")}
    return {**kept, "uptime": wall - report["started_at"], "age": now - report["at"]}


def destinations_of(live: Iterable[Report], name: str) -> list[dict[str, Any]]:
    """An upstream's destinations over all workers: sums of their pools, the worst of their states."""
    found: dict[str, dict[str, Any]] = {}
    for report in live:
        for each in report["upstreams"].get(name, {}).get("destinations", ()):
            seen = found.get(each["url"])
            if seen is None:
                found[each["url"]] = dict(each)
                continue
            for gauge in GAUGES:
                seen[gauge] += each[gauge]
            seen["up"] = seen["up"] and each["up"]
            seen["reason"] = seen["reason"] or each["reason"]
            seen["connect_failure"] = seen["connect_failure"] or each["connect_failure"]
            seen["breaker"] = max(seen["breaker"], each["breaker"], key=STATES.index)
    return list(found.values())


def history_of(reports: Iterable[Report], name: str) -> dict[int, Interval]:
    """An upstream's intervals over all workers, by number."""
    return merge(report["upstreams"].get(name, {}).get("history", ()) for report in reports)


def _recent(history: Mapping[int, Interval], wall: float) -> Interval:
    """The last `WINDOW` seconds as one; the interval that has just begun counts too."""
    latest = int(wall // INTERVAL)
    return add_up(interval for number, interval in history.items() if latest - WINDOW // INTERVAL < number <= latest)


def _upstream(reports: Sequence[Report], live: Sequence[Report], upstream: Upstream, wall: float) -> dict[str, Any]:
    name = upstream.name
    history = history_of(reports, name)
    recent = _recent(history, wall)
    destinations = destinations_of(live, name)
    pool = {gauge: sum(each[gauge] for each in destinations) for gauge in GAUGES}
    most = upstream.pool.max_connections * len(upstream.urls) * max(len(live), 1)
    error_rate = recent.errors / recent.requests if recent.requests else 0.0
    state, reason = state_of(destinations, recent, pool["pending"])
    return {
        "name": name,
        "state": state,
        "reason": reason,
        "requests_per_second": round(recent.requests / WINDOW, 3),
        "error_rate": round(error_rate, 4),
        **percentiles(recent.latency),
        "breaker": max((each["breaker"] for each in destinations), key=STATES.index, default=STATES[0]),
        "pool": {**pool, "max_connections": most, "use": round(pool["active"] / most, 4)},
        "destinations": destinations,
        "history": _series(history, wall),
        "hints": hints(upstream, _figures(reports, live, upstream, recent, destinations)),
    }


def percentiles(counts: Sequence[int]) -> dict[str, float | None]:
    return {key: quantile(counts, share) for key, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def state_of(destinations: Sequence[Mapping[str, Any]], recent: Interval, pending: int) -> tuple[str, str | None]:
    """How an upstream is, in one word, and why in a few."""
    failing = [each for each in destinations if not each["up"]]
    reasons = ", ".join(sorted(set(map(_why, failing))))
    if failing and len(failing) == len(destinations):
        return "down", reasons
    if failing:
        return "degraded", f"{len(failing)} of {len(destinations)} destinations: {reasons}"
    if recent.requests >= ENOUGH and recent.errors >= DEGRADED * recent.requests:
        return "degraded", f"{recent.errors} of {recent.requests} requests failed"
    if pending:
        return "degraded", f"{pending} requests wait for a connection"
    return ("up", None) if recent.requests else ("idle", None)


def _why(destination: Mapping[str, Any]) -> str:
    failure = destination["connect_failure"]
    return f"connect failed: {failure}" if failure else str(destination["reason"])


def _series(history: Mapping[int, Interval], wall: float) -> dict[str, Any]:
    """The last intervals as series to draw, oldest first."""
    first = int(wall // INTERVAL) - INTERVALS + 1
    several = [history.get(number) for number in range(first, first + INTERVALS)]
    return {
        "first": first,
        "requests": [round(each.requests / INTERVAL, 3) if each else 0 for each in several],
        "errors": [round(each.errors / INTERVAL, 3) if each else 0 for each in several],
        "p95": [quantile(each.latency, 0.95) if each else None for each in several],
    }


def _figures(
    reports: Sequence[Report],
    live: Sequence[Report],
    upstream: Upstream,
    recent: Interval,
    destinations: Sequence[Mapping[str, Any]],
) -> Figures:
    name = upstream.name
    pools = [each for report in live for each in report["upstreams"].get(name, {}).get("destinations", ())]
    failures = [each for report in reports for each in report["failures"] if each["upstream"] == name]
    return Figures(
        wait=quantile(recent.waits, 0.95),
        waited=sum(recent.waits) / recent.requests if recent.requests else 0.0,
        overflows=sum(report["upstreams"].get(name, {}).get("overflows", 0) for report in reports),
        streams=max((each["streams"] for each in pools), default=0),
        reasons={each["url"]: each["connect_failure"] for each in destinations if each["connect_failure"]},
        timeouts=sum(each["code"] == "upstream_timeout" for each in failures),
    )


def failures_view(reports: Sequence[Report], wall: float) -> dict[str, Any]:
    """`/admin/failures`: the last of all workers, newest first."""
    every = [{**failure, "worker": report["slot"]} for report in reports for failure in report["failures"]]
    every.sort(key=lambda failure: failure["time"], reverse=True)
    return {"at": wall, "failures": every[:FAILURES]}


def pools_view(reports: Sequence[Report], table: Table, now: float, wall: float) -> dict[str, Any]:
    """`/admin/pools`: every pool, by worker and over all of them."""
    live = live_ones(reports, now)
    pools = []
    for name, upstream in table.upstreams.items():
        recent = _recent(history_of(reports, name), wall)
        destinations = destinations_of(live, name)
        figures = _figures(reports, live, upstream, recent, destinations)
        settings = asdict(upstream.pool)
        counts = ("max_connections", "max_streams", "max_keepalive", "max_pending")
        pools += [
            {
                "upstream": name,
                "destination": each["url"],
                "settings": settings,
                "limits": {key: settings[key] * max(len(live), 1) for key in counts},
                **{gauge: each[gauge] for gauge in GAUGES},
                "workers": [
                    {"slot": report["slot"], **{gauge: own[gauge] for gauge in GAUGES}}
                    for report in live
                    for own in report["upstreams"].get(name, {}).get("destinations", ())
                    if own["url"] == each["url"]
                ],
                "wait": {
                    **{
                        key: quantile(recent.waits, share)
                        for key, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
                    },
                    "waited": round(figures.waited, 4),
                },
                "overflows": figures.overflows,
                "hints": hints(upstream, figures),
            }
            for each in destinations
        ]
    return {"at": wall, "pools": pools}
