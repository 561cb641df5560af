"""Notices between real processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from aiogateway.caching.entry import Key
from aiogateway.caching.notices import DROP, LONGEST, PATH, RING, TAG, Notice, Notices, name_of
from tests.caching.entries import key_of


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may not run for a while who holds the lock, which changes what is told: not here."""
    monkeypatch.setattr("aiogateway.stores.locks.PATIENCE", 60_000_000_000)


@pytest.fixture
def shared() -> Iterator[Notices]:
    with contextlib.closing(Notices()) as notices:
        yield notices


def forked(work: Callable[[], None]) -> int:
    """Do something in a process of its own; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_other_processes_read_what_one_tells(shared: Notices) -> None:
    mark = shared.mark()
    name = name_of(key_of())

    def tell() -> None:
        shared.drop(name)
        shared.purge(path="/é*")
        shared.purge(tag="x" * LONGEST)

    assert ended(forked(tell)) == 0
    assert shared.after(mark) == [Notice(DROP, name), Notice(PATH, "/é*".encode()), Notice(TAG, b"x" * LONGEST)]
    assert shared.mark() != mark and shared.after(shared.mark()) == []


def test_nobody_reads_half_of_one_while_many_write() -> None:
    """The ring is larger than all that is told, so that everything is read, however the processes take turns."""
    each = 2000
    shared = Notices(3 * each + 1)

    def tell(letter: str) -> None:
        for length in range(each):
            shared.purge(tag=letter * (length % LONGEST + 1))

    mark, read = shared.mark(), list[Notice]()
    writers = [forked(lambda letter=letter: tell(letter)) for letter in "abc"]  # type: ignore[misc]
    while writers or len(read) < shared.mark():
        read += shared.after(mark) or ()
        mark = len(read)
        writers = [pid for pid in writers if not os.waitpid(pid, os.WNOHANG)[0]]
    shared.close()
    assert all(notice.kind == TAG and len(set(notice.what)) == 1 for notice in read)
    assert Counter(notice.what[:1] for notice in read) == {b"a": each, b"b": each, b"c": each}


def test_one_that_dies_while_it_writes_holds_nobody_up_and_leaves_nothing_behind(
    shared: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.purge(tag="before")
    mark = shared.mark()

    def die() -> None:
        monkeypatch.setattr(Notices, "_start", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        shared.purge(tag="never")

    assert ended(forked(die)) == -signal.SIGKILL
    assert shared.mark() == mark
    shared.purge(tag="after")
    assert shared.after(mark) == [Notice(TAG, b"after")]


def test_while_one_stands_still_with_the_lock_all_forget_everything_rather_than_miss_something(
    shared: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiogateway.stores.locks.PATIENCE", 50_000_000)
    mark = shared.mark()

    def stand_still() -> None:
        monkeypatch.setattr(Notices, "_start", lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
        shared.purge(tag="late")

    pid = forked(stand_still)
    try:
        os.waitpid(pid, os.WUNTRACED)
        shared.purge(tag="now")
        told = shared.mark()
        assert told != mark and shared.after(mark) is None
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    assert shared.after(mark) is None and shared.after(told) == []


def test_who_fell_behind_the_ring_is_told_so(shared: Notices) -> None:
    mark = shared.mark()
    for number in range(RING - 1):
        shared.purge(tag=str(number))
    assert shared.after(mark) == [Notice(TAG, b"%d" % number) for number in range(RING - 1)]
    shared.purge(tag="one too many")
    assert shared.after(mark) is None


@pytest.mark.parametrize(
    "other", [Key("http://a", "/b", "?c"), Key("http://a/", "b", "?c"), Key("http://a", "/b?c", "")]
)
def test_keys_that_look_alike_when_joined_have_names_of_their_own(other: Key) -> None:
    assert (name_of(other) == name_of(Key("http://a", "/b", "?c"))) is (other == Key("http://a", "/b", "?c"))
