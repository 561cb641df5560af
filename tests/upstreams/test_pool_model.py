"""The pool under any order of events, cancellation at any point among them."""

from __future__ import annotations

import asyncio
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aiogateway.deadlines import Deadlines
from aiogateway.errors import Problem
from aiogateway.metrics import Count
from aiogateway.upstreams.connection import UpstreamConnection
from aiogateway.upstreams.pool import SURPLUS, Pool
from tests.clock import Clock
from tests.upstreams.standing import Connections, Standing, Waited, limits

Taker = asyncio.Task[UpstreamConnection]


class PoolModel(RuleBasedStateMachine):
    """Requests come, wait, connect, give back, fail and are cancelled; the loop turns only when a rule says so."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.made = Connections(self.clock)
        self.made.hold = True
        self.takers: list[Taker] = []
        self.held: list[UpstreamConnection] = []
        self.streams: list[UpstreamConnection] = []

    @initialize(
        max_connections=st.integers(1, 3),
        max_keepalive=st.integers(0, 3),
        max_streams=st.integers(0, 2),
        max_pending=st.integers(0, 4),
    )
    def open(self, **chosen: int) -> None:
        self.limits = limits(**chosen)
        self.pool = Pool("b", self.limits, self.made.connect, self.deadlines, Count())

    def turn(self) -> None:
        """One turn of the loop: every callback that is ready runs once."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        for taker in [taker for taker in self.takers if taker.done()]:
            self.takers.remove(taker)
            if not taker.cancelled() and taker.exception() is None:
                self.held.append(taker.result())
            else:
                assert taker.cancelled() or isinstance(taker.exception(), Problem)

    @rule(fresh=st.booleans())
    def ask(self, fresh: bool) -> None:
        self.takers.append(self.loop.create_task(self.pool.acquire(Waited(), fresh=fresh)))

    @rule()
    def take(self) -> None:
        connection = self.pool.take()
        if connection is not None:
            assert connection.reused
            self.held.append(connection)

    @rule(turns=st.integers(1, 4))
    def time_goes_on(self, turns: int) -> None:
        for _ in range(turns):
            self.turn()

    @precondition(lambda self: self.takers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.takers)).cancel()

    @precondition(lambda self: self.made.connecting)
    @rule(data=st.data(), fails=st.booleans())
    def connect(self, data: st.DataObject, fails: bool) -> None:
        number = data.draw(st.integers(0, len(self.made.connecting) - 1))
        self.made.finish(number, Problem("upstream_unreachable") if fails else None)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["release", "release", "discard", "establish"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        connection = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        match how:
            case "release":
                self.pool.release(connection)
            case "discard":
                self.pool.discard(connection)
            case _:
                try:
                    self.pool.establish(connection)
                except Problem:
                    assert self.pool.streams == self.limits.max_streams
                    self.held.append(connection)
                else:
                    self.streams.append(connection)

    @precondition(lambda self: self.streams)
    @rule()
    def end_stream(self) -> None:
        self.pool.end_stream(self.streams.pop())

    @precondition(lambda self: self.made.open())
    @rule(data=st.data())
    def upstream_closes(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.made.open())).alive = False

    @rule(seconds=st.sampled_from([0.01, SURPLUS, 4.0, 6.0, 6.0, 301.0]))
    def clock_goes_on(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.deadlines.sweep()

    @rule()
    def sweep(self) -> None:
        self.clock.advance(SURPLUS)
        self.pool.sweep()
        assert self.pool.idle <= self.limits.max_keepalive
        assert all(connection.alive for connection in self.idle())

    def idle(self) -> list[Standing]:
        """What is open, and neither held nor a stream."""
        in_use = {id(connection) for connection in self.held + self.streams}
        in_use |= {id(taker.result()) for taker in self.takers if self.served(taker)}
        return [connection for connection in self.made.open() if id(connection) not in in_use]

    @staticmethod
    def served(taker: Taker) -> bool:
        return taker.done() and not taker.cancelled() and taker.exception() is None

    @invariant()
    def places_are_within_the_limits(self) -> None:
        if not hasattr(self, "pool"):
            return
        assert 0 <= self.pool.in_use <= self.limits.max_connections
        assert 0 <= self.pool.streams == len(self.streams) <= self.limits.max_streams
        assert self.pool.pending <= self.limits.max_pending
        served = sum(map(self.served, self.takers))
        assert len(self.held) + served + len(self.made.connecting) <= self.pool.in_use
        assert len(self.idle()) == self.pool.idle
        assert len(self.made.open()) + len(self.made.connecting) <= self.limits.max_connections + self.pool.streams
        assert len({id(connection) for connection in self.held + self.streams}) == len(self.held + self.streams)
        assert not any(cast(Standing, connection).closed for connection in self.held + self.streams)

    @invariant()
    def no_one_waits_while_a_place_is_free(self) -> None:
        if hasattr(self, "pool") and self.pool.pending:
            assert self.pool.in_use == self.limits.max_connections

    def teardown(self) -> None:
        """When all is given back and all takers have left, every place is free and every connection closed."""
        if hasattr(self, "pool"):
            for taker in self.takers:
                taker.cancel()
            while self.takers:
                self.turn()
            for connection in self.held:
                self.pool.discard(connection)
            for connection in self.streams:
                self.pool.end_stream(connection)
            self.pool.close()
            self.turn()
            assert (self.pool.in_use, self.pool.streams, self.pool.pending, self.pool.idle) == (0, 0, 0, 0)
            assert self.made.open() == []
            assert len(self.deadlines) == 0
        self.loop.close()


PoolModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPool = PoolModel.TestCase


class Arrivals(RuleBasedStateMachine):
    """One place, and many who want it: who still wants it is served in the order of arrival."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.pool = Pool("b", limits(max_connections=1), Connections(self.clock).connect, self.deadlines, Count())
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.served: list[int] = []
        self.enough: list[asyncio.Event] = []

    async def _use(self, number: int) -> None:
        connection = await self.pool.acquire(Waited())
        self.served.append(number)
        try:
            await self.enough[number].wait()
        finally:
            self.pool.release(connection)

    @rule()
    def come(self) -> None:
        number = len(self.tasks)
        self.enough.append(asyncio.Event())
        self.tasks[number] = self.loop.create_task(self._use(number))
        self.turn()

    @precondition(lambda self: self.served)
    @rule()
    def have_enough(self) -> None:
        self.enough[self.served[-1]].set()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.tasks)))
        self.tasks[number].cancel()

    @rule()
    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    @invariant()
    def the_served_came_in_their_order(self) -> None:
        assert self.served == sorted(self.served)

    def teardown(self) -> None:
        for enough in self.enough:
            enough.set()
        for _ in range(4 * len(self.tasks) + 4):
            self.turn()
        self.the_served_came_in_their_order()
        assert all(task.done() for task in self.tasks.values())
        left = {number for number, task in self.tasks.items() if task.cancelled()}
        assert set(self.served) | left == set(self.tasks), "who stayed was served"
        assert (self.pool.in_use, self.pool.pending) == (0, 0)
        self.loop.close()


Arrivals.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestArrivals = Arrivals.TestCase
