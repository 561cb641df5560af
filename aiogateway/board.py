"""Where the workers of one gateway tell each other about themselves: a folder with one report each.

Rules: a report is replaced as a whole, so that nobody reads half of one; a worker that takes another's place takes over
its report. One that can't be written is no reason to stop serving: it is logged once, until it can be again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

log = structlog.get_logger(__name__)

# Kept in memory where the system has a place for it: a report a second must wait for no disk.
MEMORY: Final = Path("/dev/shm")
PREFIX: Final = "aiogateway-"
LOCK: Final = "lock"
CRASHING: Final = "crashing"


@contextlib.contextmanager
def shared_folder(parent: Path | None = None) -> Iterator[str]:
    """A folder for as long as the block lasts. What a gateway that was killed left behind is removed on the way.

    :param parent: where; left out, in memory if there is a place for it.
    """
    if parent is None:
        parent = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    for abandoned in parent.glob(f"{PREFIX}*"):
        _remove_unless_held(abandoned)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as folder, open(Path(folder, LOCK), "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # the kernel lets go of it when the last of our processes is gone
        yield folder


def _remove_unless_held(folder: Path) -> None:
    try:
        with open(folder / LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    except OSError:  # somebody holds it, or it is another user's
        return


def tell_of_crashes(folder: str, crashing: bool) -> None:
    """Leave word for the workers whether one of them dies again and again."""
    path = Path(folder, CRASHING)
    try:
        if crashing:
            path.touch()
        else:
            path.unlink(missing_ok=True)
    except OSError as exc:
        log.error("workers can't be told of a crash loop", reason=exc.strerror)


class Board:
    """One worker's place on the board.

    :param folder: shared by all workers; None when this one is alone.
    :param slot: the worker's number.
    """

    def __init__(self, folder: str | None = None, slot: int = 0) -> None:
        self._folder = None if folder is None else Path(folder)
        self.slot = slot
        self._failing = False

    @property
    def alone(self) -> bool:
        return self._folder is None

    @property
    def crashing(self) -> bool:
        """Whether the parent left word that workers die again and again."""
        return self._folder is not None and (self._folder / CRASHING).exists()

    def publish(self, report: dict[str, Any]) -> None:
        """Show the others this worker's report."""
        if self._folder is None:
            return
        new = self._folder / f"{self.slot}.new"
        try:
            new.write_bytes(orjson.dumps(report))
            new.replace(self._folder / f"{self.slot}.json")
        except OSError as exc:
            if not self._failing:
                log.error("a worker's figures can't be shared with the others", reason=exc.strerror)
            self._failing = True
        else:
            self._failing = False

    def last(self) -> dict[str, Any] | None:
        """The last report from this place: by this worker, or by the one whose place it takes."""
        return None if self._folder is None else self._read(self._folder / f"{self.slot}.json")

    def others(self) -> list[dict[str, Any]]:
        """The last reports of all other places, in order."""
        if self._folder is None:
            return []
        paths = sorted(path for path in self._folder.glob("*.json") if path.stem != str(self.slot))
        return [report for report in map(self._read, paths) if report is not None]

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        return found
