"""`scripts/soak`: runs the figures one after the other, and prints what came of them."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.soak import deploys, endurance, faults
from benchmarks.soak.verdicts import Figure, as_json, table

Measure = Callable[..., Awaitable[list[Figure]]]
MEASURES: Final[dict[str, Measure]] = {
    "breaker": faults.breaker,
    "stale": faults.stale,
    "isolation": faults.isolation,
    "slow": faults.slow,
    "drain": deploys.drain,
    "reload": deploys.reload,
    "workers": deploys.workers,
}
SOAK: Final = "soak"
# Seconds the soak itself takes at least.
LEAST: Final = 60.0


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Measure the gateway on bad days, and for long.")
    names = ",".join((*MEASURES, SOAK))
    parser.add_argument("--only", default=names, help=names)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the whole; the soak takes what is left (10)")
    parser.add_argument("--quick", action="store_true", help="a few seconds each: shows that all runs, proves little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    return parser.parse_args(arguments)


def run(chosen: argparse.Namespace) -> list[Figure]:
    """All figures that were asked for, printed as they come."""
    began, found = time.monotonic(), list[Figure]()
    names = chosen.only.split(",")
    if unknown := set(names) - {*MEASURES, SOAK}:
        raise SystemExit(f"scripts/soak: no such figure: {', '.join(sorted(unknown))}")
    for name in names:
        if name == SOAK:
            left = 60 * chosen.minutes - (time.monotonic() - began)
            measure: Measure = partial(endurance.soak, seconds=8.0 if chosen.quick else max(left, LEAST))
        else:
            measure = partial(MEASURES[name], quick=chosen.quick)
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            figures = asyncio.run(_called(measure, Path(folder)))
        print(table(figures), flush=True)
        found += figures
    return found


async def _called(measure: Measure, folder: Path) -> list[Figure]:
    return await measure(folder)


def main() -> None:
    chosen = options()
    found = run(chosen)
    if chosen.json is not None:
        chosen.json.write_text(as_json(found))
    missed = [figure.name for figure in found if not figure.met]
    print(f"\n{len(found) - len(missed)} figures met, {len(missed)} missed" + "".join(f"\n  {name}" for name in missed))
    if missed and chosen.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
