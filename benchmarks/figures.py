"""The figures that the project promises: a table of targets, each met, missed or not measured.

A new promise is a row. A row without `base` is about the value itself, one with `base` about the ratio of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Ref, Results, Spread


@dataclass(frozen=True)
class Figure:
    """A promise: what `title` says, over `base` if there is one, is at most `at_most`."""

    title: str
    ref: Ref
    at_most: float
    base: Ref | None = None
    unit: str = "times"


@dataclass(frozen=True)
class Verdict:
    """A figure as measured; `met` is None when the run did not measure it."""

    figure: Figure
    measured: Spread | None
    met: bool | None


OURS = "guarded"
COUNTS = (32, 256)


def _cpu(title: str, group: str, at_most: float, over: str) -> list[Figure]:
    """A bound over another contender's CPU a request, for each number of connections."""
    return [
        Figure(
            f"{title}, {count} connections: CPU a request over {over}",
            Ref(f"{group}-{count}", OURS, "cpu_us"),
            at_most,
            Ref(f"{group}-{count}", over, "cpu_us"),
        )
        for count in COUNTS
    ]


def _form(count: int) -> Figure:
    form, get = (Ref(f"{group}-{count}", OURS, "cpu_us") for group in ("form", "get"))
    return Figure(f"form POST over small GET, {count} connections: CPU a request", form, 1.15, get)


def _bulk(group: str) -> Figure:
    ours, nginx = (Ref(group, contender, "cpu_s_gib") for contender in (OURS, "nginx"))
    return Figure(f"{group}: CPU seconds a GiB over nginx", ours, 1.0, nginx)


FIGURES = (
    *_cpu("small GET", "get", 0.6, "caddy-same"),
    *_cpu("small GET", "get", 1.0, "caddy"),
    *_cpu("small GET", "get", 5.0, "nginx"),
    *_cpu("small GET", "get", 1 / 15, "starlette"),
    *map(_form, COUNTS),
    *_cpu("300 KB answer", "large", 1.0, "caddy"),
    *_cpu("300 KB answer, taken plain", "plain", 1.0, "caddy"),
    Figure("half the highest rate: p99", Ref("half", OURS, "p99_ms"), 3, unit="ms"),
    Figure("added latency, p50, one connection", Ref("latency", OURS, "added_p50_ms"), 0.35, unit="ms"),
    _bulk("upload"),
    _bulk("download"),
    Figure("memory added by the huge upload", Ref("huge", OURS, "growth_mib"), 16, unit="MiB"),
    Figure("memory added by 64 uploads at once", Ref("parallel", OURS, "growth_mib"), 96, unit="MiB"),
    Figure("first event after the backend's write, most", Ref("events", OURS, "first_event_max_ms"), 5, unit="ms"),
)


def judge(results: Results, figures: Sequence[Figure] = FIGURES) -> list[Verdict]:
    """Each figure beside what was measured, judged by the median."""
    verdicts = []
    for figure in figures:
        measured = results.ratio(figure.ref, figure.base) if figure.base else results.spread(figure.ref)
        verdicts.append(Verdict(figure, measured, None if measured is None else measured.median <= figure.at_most))
    return verdicts
