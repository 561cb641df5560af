"""Run a command under what a systemd unit forbids, where systemd isn't the first process: `confined.py UNIT COMMAND...`

Of the unit's hardening this puts in force what a process can put on itself: system calls and their arguments, address
families, capabilities, privileges that can't come back, the file mode mask. A forbidden system call ends the process by
SIGSYS rather than with the unit's errno, so that a use that fails quietly shows. Files and devices stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
EQUAL, GREATER, MASKED_EQUAL = 4, 6, 7
PROT_WRITE, PROT_EXEC = 2, 4
# CLONE_NEW*, of which any is a namespace of one's own.
NAMESPACES: Final = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080)
FAMILIES: Final = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24


class Argument(ctypes.Structure):
    """`scmp_arg_cmp` of libseccomp: which argument, how it is compared, with what."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def settings(unit: Path) -> dict[str, list[str]]:
    """Every value of every key of a unit, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def members(names: list[str]) -> Iterator[str]:
    """System calls, with what groups such as `@process` hold in their place."""
    for name in names:
        if name.startswith("@"):
            told = subprocess.run(
                ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
            )
            lines = [line.strip() for line in told.stdout.splitlines()[1:]]
            yield from members([line for line in lines if line and not line.startswith("#")])
        else:
            yield name


def allowed(filters: list[str]) -> set[str]:
    """What `SystemCallFilter=` lines leave: the first allows, those with `~` take away."""
    found: set[str] = set()
    for line in filters:
        calls = set(members(line.removeprefix("~").split()))
        found = found - calls if line.startswith("~") else found | calls
    return found


class Filter:
    """The system calls of this process and of those it starts, once `load` was called."""

    def __init__(self, default: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action: int, call: str, *arguments: tuple[int, int, int, int]) -> None:
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:  # of another architecture
            return
        array = (Argument * len(arguments))(*(Argument(*argument) for argument in arguments))
        code = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(arguments), array
        )
        assert code == 0, f"{call}: {os.strerror(-code)}"

    def load(self) -> None:
        code = self._library.seccomp_load(self._context)
        assert code == 0, os.strerror(-code)


def forbid(unit: dict[str, list[str]]) -> None:
    """Put the unit's rules about system calls in force, each as systemd.exec(5) describes it."""
    calls = Filter(KILL)
    for call in allowed(unit["SystemCallFilter"]):
        calls.rule(ALLOW, call)
    filters = [calls]
    if unit["MemoryDenyWriteExecute"] == ["yes"]:
        filters.append(Filter(ALLOW))
        both = PROT_WRITE | PROT_EXEC
        filters[-1].rule(KILL, "mmap", (2, MASKED_EQUAL, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            filters[-1].rule(KILL, call, (2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    if unit["RestrictNamespaces"] == ["yes"]:
        filters.append(Filter(ALLOW))
        for call in ("clone", "unshare"):
            for flag in NAMESPACES if call == "unshare" else NAMESPACES[:-1]:
                filters[-1].rule(KILL, call, (0, MASKED_EQUAL, flag, flag))
    families = {FAMILIES[name] for name in unit["RestrictAddressFamilies"][0].split()}
    filters.append(Filter(ALLOW))
    filters[-1].rule(KILL, "socket", (0, GREATER, max(families), 0))
    for family in set(range(max(families))) - families:
        filters[-1].rule(KILL, "socket", (0, EQUAL, family, 0))
    for rules in reversed(filters):  # the one that may forbid what loads the others comes last
        rules.load()


def main() -> None:
    unit, command = settings(Path(sys.argv[1])), sys.argv[2:]
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if os.geteuid() == 0 and unit["CapabilityBoundingSet"] == [""]:
        for capability in range(64):
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.umask(int(unit["UMask"][0], 8))
    assert prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    forbid(unit)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
