"""What requests cost on an interpreter: read, chosen, compared, written.

A reference is kept for each interpreter that had it written, for others take other numbers of instructions for the same
Python. One without a reference is compared with the one most like it, scaled by what a fixed piece of Python costs here
and cost there.
"""

from __future__ import annotations

import json
import math
import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

# How much more a case may cost than it did.
TOLERANCE: Final = 0.10


class Interpreter(NamedTuple):
    """What decides how many instructions the same Python takes; `pgo`: built by what a profile of it said."""

    implementation: str
    version: str
    machine: str
    pgo: bool

    def __str__(self) -> str:
        return f"{self.implementation} {self.version} on {self.machine}, {'with' if self.pgo else 'without'} PGO"


@dataclass(frozen=True)
class Reference:
    """Instructions of the piece of Python, and of a request of each case, on an interpreter."""

    interpreter: Interpreter
    piece: float
    cases: Mapping[str, float]


def interpreter() -> Interpreter:
    """The one that runs this, and the gateway."""
    built = " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "PY_CFLAGS_NODIST"))
    pgo = any(sign in built for sign in ("--enable-optimizations", "-fprofile-use", "-fprofile-instr-use"))
    version = ".".join(map(str, sys.version_info[:3]))
    return Interpreter(sys.implementation.name, version, platform.machine(), pgo)


def nearest(references: Sequence[Reference], here: Interpreter) -> Reference | None:
    """The reference of this interpreter or of the one most like it; None when there are none."""

    def apart(reference: Reference) -> tuple[int, ...]:
        other = reference.interpreter
        pairs = zip(other.version.split("."), here.version.split("."), strict=True)
        major, minor, micro = (abs(int(one) - int(two)) for one, two in pairs)
        kinds = (other.implementation != here.implementation, other.machine != here.machine)
        return *kinds, major, minor, other.pgo != here.pgo, micro

    return min(references, key=apart, default=None)


def read(text: str) -> list[Reference]:
    """The references of the file."""
    return [Reference(Interpreter(**row["interpreter"]), row["piece"], row["cases"]) for row in json.loads(text)]


def written(references: Sequence[Reference], new: Reference) -> str:
    """The file with `new` in place of the reference that its interpreter had."""
    rows = [*(kept for kept in references if kept.interpreter != new.interpreter), new]
    rows.sort(key=lambda row: row.interpreter)
    return json.dumps([{**asdict(row), "interpreter": row.interpreter._asdict()} for row in rows], indent=1) + "\n"


@dataclass(frozen=True)
class Change:
    """A case's cost beside what it may be compared with, which is 0 where there is nothing."""

    before: float
    now: float

    @property
    def share(self) -> float:
        """How much more it is, as a share; what has no reference can't be told to be good."""
        return self.now / self.before - 1 if self.before else math.inf

    @property
    def too_much(self) -> bool:
        return self.share > TOLERANCE

    def __str__(self) -> str:
        told = f"{self.share:+.1%}" if self.before else "no reference"
        return f"{self.before:10,.0f} {self.now:10,.0f}  {told}" + (
            " TOO MUCH" if self.before and self.too_much else ""
        )


def compared(key: str, now: float, reference: Reference | None, scale: float) -> Change:
    """A case beside its reference, on an interpreter that takes `scale` times the instructions of the reference's."""
    return Change(reference.cases.get(key, 0.0) * scale if reference else 0.0, now)
