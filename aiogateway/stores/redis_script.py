"""What Redis is asked, and what its answers say: one script, its arguments, its verdicts.

Rules: the windows are those of `windows`, with times in microseconds, by the server's clock. That may be put back, so
what lies ahead of it counts as now, up to a period ahead. A log is a list of times, the newest first; sub-windows are a
hash of counts by number. Both are bounded, and expire once their events have passed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from aiogateway.stores.checks import Checks, Unavailable
from aiogateway.stores.windows import LOGGED_UP_TO, SUB_WINDOWS, Verdict

# No name of anybody can be read in a key. All are in one slot of a cluster, for a check may touch any of them.
PREFIX: Final = "aiogateway:limit:{counters}:"

_MICROSECONDS: Final = 10**6

# KEYS: a counter for each check. ARGV, for each: 1 when it is logged, limit, period in microseconds.
# The answer has, for each: 1 when admitted, what remains, and the reset in microseconds.
SCRIPT: Final = (
    f"""
local SUB_WINDOWS, LOGGED_UP_TO = {SUB_WINDOWS}, {LOGGED_UP_TO}
"""
    + """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function number(value) return string.format('%.0f', value) end

-- Each count that is in the window, with when it leaves. What lies ahead of the clock, for that may be put back, counts
-- as now, up to a period ahead; further ahead, or passed, it is stale.
local function read(key, logged, period)
    local counts, stale, total = {}, {}, 0
    local width = period / SUB_WINDOWS
    local current = math.floor(now / width)
    local function add(field, place, newest, most, leaves, count)
        if math.abs(newest - place) > most then
            stale[#stale + 1] = field
        else
            counts[#counts + 1] = {leaves, count}
            total = total + count
        end
    end
    if logged then
        for _, field in ipairs(redis.call('LRANGE', key, 0, -1)) do
            local at = tonumber(field)
            add(field, at, now, period, math.min(at, now) + period + 1, 1)
        end
    else
        local fields = redis.call('HGETALL', key)
        for n = 1, #fields, 2 do
            local index = tonumber(fields[n])
            local leaves = (math.min(index, current) + SUB_WINDOWS + 1) * width
            add(fields[n], index, current, SUB_WINDOWS, leaves, tonumber(fields[n + 1]))
        end
    end
    table.sort(counts, function(one, other) return one[1] < other[1] end)
    local own = logged and now + period + 1 or (current + SUB_WINDOWS + 1) * width
    return {counts = counts, stale = stale, total = total, current = current, own = own}
end

-- When so many events of a counter will have left.
local function left(counter, count)
    for _, each in ipairs(counter.counts) do
        count = count - each[2]
        if count <= 0 then return each[1] end
    end
    return counter.own
end

local found, counters, admitted = {}, {}, true
for n, key in ipairs(KEYS) do
    local logged, limit, period = ARGV[3 * n - 2] == '1', tonumber(ARGV[3 * n - 1]), tonumber(ARGV[3 * n])
    found[key] = found[key] or read(key, logged, period)
    counters[n] = found[key]
    admitted = admitted and found[key].total < limit
end

local answer = {}
for n, key in ipairs(KEYS) do
    local logged, limit, period = ARGV[3 * n - 2] == '1', tonumber(ARGV[3 * n - 1]), tonumber(ARGV[3 * n])
    local counter = counters[n]
    local room, reset = limit - counter.total, 0
    if room <= 0 then
        reset = left(counter, 1 - room) - now
    elseif admitted or counter.total > 0 then
        reset = left(counter, 1) - now
    end
    answer[#answer + 1] = room > 0 and 1 or 0
    answer[#answer + 1] = number(math.max(admitted and room - 1 or room, 0))
    answer[#answer + 1] = number(reset)
    if admitted and not counter.counted then
        counter.counted = true
        if logged then
            redis.call('LPUSH', key, number(now))
            redis.call('LTRIM', key, 0, LOGGED_UP_TO - 1)
        else
            redis.call('HINCRBY', key, number(counter.current), 1)
            for _, field in ipairs(counter.stale) do redis.call('HDEL', key, field) end
        end
        redis.call('PEXPIRE', key, number(math.ceil(period / 1000 * (1 + 1 / SUB_WINDOWS)) + 1000))
    end
end
return table.concat(answer, ' ')
"""
)
SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

Command = tuple[str | int, ...]


def command_for(checks: Checks) -> Command:
    """What runs the script for some checks."""
    keys = [PREFIX + hashlib.blake2b(policy.label + _bytes(who), digest_size=16).hexdigest() for policy, who in checks]
    return ("EVALSHA", SHA, len(keys), *keys, *_arguments(checks))


def _bytes(who: str) -> bytes:
    return who.encode("utf-8", "surrogatepass")


def _arguments(checks: Checks) -> Iterator[int]:
    for policy, _ in checks:
        yield from (int(policy.logged), policy.limit, policy.period * _MICROSECONDS)


def verdicts_from(reply: object, count: int) -> list[Verdict]:
    """What the script says.

    :param reply: its answer, or the error that came instead.
    :param count: of how many checks.
    :raises Unavailable: it is an error, or no answer of the script's.
    """
    if isinstance(reply, Exception):
        raise Unavailable(type(reply).__name__)
    try:
        numbers = [int(word) for word in reply.split()] if isinstance(reply, bytes) else []
        admitted, remaining, resets = numbers[0::3], numbers[1::3], numbers[2::3]
        return [
            Verdict(admits == 1, remains, reset / _MICROSECONDS)
            for _, admits, remains, reset in zip(range(count), admitted, remaining, resets, strict=True)
        ]
    except (ValueError, OverflowError):
        raise Unavailable("no answer of the script") from None
