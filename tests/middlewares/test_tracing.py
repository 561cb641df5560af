"""Which trace a request belongs to, and what of it goes on."""

from __future__ import annotations

import re

import pytest

from aiogateway.middlewares.tracing import tracing
from aiogateway.proxy.request import Request
from tests.middlewares.asked import head, ok, request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
LINE = re.compile(r"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])(?:\r\ntracestate: (.*))?")


async def traced(*fields: str, sample: bool = False) -> Request:
    asked = request(head(*fields))
    await tracing(ok, sample=sample)(asked)
    return asked


def line_of(asked: Request) -> re.Match[str]:
    found = LINE.fullmatch(asked.trace_lines.decode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
async def test_a_clients_trace_is_continued_with_a_span_of_our_own(given: str, sampled: bool) -> None:
    asked = await traced(f"traceparent: {given}", sample=not sampled)
    record, line = asked.record, line_of(asked)
    assert (record.trace_id, record.parent_id, record.sampled) == (TRACE, SPAN, sampled)
    assert line[1] == TRACE and line[2] == record.span_id != SPAN and line[3] == ("01" if sampled else "00")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01x",
        f"{GOOD}, {GOOD}",
    ],
)
async def test_what_is_malformed_begins_a_new_trace_and_takes_its_state_along(given: str) -> None:
    asked = await traced(f"traceparent: {given}", "tracestate: a=1")
    record, line = asked.record, line_of(asked)
    assert TRACE not in asked.trace_lines.decode() and record.parent_id == "" and line[4] is None


async def test_two_traceparents_are_none() -> None:
    asked = await traced(f"traceparent: {GOOD}", f"traceparent: {GOOD}")
    assert asked.record.trace_id != TRACE


@pytest.mark.parametrize("sample", [False, True])
async def test_a_trace_that_begins_here_is_recorded_if_traces_go_somewhere(sample: bool) -> None:
    first, second = await traced(sample=sample), await traced(sample=sample)
    assert first.record.sampled is sample and line_of(first)[3] == ("01" if sample else "00")
    assert first.record.trace_id != second.record.trace_id and first.record.span_id != second.record.span_id


@pytest.mark.parametrize(
    ("states", "goes_on"),
    [
        (("a=1",), "a=1"),
        (("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (("a=1", "b=2"), "a=1,b=2"),
        (("a=1 ,\tb=2, ",), "a=1,b=2"),
        (("tenant@vendor=x",), "tenant@vendor=x"),
        (("a=1,a=2",), None),
        (("A=1",), None),
        (("a",), None),
        (("a=1;b=2",), None),
        (("a=" + "x" * 300,), None),
        ((",".join(f"k{number}=1" for number in range(33)),), None),
        (("",), None),
    ],
)
async def test_a_state_goes_on_when_it_is_well_formed(states: tuple[str, ...], goes_on: str | None) -> None:
    asked = await traced(f"traceparent: {GOOD}", *(f"tracestate: {state}" for state in states))
    assert line_of(asked)[4] == goes_on and asked.record.trace_id == TRACE


async def test_a_state_without_a_trace_is_dropped() -> None:
    assert line_of(await traced("tracestate: a=1"))[4] is None
