"""Times of gateways that run, beside what the model says: bursts to one of them, and what a low rate keeps busy.

A burst to an idle worker is a queue that empties: small loads, and waits all the same.
"""

from __future__ import annotations

import random
import selectors
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final

from benchmarks import processes
from benchmarks.capacity import measured, queueing
from tests.e2e.harness import Gateway, request

SEED: Final = 9
BURSTS: Final = 60
BURST_SIZES: Final = (1, 4, 16, 32)
# Requests a second to each gateway, and for how many seconds.
RATE: Final = 25.0
SECONDS: Final = 8.0


def burst(connections: Sequence[socket.socket], data: bytes) -> list[float]:
    """Seconds from the first byte sent to each answer, when all ask at once."""
    with selectors.DefaultSelector() as ready:
        began = time.perf_counter()
        for connection in connections:
            connection.sendall(data)
            ready.register(connection, selectors.EVENT_READ)
        taken: list[float] = []
        while len(taken) < len(connections):
            for key, _ in ready.select(10):
                assert isinstance(key.fileobj, socket.socket)
                taken.append(time.perf_counter() - began)
                key.fileobj.recv(65536)
                ready.unregister(key.fileobj)
        return taken


def occupied(pid: int) -> float:
    """Seconds in which a worker worked or waited for the core that it shares: for its queue, both are work."""
    return processes.cpu_seconds(pid) + sum(map(processes.waited_seconds, processes.tree(pid)))


def bursts(gateway: Gateway, repeated: int = BURSTS) -> Iterator[tuple[int, float, float, float]]:
    """Of each size: mean time measured, the same by the formula, and the worker's seconds for a request."""
    pid, data = gateway.process.pid, request("GET", "/stored")
    gateway.ask(data)
    alone = 0.0
    for size in BURST_SIZES:
        with ExitStack() as stack:
            open_ = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(size)]
            burst(open_, data)
            before, taken = occupied(pid), []
            for _ in range(repeated):
                taken += burst(open_, data)
                time.sleep(0.02)
            cost = (occupied(pid) - before) / len(taken)
        mean = statistics.mean(taken)
        alone = alone or mean - cost  # what isn't the worker's: the network, the client
        yield size, mean, alone + queueing.burst_mean_time(size, cost), cost


def utilisations(gateways: Sequence[Gateway], seconds: float = SECONDS) -> Iterator[tuple[float, float]]:
    """Of each gateway, at a low rate and random times: cores that it used beyond those of rest, and its rate."""
    idle = [processes.cpu_seconds(each.process.pid) for each in gateways]
    time.sleep(seconds)
    rests = [processes.cpu_seconds(each.process.pid) - was for each, was in zip(gateways, idle, strict=True)]
    chance, data = random.Random(SEED), request("GET", "/free")
    with ExitStack() as stack:
        open_ = [stack.enter_context(each.client()) for each in gateways]
        before = [processes.cpu_seconds(each.process.pid) for each in gateways]
        sent, began = [0] * len(gateways), time.monotonic()
        at = 0.0
        while (at := at + chance.expovariate(RATE * len(gateways))) < seconds:
            time.sleep(max(began + at - time.monotonic(), 0))
            place = chance.randrange(len(gateways))
            open_[place].ask(data)
            sent[place] += 1
        took = time.monotonic() - began
        for gateway, used, rest, count in zip(gateways, before, rests, sent, strict=True):
            yield (processes.cpu_seconds(gateway.process.pid) - used) / took - rest / seconds, count / took


def show(gateways: Sequence[Gateway], repeated: int = BURSTS, seconds: float = SECONDS) -> None:
    """Print what is said of times, and what was measured."""
    figures = measured.load()
    get, hit = (figures[name].value for name in ("get_us", "hit_of_proxied"))
    print(f"\n{'bursts to one idle gateway':32} {'said, ms':>10} {'mean, ms':>10} {'ratio':>6}")
    found = list(bursts(gateways[0], repeated))
    for size, mean, said, cost in found:
        told = f"{size} at once, {cost * 1e6:.0f} µs each"
        print(f"{told:32} {said * 1e3:10.2f} {mean * 1e3:10.2f} {mean / said:6.2f}")
    (small, less, _, _), (large, more, _, cost) = found[-2:]
    grew = (more - less) / (large - small) * 1e6
    print(f"each further request adds {grew:.0f} µs to the mean; said: {cost / 2 * 1e6:.0f}, half of the time of one")
    print(f"a stored answer of a busy worker is said to take {get * hit:.0f} µs of CPU")
    print(f"\n{'utilisation, low rate':32} {'said':>10} {'measured':>10} {'ratio':>6}")
    for number, (used, rate) in enumerate(utilisations(gateways, seconds)):
        said = rate * get / 1e6
        print(f"{f'gateway {number + 1}, {rate:.1f} a second':32} {said:10.4f} {used:10.4f} {used / said:6.2f}")
