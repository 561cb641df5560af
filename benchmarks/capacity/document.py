"""The tables of docs/scaling.md: printed between its marks, so that they are what the model says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from benchmarks.capacity import report
from benchmarks.capacity.measured import Figures
from benchmarks.capacity.scenarios import SCENARIOS

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"
MARK: Final = re.compile(r"(<!-- capacity:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables(figures: Figures) -> dict[str, str]:
    """Each table by the name of its mark."""
    columns = [report.worked(scenario, figures) for scenario in SCENARIOS]
    return {
        "figures": report.markdown(report.figures_table(figures)),
        "inputs": report.markdown(report.inputs(columns)),
        "plans": report.markdown(report.plans(columns)),
        "limits": report.markdown(report.limit_summary(columns)),
        "small": report.markdown(report.limit_rows(columns[0])),
        "waiting": report.markdown(report.waiting(figures)),
        "limiter": report.markdown(report.limiter()),
    }


def renewed(text: str, figures: Figures) -> str:
    """The document with its tables as they are now.

    :raises LookupError: it has a mark that names no table, or a table has no mark.
    """
    known = tables(figures)
    marks = [found[2] for found in MARK.finditer(text)]
    if sorted(marks) != sorted(known):
        raise LookupError(f"marks {sorted(marks)}, tables {sorted(known)}")
    return MARK.sub(lambda found: found[1] + known[found[2]] + "\n" + found[3], text)
