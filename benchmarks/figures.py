"""The figures that the project promises: a table of targets, each met, missed or not measured.

A new promise is a row. A row without `base` is about the value itself, one with `base` about the ratio of the two, and
one with `less` about what is left when that is taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Ref, Results, Spread


@dataclass(frozen=True)
class Figure:
    """A promise: what `title` says, over `base` or less `less` if there is one, is at most `at_most`."""

    title: str
    ref: Ref
    at_most: float
    base: Ref | None = None
    unit: str = "times"
    less: Ref | None = None


@dataclass(frozen=True)
class Verdict:
    """A figure as measured; `met` is None when the run did not measure it."""

    figure: Figure
    measured: Spread | None
    met: bool | None


def _cpu(title: str, scenario: str, at_most: float, over: str) -> Figure:
    base = Ref(scenario, over, "cpu_us")
    return Figure(f"{title}: CPU a request over {over}", Ref(scenario, "gateway", "cpu_us"), at_most, base)


def _crowd(title: str, group: str) -> Figure:
    few, many = (Ref(f"{group}-{count}", "gateway", "cpu_us") for count in (32, 256))
    return Figure(f"{title}: CPU a request, 256 over 32 connections", many, 1.2, few)


def _bulk(group: str) -> Figure:
    ours, nginx = (Ref(group, contender, "cpu_s_gib") for contender in ("gateway", "nginx"))
    return Figure(f"{group}: CPU seconds a GiB over nginx", ours, 1.5, nginx)


FIGURES = (
    _cpu("small GET", "get-32", 0.85, "caddy"),
    _cpu("small GET", "get-32", 4.5, "nginx"),
    _cpu("form POST", "form-32", 0.85, "caddy"),
    _cpu("form POST", "form-32", 4.5, "nginx"),
    # 256 clients over a pool of 100 may cost a fifth more of the same bounds.
    _cpu("small GET, 256 connections", "get-256", 1.2 * 0.85, "caddy"),
    _cpu("small GET, 256 connections", "get-256", 1.2 * 4.5, "nginx"),
    _cpu("form POST, 256 connections", "form-256", 1.2 * 0.85, "caddy"),
    _cpu("form POST, 256 connections", "form-256", 1.2 * 4.5, "nginx"),
    _crowd("small GET", "get"),
    _crowd("form POST", "form"),
    Figure(
        "guards: CPU that they add to a small GET",
        Ref("get-32", "guarded", "cpu_us"),
        15,
        unit="µs",
        less=Ref("get-32", "gateway", "cpu_us"),
    ),
    Figure("added latency, p50, one connection", Ref("latency", "gateway", "added_p50_ms"), 0.3, unit="ms"),
    _bulk("upload"),
    _bulk("download"),
    Figure("memory added by the huge upload", Ref("huge", "gateway", "growth_mib"), 16, unit="MiB"),
    Figure("memory added by 64 uploads at once", Ref("parallel", "gateway", "growth_mib"), 96, unit="MiB"),
    Figure("first event after the backend's write, most", Ref("events", "gateway", "first_event_max_ms"), 5, unit="ms"),
)


def judge(results: Results, figures: Sequence[Figure] = FIGURES) -> list[Verdict]:
    """Each figure beside what was measured, judged by the median."""
    verdicts = []
    for figure in figures:
        if figure.base is not None:
            measured = results.ratio(figure.ref, figure.base)
        elif figure.less is not None:
            measured = results.difference(figure.ref, figure.less)
        else:
            measured = results.spread(figure.ref)
        verdicts.append(Verdict(figure, measured, None if measured is None else measured.median <= figure.at_most))
    return verdicts
