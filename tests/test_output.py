"""Log lines never keep anybody waiting, and come out whole."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from aiogateway.output import Output

LINE = b'{"n":"%06d","pad":"' + b"x" * 100 + b'"}\n'


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for number in (reading, writing):
        try:
            os.close(number)
        except OSError:  # the test closed it
            continue


def read_all(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()


def test_lines_come_out_in_order_and_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = Output(writing)
    output.write(b"before the start\n")
    output.start()
    for number in range(100):
        output.write(LINE % number)
        if number % 7 == 0:
            output.flush()
    output.close()
    os.close(writing)
    assert read_all(reading) == b"before the start\n" + b"".join(LINE % number for number in range(100))
    assert output.lost == 0


def test_who_stops_reading_holds_nobody_up_and_costs_lines_that_are_counted(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    capacity = 100_000
    output = Output(writing, capacity)
    output.start()
    for number in range(20_000):  # would never end if it waited for a reader
        output.write(LINE % number)
        output.flush()
    assert output.lost > 10_000
    lost = output.lost
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(read_all(reading)))
    reader.start()
    output.close()
    os.close(writing)
    reader.join(30)
    lines = b"".join(got).splitlines()
    events = [orjson.loads(line) for line in lines]
    told = [event for event in events if event.get("event") == "log lines were lost"]
    assert sum(event["count"] for event in told) == lost
    assert len(events) - len(told) == 20_000 - lost


def test_a_pipe_that_nobody_reads_any_more_costs_lines_only(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = Output(writing)
    os.close(reading)
    output.start()
    output.write(b"a\n")
    output.write(b"b\n")
    output.close()
    assert output.lost == 2
    output.write(b"c\n")


def test_a_pipe_made_non_blocking_by_somebody_loses_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
    output = Output(writing)
    output.start()
    lines = [LINE % number for number in range(5000)]
    for line in lines:
        output.write(line)
    output.flush()
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(read_all(reading)))
    reader.start()
    output.close()
    os.close(writing)
    reader.join(30)
    assert b"".join(got) == b"".join(lines) and output.lost == 0


def test_a_file_that_takes_nothing_does_not_end_the_program() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        output = Output(full.fileno())
        output.start()
        output.write(b"a\n")
        output.close()
        assert output.lost == 1


WRITER = """
import sys
from aiogateway.output import Output

output = Output()
output.start(shared=True)
for number in range(300):
    output.write(sys.argv[1].encode() * (50 + 13 * number % 3000) + b"\\n")
    if number % 11 == 0:
        output.flush()
output.close()
"""


def test_lines_of_several_processes_never_run_together(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, letter], stdout=writing) for letter in "abc"]
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        lines = file.read().splitlines()
    assert [process.wait(20) for process in processes] == [0, 0, 0]
    assert len(lines) == 900 and all(len(set(line)) == 1 for line in lines)
