"""The results for people (one table, the figures) and for programs (JSON). Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Verdict
from benchmarks.machine import Machine
from benchmarks.results import Ref, Results, Spread
from benchmarks.scenarios import Scenario


@dataclass(frozen=True)
class Column:
    """A measure as the table shows it; `spread` adds lowest and highest."""

    measure: str
    title: str
    digits: int
    spread: bool = False


COLUMNS = (
    Column("rps", "requests/s", 0),
    Column("share", "of the highest", 2),
    Column("p50_ms", "p50 ms", 2),
    Column("p99_ms", "p99 ms", 2),
    Column("added_p50_ms", "added p50 ms", 3, True),
    Column("cpu_us", "CPU µs/request", 1, True),
    Column("gib_s", "GiB/s", 2),
    Column("cpu_s_gib", "CPU s/GiB", 3, True),
    Column("peak_mib", "peak MiB", 1),
    Column("growth_mib", "MiB added", 1, True),
    Column("first_event_ms", "first event ms", 2),
    Column("first_event_max_ms", "at most", 2, True),
    Column("later_event_ms", "later events ms", 2),
)
COMPARED = ("cpu_us", "cpu_s_gib")
BASES = ("nginx", "caddy")
WORDS = {True: "met", False: "MISSED", None: "not measured"}


def table(results: Results, scenarios: Sequence[Scenario]) -> str:
    """A block a scenario, a line a contender: medians over the rounds, lowest and highest where they matter."""
    blocks = []
    for scenario in scenarios:
        rows = [sample.contender for sample in results.samples if sample.scenario == scenario.key]
        contenders = [key for key in CONTENDERS if key in rows]
        if contenders:
            blocks.append(scenario.title + amount(results, scenario.key) + "\n" + _block(results, scenario, contenders))
    return "\n\n".join(blocks)


def amount(results: Results, scenario: str) -> str:
    """How much a bulk scenario moved, to stand after its title."""
    sizes = [
        sample.values["gib"] for sample in results.samples if sample.scenario == scenario and "gib" in sample.values
    ]
    return f", {sizes[0]:g} GiB in all" if sizes else ""


def _block(results: Results, scenario: Scenario, contenders: Sequence[str]) -> str:
    measured = {ref.measure for ref in results.measures() if ref.scenario == scenario.key}
    columns = [column for column in COLUMNS if column.measure in measured]
    compared = next((measure for measure in COMPARED if measure in measured), None)
    bases = [base for base in BASES if base in contenders] if compared else []
    lines = [["", *(column.title for column in columns), *(f"over {CONTENDERS[base].title}" for base in bases)]]
    for contender in contenders:
        spreads = [(column, results.spread(Ref(scenario.key, contender, column.measure))) for column in columns]
        cells = [_cell(spread, column.digits, column.spread) for column, spread in spreads]
        for base in bases:
            ref, under = (Ref(scenario.key, who, str(compared)) for who in (contender, base))
            cells.append(_cell(results.ratio(ref, under), 2, False))
        lines.append([CONTENDERS[contender].title, *cells])
    faults = [f"  {fault}" for fault in _faults(results, scenario.key)]
    return "\n".join([*_aligned(lines), *faults])


def _faults(results: Results, scenario: str) -> Iterable[str]:
    for sample in results.samples:
        if sample.scenario == scenario and sample.fault:
            yield f"{CONTENDERS[sample.contender].title} did not run in round {sample.round}: {sample.fault}"


def _cell(spread: Spread | None, digits: int, whole: bool) -> str:
    if spread is None:
        return "-"
    text = f"{spread.median:,.{digits}f}"
    return f"{text} ({spread.low:,.{digits}f}-{spread.high:,.{digits}f})" if whole else text


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  "
        + "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(row))
        for row in (list(zip(line, widths, strict=True)) for line in lines)
    ]


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """A line a figure: target, measured, met or missed."""
    lines = [["figure", "target", "measured", ""]]
    for verdict in verdicts:
        figure = verdict.figure
        target = f"<= {figure.at_most:g} {figure.unit}"
        lines.append([figure.title, target, _cell(verdict.measured, 2, True), WORDS[verdict.met]])
    return "\n".join(_aligned(lines))


def machine_text(machine: Machine) -> str:
    """Two lines: the machine, the versions."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, load {machine['load']} at the start, "
        f"{machine['date']}\n{versions}"
    )


def as_json(
    machine: Machine, options: Mapping[str, Any], results: Results, verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """The same as the text, and every sample."""
    return {
        "machine": machine,
        "options": dict(options),
        "samples": [asdict(sample) for sample in results.samples],
        "summary": [asdict(ref) | asdict(spread) for ref in results.measures() if (spread := results.spread(ref))],
        "figures": [
            asdict(verdict.figure)
            | {"measured": asdict(verdict.measured) if verdict.measured else None, "met": verdict.met}
            for verdict in verdicts
        ],
    }
