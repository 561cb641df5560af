"""The gateway's own answers: what the contract says each code looks like."""

from __future__ import annotations

from typing import Any

from .client import Response

MEMBERS = {"type", "title", "status", "detail", "code", "origin", "retryable", "request_id"}
STATUSES = {
    "upstream_circuit_open": (503, "upstream"),
    "overloaded": (503, "gateway"),
    "bad_request": (400, "client"),
    "route_not_found": (404, "client"),
    "method_not_allowed": (405, "client"),
    "request_timeout": (408, "client"),
    "body_too_large": (413, "client"),
    "uri_too_long": (414, "client"),
    "expectation_failed": (417, "client"),
    "header_too_large": (431, "client"),
    "upstream_bad_response": (502, "upstream"),
    "upstream_tls": (502, "upstream"),
    "not_in_cache": (504, "gateway"),
    "upstream_unreachable": (503, "upstream"),
    "upstream_pool_exhausted": (503, None),
    "upstream_timeout": (504, "upstream"),
    "loop_detected": (508, None),
}
"""Codes of the contract, with their status and, where the contract leaves no choice, their origin."""


def assert_problem(
    response: Response, code: str, status: int | None = None, origin: str | None = None
) -> dict[str, Any]:
    """Assert that a response is the problem document that the contract asks for. Returns the document.

    `status` and `origin` are given for codes that have no fixed one (`upstream_error`).
    """
    known_status, known_origin = STATUSES.get(code, (status, origin))
    assert response.status == known_status, f"{response.head.start!r} {response.body.kept[:300]!r}"
    assert response.value("content-type") == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert set(document) == MEMBERS
    assert document["type"] == "about:blank"
    assert document["code"] == code, document
    assert document["status"] == known_status
    assert document["title"]
    assert document["detail"]
    assert document["origin"] == (known_origin or document["origin"])
    assert document["origin"] in ("client", "gateway", "upstream")
    assert document["request_id"] == response.value("x-request-id")
    assert isinstance(document["retryable"], bool)
    if known_status == 503 and code != "upstream_error":
        assert (response.value("retry-after") is not None) == document["retryable"]
    return document
