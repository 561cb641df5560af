"""The gateway's log: one line an event, in one form whoever wrote it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.programs import run

SETUP = """
import asyncio, logging, sys, structlog
from aiogateway import logs
logs.configure(sys.argv[1], sys.argv[2])
log = structlog.get_logger("aiogateway.test")
"""


def logged(text: str, level: str = "info", form: str = "json") -> list[str]:
    """The lines that a program logs."""
    ended = run(SETUP + text, level, form)
    assert (ended.stderr, ended.returncode) == ("", 0)
    return ended.stdout.splitlines()


def events(text: str, level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(text, level)]


def test_an_event_is_a_line_of_json_with_its_fields() -> None:
    (event,) = events('log.warning("connect failed", upstream="b", seconds=1.5, n=None)')
    when = datetime.fromisoformat(event.pop("timestamp"))
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60
    assert event == {"event": "connect failed", "level": "warning", "upstream": "b", "seconds": 1.5, "n": None}


def test_records_of_the_standard_library_come_out_in_the_same_form() -> None:
    own, foreign = events(
        'log.error("a b", x=1)\nlogging.getLogger("asyncio").error("%s took %.1f seconds", "it", 1.25)'
    )
    assert foreign["event"] == "it took 1.2 seconds"
    assert own.keys() - {"x"} == foreign.keys()
    assert own["level"] == foreign["level"] == "error"


@pytest.mark.parametrize("logger", ["log", 'logging.getLogger("aiohttp.server")'])
def test_an_exception_is_a_field_of_its_event(logger: str) -> None:
    (event,) = events(f'try:\n    1 / 0\nexcept ZeroDivisionError:\n    {logger}.exception("it failed")')
    assert (event["event"], event["level"]) == ("it failed", "error")
    assert "ZeroDivisionError: division by zero" in event["exception"]
    assert "exc_info" not in event


@pytest.mark.parametrize("logger", ["log", 'logging.getLogger("aiohttp.server")'])
def test_text_is_for_people_exceptions_too(logger: str) -> None:
    lines = logged(
        f'{logger}.error("it failed")\n'
        f'try:\n    1 / 0\nexcept ZeroDivisionError:\n    {logger}.exception("it failed again")',
        form="text",
    )
    assert "error" in lines[0] and "it failed" in lines[0]
    assert "ZeroDivisionError" in "\n".join(lines[1:])
    assert "\x1b" not in "".join(lines), "no colours where no terminal is"


LEVELS = ["debug", "info", "warning", "error", "critical"]


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_below_the_level_is_written(level: str) -> None:
    told = events("\n".join(f'log.{each}("e")' for each in LEVELS), level)
    assert [event["level"] for event in told] == LEVELS[LEVELS.index(level) :]


@pytest.mark.parametrize(("level", "least"), [("debug", "warning"), ("info", "warning"), ("error", "error")])
def test_of_libraries_only_warnings_and_worse_are_written(level: str, least: str) -> None:
    told = events("\n".join(f'logging.getLogger("x").{each}("e")' for each in LEVELS), level)
    assert [event["level"] for event in told] == LEVELS[LEVELS.index(least) :]


def test_what_has_no_json_form_is_told_nevertheless() -> None:
    (event,) = events('log.info("e", path=__import__("pathlib").Path("/a"), raw=b"x", many={1})')
    assert "/a" in event["path"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_text_that_utf_8_can_t_hold_is_told_nevertheless(form: str) -> None:
    """A path that a client wrote in raw bytes has such text; a log line that raises would cost it its answer."""
    (line,) = logged('log.error("e", path="/caf\\udce9")', form=form)
    assert "/caf" in line and "\udce9" not in line


def test_setting_it_up_twice_doubles_nothing() -> None:
    assert len(logged('logs.configure("info", "json")\nlogging.getLogger("x").error("e")\nlog.info("e")')) == 2
