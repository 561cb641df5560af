"""How much memory is in use, read from folders that look like /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiogateway.memory import PAGE, reading

MIB = 1 << 20


def system(folder: Path, groups: str, files: dict[str, str]) -> Path:
    """A folder with `proc` and `sys` in it: a machine of 100 MiB, and this process with 10 pages."""
    given = {
        "proc/meminfo": f"MemTotal:  {100 * 1024} kB\nMemFree: 3 kB\n",
        "proc/self/cgroup": groups,
        "proc/self/statm": "900 10 5 1 0 20 0\n",
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }
    for name, text in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


V2 = {
    "a/memory.max": f"{40 * MIB}\n",
    "a/memory.current": f"{30 * MIB}\n",
    "a/memory.stat": f"anon 1\ninactive_file {10 * MIB}\nactive_file 7\n",
    "a/b/memory.max": "max\n",
    "a/b/memory.current": "1\n",
    "a/b/memory.stat": "inactive_file 0\n",
}
V1 = {
    "memory/a/memory.limit_in_bytes": f"{40 * MIB}\n",
    "memory/a/memory.usage_in_bytes": f"{30 * MIB}\n",
    "memory/a/memory.stat": f"inactive_file 5\ntotal_inactive_file {10 * MIB}\n",
}
UNLIMITED = {**V1, "memory/a/memory.limit_in_bytes": "9223372036854771712\n"}
INSIDE = {name.removeprefix("a/"): text for name, text in V2.items() if not name.startswith("a/b")}
OF_MACHINE = 10 * PAGE * 2 / (100 * MIB)

CASES = {
    "the group around the own one, v2": ("0::/a/b\n", V2, 0.5),
    "a container that sees its own group only": ("0::/deep/in/the/host\n", INSIDE, 0.5),
    "v1": ("4:cpu,memory:/a\n3:pids:/a\n", V1, 0.5),
    "v1 without a limit": ("4:memory:/a\n0::/\n", UNLIMITED, OF_MACHINE),
    "no groups": ("", {}, OF_MACHINE),
}


@pytest.mark.parametrize(("groups", "files", "share"), CASES.values(), ids=CASES)
def test_the_tightest_limit_around_the_process_counts(
    tmp_path: Path, groups: str, files: dict[str, str], share: float
) -> None:
    folder = system(tmp_path, groups, files)
    read = reading(2, folder / "proc", folder / "sys")
    assert read is not None
    assert read() == pytest.approx(share)


def test_a_system_that_says_nothing_is_not_watched(tmp_path: Path) -> None:
    assert reading(1, tmp_path, tmp_path) is None
