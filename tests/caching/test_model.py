"""What is stored and given over time, held against a small model of RFC 9111.

The model never reads a field: it knows what an answer says because it drew that before any field was written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from email.utils import formatdate

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from aiogateway.caching.conditions import renewed, validators
from aiogateway.caching.entry import Entry
from aiogateway.caching.freshness import Use, may_stand_in, use, wish_of
from aiogateway.caching.storing import entry_of, matches

from .answers import NOW, asked, headers, raw

SECONDS = st.sampled_from([0, 1, 5, 20, 60])
MAYBE = st.none() | SECONDS
RARELY = st.sampled_from([False, False, False, True])


@dataclass(frozen=True)
class Answer:
    """What a service says; seconds, None for what it does not say."""

    max_age: int | None
    s_maxage: int | None
    expires: int | None
    revalidating: int | None
    if_error: int | None
    words: frozenset[str]
    age: int | None
    dated: int
    vary: tuple[str, ...]
    etag: str
    cookie: bool

    def lines(self, now: float) -> list[str]:
        seconds = {
            "max-age": self.max_age,
            "s-maxage": self.s_maxage,
            "stale-while-revalidate": self.revalidating,
            "stale-if-error": self.if_error,
        }
        said = [*sorted(self.words), *(f"{name}={value}" for name, value in seconds.items() if value is not None)]
        found = [f"Date: {formatdate(now - self.dated, usegmt=True)}"]
        if said:
            found.append(f"Cache-Control: {', '.join(said)}")
        if self.expires is not None:
            found.append(f"Expires: {formatdate(now - self.dated + self.expires, usegmt=True)}")
        if self.age is not None:
            found.append(f"Age: {self.age}")
        if self.vary:
            found.append(f"Vary: {', '.join(self.vary)}")
        if self.etag:
            found.append(f"ETag: {self.etag}")
        if self.cookie:
            found.append("Set-Cookie: a=b")
        return found

    @property
    def lifetime(self) -> int:
        """RFC 9111 section 4.2.1."""
        return next((said for said in (self.s_maxage, self.max_age, self.expires) if said is not None), 0)

    @property
    def may_be_stale(self) -> bool:
        """RFC 9111 section 4.2.4, and 5.2.2.10 for `s-maxage`."""
        return self.s_maxage is None and not self.words & {"must-revalidate", "proxy-revalidate", "no-cache"}

    def may_be_kept(self, *, authorized: bool) -> bool:
        """RFC 9111 sections 3 and 3.5, and the gateway's own rule for `Set-Cookie`."""
        if self.words & {"no-store", "private"} or "*" in self.vary or self.cookie:
            return False
        if "public" not in self.words and (self.max_age, self.s_maxage, self.expires) == (None, None, None):
            return False
        return not authorized or self.s_maxage is not None or bool(self.words & {"public", "must-revalidate"})


ANSWERS = st.builds(
    Answer,
    max_age=MAYBE,
    s_maxage=st.none() | st.none() | SECONDS,
    expires=MAYBE,
    revalidating=MAYBE,
    if_error=MAYBE,
    words=st.frozensets(
        st.sampled_from(["no-store", "private", "no-cache", "must-revalidate", "proxy-revalidate", "public", "other"]),
        max_size=2,
    ),
    age=MAYBE,
    dated=SECONDS,
    vary=st.sampled_from([(), (), ("Accept",), ("accept", "X-A"), ("X-A",), ("*",)]),
    etag=st.sampled_from(["", '"1"', '"2"', 'W/"1"']),
    cookie=RARELY,
)


@dataclass(frozen=True)
class Asks:
    """A request: what selects its answer, and what it wishes."""

    fields: tuple[str, ...]
    authorized: bool
    no_cache: bool
    max_age: int | None
    min_fresh: int | None
    max_stale: int | None

    def lines(self) -> list[str]:
        seconds = {"max-age": self.max_age, "min-fresh": self.min_fresh, "max-stale": self.max_stale}
        said = [f"{name}={value}" for name, value in seconds.items() if value is not None]
        said += ["no-cache"] * self.no_cache
        return [*self.fields, *([f"Cache-Control: {', '.join(said)}"] if said else [])]

    def value(self, name: str) -> str | None:
        found = [line.partition(": ")[2] for line in self.fields if line.lower().startswith(f"{name.lower()}:")]
        return found[0] if found else None


ASKS = st.builds(
    Asks,
    fields=st.sampled_from([(), ("Accept: a",), ("Accept: b",), ("X-A: 1",), ("Accept: a", "X-A: 1")]),
    authorized=RARELY,
    no_cache=RARELY,
    max_age=st.none() | MAYBE,
    min_fresh=st.none() | MAYBE,
    max_stale=MAYBE,
)


@dataclass
class Given:
    """An answer that was given once: what it said last, to whom, when that was sent and came."""

    answer: Answer
    to: Asks
    sent: float
    came: float

    def age(self, now: float) -> float:
        """RFC 9111 section 4.2.3."""
        return max(self.answer.dated, (self.answer.age or 0) + self.came - self.sent) + now - self.came

    def permitted(self, request: Asks, now: float, *, failed: bool = False) -> bool:
        """Whether it may be given to a request without being validated, as sections 4 and 5.2 have it."""
        said, age = self.answer, self.age(now)
        if not said.may_be_kept(authorized=self.to.authorized) or "no-cache" in said.words or request.no_cache:
            return False
        if any(request.value(name) != self.to.value(name) for name in said.vary):
            return False
        stale = age - said.lifetime
        if stale >= 0:
            allowed = max(request.max_stale or 0, (said.if_error if failed else said.revalidating) or 0)
            return said.may_be_stale and allowed > 0 and stale <= allowed
        if failed:
            return True
        return age <= (math.inf if request.max_age is None else request.max_age) and -stale >= (request.min_fresh or 0)


class CacheModel(RuleBasedStateMachine):
    """Time passes, clients ask, services answer; every decision is the code's, and each is judged by the model."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.entries: list[Entry] = []
        self.given: dict[str, Given] = {}

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 5.0, 21.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def it_is_changed(self) -> None:
        self.entries.clear()

    @rule(request=ASKS, answer=ANSWERS, took=st.sampled_from([0.0, 2.0]), fails=RARELY, same=st.booleans())
    def a_client_asks(self, request: Asks, answer: Answer, took: float, fails: bool, same: bool) -> None:
        to = asked(*request.fields, authorized=request.authorized, at=self.now)
        wish = wish_of(headers(*request.lines()))
        entry = next((each for each in self.entries if matches(each, to.source, to.selecting)), None)
        if entry is not None:
            was = self.given[entry.id]
            assert entry.age(self.now) == was.age(self.now)
            if use(entry.freshness, entry.age(self.now), wish) is not Use.VALIDATE:
                assert was.permitted(request, self.now)
                return
            plain = Asks(request.fields, request.authorized, False, None, None, None)
            assert request != plain or not was.permitted(plain, self.now)
            if fails:
                if may_stand_in(entry.freshness, entry.age(self.now), wish):
                    assert was.permitted(request, self.now, failed=True)
                return
        else:
            self._nothing_was_overlooked(request)
        sent, self.now = self.now, self.now + took
        if entry is not None and same:
            self._validated(entry, request, answer, sent)
        else:
            self._answered(request, answer, sent)

    def _nothing_was_overlooked(self, request: Asks) -> None:
        for each in self.entries:
            assert not self.given[each.id].permitted(request, self.now)

    def _answered(self, request: Asks, answer: Answer, sent: float) -> None:
        to = asked(*request.fields, authorized=request.authorized, at=sent)
        lines = answer.lines(self.now)
        made = entry_of(200, headers(*lines), raw(*lines), to, self.now, size=1, encodable=False)
        given = Given(answer, request, sent, self.now)
        if made is None:
            wish = Asks(request.fields, request.authorized, False, None, None, None)
            assert not given.permitted(wish, self.now)
            return
        assert answer.may_be_kept(authorized=request.authorized)
        self._keep(made, given)

    def _validated(self, entry: Entry, request: Asks, answer: Answer, sent: float) -> None:
        """The service says 304, and of the fields whatever it would have said with a body."""
        was = self.given[entry.id]
        assert dict(validators(entry)).get(b"If-None-Match", b"").decode() == was.answer.etag
        to = asked(*request.fields, authorized=request.authorized, at=sent)
        # RFC 9111 section 3.2: what is named replaces what is stored. Here all that the model knows of is.
        expires = was.answer.expires if answer.expires is None else answer.expires
        said = replace(
            answer,
            words=answer.words | {"other"},
            expires=expires,
            vary=answer.vary or was.answer.vary,
            etag=answer.etag or was.answer.etag,
        )
        lines = said.lines(self.now)
        found = renewed(entry, headers(*lines), raw(*lines), to, self.now)
        self.entries.remove(entry)
        if found is not None:
            assert said.etag in (was.answer.etag, f"W/{was.answer.etag}")
            assert said.may_be_kept(authorized=request.authorized)
            self._keep(found, Given(said, request, sent, self.now))

    def _keep(self, entry: Entry, given: Given) -> None:
        self.entries = [entry, *(each for each in self.entries if each.vary != entry.vary)]
        self.given[entry.id] = given


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
