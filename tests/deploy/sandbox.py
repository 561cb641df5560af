"""A place like a container, without an engine: bubblewrap's, made of this machine's own system.

Rules: nothing of the system can be written; what is needed besides is mounted where an image has it. The process has
no rights but a user's, of the number it is given, and sees no variable of ours. `/dev` is new, with a `/dev/shm`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Not of the system, or made anew.
_LEFT_OUT: Final = frozenset({"dev", "proc", "sys", "run", "tmp", "opt", "src", "wheels", "stock"})


def command(
    words: list[str],
    *,
    user: int,
    environ: Mapping[str, str],
    mounts: Mapping[str, Path],
    writable: bool = False,
    options: tuple[str, ...] = (),
) -> list[str]:
    """The command line that runs `words` in such a place.

    :param user: number of the user and the group.
    :param environ: all of its variables.
    :param mounts: folders and files of this machine, by where they are to be.
    :param writable: whether those, and a `/tmp`, can be written.
    :param options: more of bubblewrap's.
    """
    made = ["bwrap", "--unshare-user", "--uid", str(user), "--gid", str(user), "--die-with-parent", "--clearenv"]
    for name, value in environ.items():
        made += ["--setenv", name, value]
    for entry in sorted(Path("/").iterdir()):
        if entry.is_symlink():
            made += ["--symlink", os.readlink(entry), str(entry)]
        elif entry.name not in _LEFT_OUT and entry.is_dir():
            made += ["--ro-bind-try", str(entry), str(entry)]
    # The interpreter may be anywhere.
    for prefix in (sys.base_prefix, sys.prefix):
        made += ["--ro-bind", prefix, prefix]
    made += ["--proc", "/proc", "--dev", "/dev", *(("--tmpfs", "/tmp") if writable else ())]
    for place, folder in mounts.items():
        made += ["--bind" if writable else "--ro-bind", str(folder), place]
    return [*made, *options, "--remount-ro", "/", "--", *words]
