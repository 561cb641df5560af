"""The table of codes, and the answers made from it."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from aiogateway.errors import CODES, Problem, title_of

CONTRACT = {
    400: {"bad_request", "recaptcha_failed"},
    401: {"unauthenticated"},
    403: {"forbidden"},
    404: {"route_not_found"},
    405: {"method_not_allowed"},
    408: {"request_timeout"},
    413: {"body_too_large"},
    414: {"uri_too_long"},
    415: {"unsupported_form"},
    417: {"expectation_failed"},
    426: {"upgrade_required"},
    429: {"rate_limited"},
    431: {"header_too_large"},
    499: {"client_closed"},
    500: {"internal"},
    501: {"not_implemented"},
    502: {"upstream_bad_response", "upstream_tls"},
    503: {
        "upstream_unreachable",
        "upstream_pool_exhausted",
        "upstream_circuit_open",
        "overloaded",
        "draining",
        "recaptcha_unconfigured",
        "recaptcha_unavailable",
        "auth_unavailable",
    },
    504: {"upstream_timeout", "not_in_cache"},
    505: {"http_version_not_supported"},
    508: {"loop_detected"},
}


def test_the_table_has_the_codes_of_the_contract_with_their_statuses() -> None:
    statuses = {code: row.status for code, row in CODES.items() if code != "upstream_error"}
    assert statuses == {code: status for status, codes in CONTRACT.items() for code in codes}
    assert "upstream_error" in CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_row_says_who_failed_and_reads_as_a_sentence(code: str) -> None:
    row = CODES[code]
    assert row.origin in {"client", "gateway", "upstream"}
    assert row.detail and not row.detail.endswith(".")
    assert row.title == title_of(row.status)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_503_that_may_be_repeated_says_when(code: str) -> None:
    problem = Problem(code)
    names = [name for name, _ in problem.headers]
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE and CODES[code].retryable:
        assert names == ["Retry-After"]
    else:
        assert names == []


def test_the_body_has_the_members_of_the_contract_in_their_order() -> None:
    body = Problem("upstream_unreachable", "the crawling service can't be reached").body("r-1")
    assert list(json.loads(body).items()) == [
        ("type", "about:blank"),
        ("title", "Service Unavailable"),
        ("status", 503),
        ("detail", "the crawling service can't be reached"),
        ("code", "upstream_unreachable"),
        ("origin", "upstream"),
        ("retryable", True),
        ("request_id", "r-1"),
    ]


def test_a_problem_without_a_detail_has_the_code_s_own() -> None:
    assert Problem("recaptcha_failed").detail == "Invalid reCAPTCHA"


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (404, "Not Found"),
        (413, "Content Too Large"),
        (499, "Client Closed Request"),
        (599, "Server Error"),
        (450, "Client Error"),
    ],
)
def test_an_upstream_s_status_is_kept_and_titled(status: int, title: str) -> None:
    problem = Problem("upstream_error", status=status)
    assert problem.status == status
    assert json.loads(problem.body("x"))["title"] == title
    assert json.loads(problem.body("x"))["status"] == status


def test_a_retry_after_that_is_given_is_not_doubled() -> None:
    assert Problem("overloaded", headers=(("retry-after", "7"),)).headers == (("retry-after", "7"),)


def test_headers_are_kept_beside_a_default_retry_after() -> None:
    assert Problem("draining", headers=(("Connection", "close"),)).headers == (
        ("Connection", "close"),
        ("Retry-After", "1"),
    )


def test_a_code_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(KeyError):
        Problem("no_such_code")
