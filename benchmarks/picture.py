"""The results as a picture: a panel a scenario, a bar a contender, the gateway's in colour.

A bar more than `CLIP` times the second longest is cut, with its figure beside it, so that the others can be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contenders import CONTENDERS
from benchmarks.machine import Machine
from benchmarks.results import Ref, Results
from benchmarks.scenarios import Scenario

CLIP = 1.6
COLOURS = {True: "#1f6feb", False: "#b8c0cc"}
INK = "#1f2328"
PANELS = {
    "cpu_us": ("CPU µs a request", 0),
    "added_p50_ms": ("added median latency, ms", 2),
    "cpu_s_gib": ("CPU seconds a GiB", 2),
    "first_event_ms": ("ms after the backend's write", 2),
}
COLUMNS = 2


def draw(results: Results, scenarios: Sequence[Scenario], machine: Machine, path: Path) -> None:
    """Write the picture to `path`, PNG or SVG by its ending; scenarios without bars to compare have no panel."""
    panels = [panel for scenario in scenarios if (panel := _panel(results, scenario)) is not None]
    rows = max(1, -(-len(panels) // COLUMNS))
    figure = Figure(figsize=(11, 2.3 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for ax, (scenario, measure, bars) in zip(axes, panels, strict=False):
        _bars(ax, scenario, measure, bars)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    figure.suptitle("One core for the proxy, shorter is better", fontsize=13, color=INK, fontweight="bold")
    shown = ("nginx", "haproxy", "caddy", "python", "aiohttp")
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in shown if name in machine["versions"])
    figure.supxlabel(f"{machine['cpu']}, {versions}, {machine['date'][:10]}", fontsize=8, color="#656d76")
    figure.savefig(path, dpi=150, facecolor="white")


def _panel(results: Results, scenario: Scenario) -> tuple[Scenario, str, dict[str, float]] | None:
    """The first measure of PANELS that at least two contenders have in this scenario."""
    for measure in PANELS:
        spreads = {key: results.spread(Ref(scenario.key, key, measure)) for key in CONTENDERS}
        bars = {key: spread.median for key, spread in spreads.items() if spread is not None}
        if len(bars) > 1:
            return scenario, measure, bars
    return None


def _bars(ax: Axes, scenario: Scenario, measure: str, bars: dict[str, float]) -> None:
    unit, digits = PANELS[measure]
    keys = sorted(bars, key=lambda key: bars[key], reverse=True)
    limit = max(bars[keys[1]], 0.0) * CLIP
    for place, key in enumerate(keys):
        cut = bars[key] > limit
        ax.barh(
            place,
            min(bars[key], limit),
            color=COLOURS[key in ("gateway", "guarded")],
            hatch="//" if cut else "",
            height=0.7,
        )
        label = f" {bars[key]:,.{digits}f}" + (" (bar cut)" if cut else "")
        ax.text(max(min(bars[key], limit), 0), place, label, va="center", fontsize=9, color=INK)
    ax.set_yticks(range(len(keys)), [CONTENDERS[key].title for key in keys], fontsize=9, color=INK)
    ax.set_xlim(0, limit * 1.25 or 1)
    ax.set_title(f"{scenario.title}: {unit}", fontsize=10, loc="left", color=INK)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
