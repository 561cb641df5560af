"""The command: a plan for one load, its tables, its JSON, and the document's tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

from benchmarks.capacity import document, measured, report
from benchmarks.capacity.demand import Demand, Site
from benchmarks.capacity.scenarios import SCENARIOS, Scenario

EPILOG = """\
What is left out is as in a scenario (--like), else as the defaults say. Shares are of 1. The meaning of each input, the
formulas and three loads worked: docs/scaling.md. What the formulas were checked against:
  python -m benchmarks.capacity.simulation   events one after the other, 100 machines
  python -m benchmarks.capacity.comparison   four gateways that run, with a Redis and without
"""
KINDS = (Demand, Site)
TYPES: Final = {"int": int, "float": float}


def _own(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: not NAME=NUMBER") from None


def options(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; argparse exits 2 on what it does not know."""
    parser = argparse.ArgumentParser(
        prog="scripts/capacity",
        usage="%(prog)s [--requests N] [--like N] [--json] [any input of the load or the machines]",
        description="How many machines for how many requests.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--like", type=int, choices=range(len(SCENARIOS)), help="start from a worked load: " + _named())
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument("--figures", action="store_true", help="print the figures and where they come from")
    parser.add_argument(
        "--figure", type=_own, action="append", default=[], metavar="NAME=NUMBER", help="a figure of your own"
    )
    parser.add_argument("--document", action="store_true", help="print docs/scaling.md's tables into it, and end")
    for kind in KINDS:
        group = parser.add_argument_group({Demand: "load", Site: "machines"}[kind])
        for field in fields(kind):
            flag = "--" + field.name.replace("_", "-")
            meaning = field.metadata["meaning"]
            if isinstance(field.default, bool):
                group.add_argument(flag, action=argparse.BooleanOptionalAction, help=meaning)
            else:
                told = f"{meaning} ({field.default:,})"
                group.add_argument(flag, type=TYPES[str(field.type)], metavar="N", help=told)
    return parser.parse_args(argv)


def _named() -> str:
    return ", ".join(f"{number} is {scenario.title}" for number, scenario in enumerate(SCENARIOS))


def scenario(given: argparse.Namespace) -> Scenario:
    """The load and the machines that are asked about.

    :raises ValueError: they can't be so.
    """
    base = Scenario("plan", Demand(), Site()) if given.like is None else SCENARIOS[given.like]
    told = [{field.name: getattr(given, field.name) for field in fields(kind)} for kind in KINDS]
    demand, site = ({name: value for name, value in each.items() if value is not None} for each in told)
    own = Scenario("", replace(base.demand, **demand), replace(base.site, **site))
    return replace(
        own, title=f"{own.demand.requests:,g}" if own.demand.requests < 1e6 else f"{own.demand.requests:,.0f}"
    )


def main(argv: Sequence[str]) -> int:
    given = options(argv)
    if given.document:
        document.FILE.write_text(document.renewed(document.FILE.read_text(), measured.load()))
        return 0
    try:
        figures = measured.given(measured.load(), dict(given.figure))
        planned = report.worked(scenario(given), figures)
    except (ValueError, LookupError) as fault:
        print(f"scripts/capacity: {fault}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(report.as_json(planned, figures), indent=1, ensure_ascii=False))
    else:
        if given.figures:
            print(report.text(report.figures_table(figures)), end="\n\n")
        print(report.text(report.plans([planned])), report.text(report.limit_rows(planned)), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
