"""What the verifier's answers mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.recaptcha import FAILED, PASSED, UNAVAILABLE, UNCONFIGURED, Demands, outcome_of, problem_of

DEMANDS = Demands(0.5, frozenset())
GOOD = {"success": True, "hostname": "app.example.com"}


@pytest.mark.parametrize(
    ("answer", "action", "outcome"),
    [
        (GOOD, None, PASSED),
        ({**GOOD, "score": 0.5}, None, PASSED),
        ({**GOOD, "score": 1}, None, PASSED),
        ({**GOOD, "score": 0.49}, None, FAILED),
        ({**GOOD, "score": -1}, None, FAILED),
        ({**GOOD, "score": 0.9, "action": "login"}, "login", PASSED),
        ({**GOOD, "score": 0.9, "action": "Login"}, "login", FAILED),
        ({**GOOD, "score": 0.9, "action": "signup"}, "login", FAILED),
        ({**GOOD, "score": 0.9, "action": "signup"}, None, PASSED),
        (GOOD, "login", FAILED),
        ({"success": False}, None, FAILED),
        ({"success": False, "error-codes": ["timeout-or-duplicate"]}, None, FAILED),
        ({"success": False, "error-codes": ["invalid-input-secret"]}, None, UNCONFIGURED),
        ({"success": False, "error-codes": ["x", "missing-input-secret"]}, None, UNCONFIGURED),
        ({"success": False, "error-codes": "invalid-input-secret"}, None, FAILED),
        ({"success": False, "error-codes": [["invalid-input-secret"], 7]}, None, FAILED),
        (None, None, UNAVAILABLE),
        ([], None, UNAVAILABLE),
        ({}, None, UNAVAILABLE),
        ({"success": "true"}, None, UNAVAILABLE),
        ({"success": 1}, None, UNAVAILABLE),
        ({**GOOD, "score": "0.9"}, None, UNAVAILABLE),
        ({**GOOD, "score": True}, None, UNAVAILABLE),
        ({**GOOD, "score": {}}, None, UNAVAILABLE),
        ({**GOOD, "action": ["login"]}, "login", UNAVAILABLE),
        ({**GOOD, "hostname": ["app.example.com"]}, None, UNAVAILABLE),
    ],
)
def test_only_plain_success_passes(answer: object, action: str | None, outcome: str) -> None:
    assert outcome_of(answer, DEMANDS, action) == outcome


@pytest.mark.parametrize(
    ("hostname", "outcome"),
    [("app.example.com", PASSED), ("evil.example.com", FAILED), ("app.example.com.evil", FAILED), (None, FAILED)],
)
def test_the_page_must_have_been_on_a_listed_host(hostname: str | None, outcome: str) -> None:
    demands = Demands(0.5, frozenset({"app.example.com"}))
    assert outcome_of({"success": True, "hostname": hostname}, demands, None) == outcome


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["success", "score", "action", "hostname", "error-codes"]), JSON), st.booleans())
def test_nothing_but_success_in_so_many_words_passes(answer: dict[str, object], wants_action: bool) -> None:
    outcome = outcome_of(answer, DEMANDS, "login" if wants_action else None)
    assert outcome in {PASSED, FAILED, UNAVAILABLE, UNCONFIGURED}
    if outcome == PASSED:
        assert answer["success"] is True
        assert not wants_action or answer["action"] == "login"


def test_each_outcome_but_a_good_one_has_its_problem() -> None:
    told = {outcome: problem_of(outcome) for outcome in (PASSED, FAILED, UNAVAILABLE, UNCONFIGURED)}
    assert told[PASSED] is None
    assert {outcome: problem.status for outcome, problem in told.items() if problem is not None} == {
        FAILED: 400,
        UNAVAILABLE: 503,
        UNCONFIGURED: 503,
    }
