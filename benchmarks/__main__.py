"""The command: options, the interleaved rounds, and what is done with the results.

Exit 0 when everything ran, 1 when a contender did not run, or with `--check` when a figure is missed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import figures, footprint, machine, picture, processes, report, scenarios
from benchmarks.backend import Backends, backends
from benchmarks.contenders import CONTENDERS, Contender, started
from benchmarks.results import Results, Sample

# The group of what is measured beside throughput.
FOOTPRINT = "footprint"


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return [name for name in known if name in chosen]

    return read


def _counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("at least one connection")
    return counts


def options(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; argparse exits 2 on what it does not know."""
    groups = (*scenarios.GROUPS, FOOTPRINT)
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the gateway beside other proxies.")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that all runs, proves little")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3; with --quick 1)")
    parser.add_argument("--only", type=_names(list(CONTENDERS)), default=list(CONTENDERS), help=",".join(CONTENDERS))
    parser.add_argument("--scenarios", type=_names(groups), default=list(groups), help=",".join(groups))
    parser.add_argument("--connections", type=_counts, help="connections under load (32,256; with --quick 32)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it, .png or .svg")
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is missed")
    given = parser.parse_args(argv)
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.connections = given.connections or ([32] if given.quick else [32, 256])
    return given


def present(keys: Sequence[str]) -> list[Contender]:
    """The contenders whose programs are here; says who is left out."""
    for key in keys:
        if CONTENDERS[key].missing():
            print(f"left out: {CONTENDERS[key].title}, {CONTENDERS[key].program} is not installed", file=sys.stderr)
    return [CONTENDERS[key] for key in keys if not CONTENDERS[key].missing()]


class Run:
    """The measuring itself: every contender's turn in every scenario, round after round."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self._rounds: int = given.rounds
        self._pace = scenarios.QUICK if given.quick else scenarios.FULL
        self._contenders = present(given.only)
        self.scenarios = scenarios.chosen(given.scenarios, given.connections)
        self._folder = folder
        self._proxy_core, self._load_cores = processes.cores()

    def take(self) -> Results:
        """All samples. A contender that fails gives a sample with the fault, and the others go on."""
        samples: list[Sample] = []
        with backends(self._folder / "backends", self._load_cores) as ports:
            for number in range(1, self._rounds + 1):
                for scenario in self.scenarios:
                    for contender in self._contenders:
                        if not scenario.only or contender.key in scenario.only:
                            samples.append(self._turn(number, scenario, contender, ports))
        return Results(samples)

    def _turn(self, number: int, scenario: scenarios.Scenario, contender: Contender, ports: Backends) -> Sample:
        print(f"round {number}/{self._rounds}  {scenario.title}: {contender.title}", file=sys.stderr, flush=True)
        folder = self._folder / f"{number}-{scenario.key}-{contender.key}"
        backend = getattr(ports, scenario.backend)
        try:
            with started(contender, folder, backend, self._proxy_core) as (port, pid):
                turn = scenarios.Turn(port, pid, backend, self._pace, folder, self._load_cores)
                return Sample(number, scenario.key, contender.key, scenario.measure(scenario, turn))
        except processes.BenchError as fault:
            print(f"  {fault}", file=sys.stderr)
            return Sample(number, scenario.key, contender.key, {}, str(fault))


def main(argv: Sequence[str]) -> int:
    """Measure, print, write; gives the exit status."""
    given = options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    here = machine.describe()
    with tempfile.TemporaryDirectory(prefix="aiogateway-bench-") as folder:
        run = Run(given, Path(folder))
        results = run.take()
    verdicts = figures.judge(results)
    settings = {name: value for name, value in vars(given).items() if name not in ("json", "picture", "check")}
    print(report.machine_text(here), report.table(results, run.scenarios), report.verdicts_text(verdicts), sep="\n\n")
    if given.quick:
        print("\n--quick: one short round over small bodies; the figures are judged by a whole run.")
    if given.json:
        text = json.dumps(report.as_json(here, settings, results, verdicts), indent=1, ensure_ascii=False)
        given.json.write_text(text + "\n")
    if given.picture:
        picture.draw(results, run.scenarios, here, given.picture)
    missed = any(verdict.met is False for verdict in verdicts)
    if FOOTPRINT in given.scenarios and not given.quick:
        print()
        missed |= footprint.show()
    return int((given.check and missed) or any(sample.fault for sample in results.samples))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except processes.BenchError as fault:
        sys.exit(f"bench: {fault}")
