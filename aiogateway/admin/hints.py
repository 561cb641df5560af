"""What the figures of a pool suggest, in words: pure rules, each with what it needs to be sure.

Rules: a hint names the variable and its value; there is none without figures that say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiogateway.routes import Upstream

# Seconds of waiting for a place that people notice.
NOTICED: Final = 0.1
# Share of requests that waited, below which a wait is an accident.
OFTEN: Final = 0.01
# Share of the streams that may be open.
NEARLY_FULL: Final = 0.9


# What to do about a worker that refuses requests, by its reason.
OVERLOADED: Final = {
    "connections": "connections are refused: raise GATEWAY_MAX_CONNECTIONS, the descriptor limit or GATEWAY_WORKERS",
    "lag": "requests are refused because the event loop is late (GATEWAY_OVERLOAD_LAG): add workers or replicas",
    "memory": "requests are refused because memory runs out (GATEWAY_OVERLOAD_MEMORY): raise its limit",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of one upstream over the last minute, over all workers.

    :ivar wait: seconds within which 95 % of those that waited got a place; None when none did.
    :ivar waited: share of requests that waited.
    :ivar streams: established ones of the fullest pool.
    :ivar reasons: why destinations can't be connected to, by URL.
    :ivar timeouts: of the last failures, those whose answer did not come in time.
    """

    wait: float | None
    waited: float
    overflows: int
    streams: int
    reasons: dict[str, str]
    timeouts: int


def variable(upstream: Upstream, setting: str) -> str:
    """The variable that sets a pool's limit for one upstream (contract, `GATEWAY_POOL_<UPSTREAM>_<SETTING>`)."""
    return f"GATEWAY_POOL_{upstream.name.upper()}_{setting.upper()}"


def hints(upstream: Upstream, figures: Figures) -> list[str]:
    """What to do about an upstream; nothing when nothing is wrong."""
    return [*_waits(upstream, figures), *_others(upstream, figures)]


def _waits(upstream: Upstream, figures: Figures) -> Iterator[str]:
    name, pool = upstream.name, upstream.pool
    if figures.wait is not None and figures.wait >= NOTICED and figures.waited >= OFTEN:
        most = variable(upstream, "max_connections")
        yield (
            f"{name} waited {figures.wait:.1f} s at p95 for a connection: raise {most} from {pool.max_connections}, "
            "if the service can take more"
        )
    if figures.overflows:
        most = variable(upstream, "max_pending")
        yield (
            f"{figures.overflows} requests to {name} were refused because {pool.max_pending} waited already: it is "
            f"slower than it is asked; {most} allows more to wait"
        )


def _others(upstream: Upstream, figures: Figures) -> Iterator[str]:
    name, pool = upstream.name, upstream.pool
    if figures.streams >= NEARLY_FULL * pool.max_streams:
        most = variable(upstream, "max_streams")
        yield f"{name} has {figures.streams} open streams in one pool: raise {most} from {pool.max_streams}"
    for url, reason in figures.reasons.items():
        where = upstream.env or f"url of {name} in upstreams.toml"
        yield f"{name} can't be connected to at {url} ({reason}): is it running, and does {where} name the right place?"
    if figures.timeouts:
        yield f"{figures.timeouts} of the last failures of {name} were answers that did not come in time"


def worker_hints(workers: list[dict[str, Any]]) -> list[str]:
    """What to do about the workers themselves."""
    found = [OVERLOADED[reason] for reason in sorted({worker["overloaded"] for worker in workers} - {None})]
    worst = max((worker["lag"] for worker in workers), default=0.0)
    if worst >= NOTICED:
        found.append(
            f"the event loop was {worst:.2f} s late: it has too much to do; raise GATEWAY_WORKERS from {len(workers)}"
        )
    return found


def reload_hints(reload: Mapping[str, Any] | None) -> list[str]:
    """What to do about a configuration that was not taken."""
    if reload is None or reload["ok"]:
        return []
    first = reload["faults"][0]
    more = f" and {len(reload['faults']) - 1} more" if len(reload["faults"]) > 1 else ""
    return [f"the changed configuration was not taken: {first}{more}; mend it, look with aiogateway check, send SIGHUP"]
