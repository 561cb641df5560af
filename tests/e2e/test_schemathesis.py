"""The demo keeps what the OpenAPI document promises: schemathesis makes requests of it, and judges the answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from aiogateway.routes import configure

from .harness import Gateway, running

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SETTINGS: Final = {"GATEWAY_AUTH_FAIL_LIMIT": "off", "GATEWAY_PUBLIC_DOCS": "true", "GATEWAY_RATE_LIMIT": "off"}
CATEGORIES: Final = sorted({route.category for route in configure({"GATEWAY_AUTH_MODE": "off"})[1].routes})
LOGINS: Final = {"nobody": "", "a user": "/v2/login", "a superadmin": "/v2/admin-login"}
FORM: Final = "Content-Type: application/x-www-form-urlencoded"
# An answer takes a second and a half, event by event.
STREAMS: Final = re.compile(r"/v2/get-response-3dchatbot-v(7-live|8-split)")


@pytest.fixture(scope="module")
def demo() -> Iterator[Gateway]:
    """`aiogateway demo` without limits."""
    with running(None, "demo", JWT_SECRET="", GATEWAY_AUTH_MODE="", **SETTINGS) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def tokens(demo: Gateway) -> dict[str, dict[str, str]]:
    """The fields that say who asks."""
    found: dict[str, dict[str, str]] = {}
    for who, path in LOGINS.items():
        found[who] = {}
        if path:
            answer = demo.send("POST", path, FORM, body=b"email=a%40b.c&password=p")
            found[who]["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return found


@pytest.fixture(scope="module")
def operations(demo: Gateway) -> dict[str, list[Any]]:
    """Every operation of the document, by category."""
    generation = GenerationConfig(with_security_parameters=False)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    schema: Any = schemathesis.openapi.from_dict(demo.admin("/openapi.json").json(), config=config)
    listed: dict[str, list[Any]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        listed.setdefault(operation.tags[0], []).append(operation)
    return listed


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def judge(operation: Any, mode: GenerationMode, base_url: str, headers: Mapping[str, str], examples: int) -> None:
    """Make a few requests of an operation, the same ones in every run, and judge their answers."""

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        case.call_and_validate(base_url=base_url, headers=dict(headers), checks=CHECKS, timeout=10)

    asked()


@pytest.mark.parametrize("who", LOGINS)
@pytest.mark.parametrize("category", CATEGORIES)
def test_every_operation_answers_as_the_document_says(
    demo: Gateway, tokens: dict[str, dict[str, str]], operations: dict[str, list[Any]], category: str, who: str
) -> None:
    listed = operations[category]
    assert listed
    for operation in listed:
        streams = STREAMS.search(operation.path) is not None
        if not (streams and who != "nobody"):
            judge(operation, GenerationMode.POSITIVE, f"http://127.0.0.1:{demo.port}", tokens[who], 1 if streams else 3)


def test_both_listeners_give_the_same_document(demo: Gateway) -> None:
    public, admin = demo.get("/openapi.json"), demo.admin("/openapi.json")
    assert (public.status, public.data) == (admin.status, admin.data)
    assert public.value("x-request-id")
    assert b'data-try-it-out="yes"' in demo.get("/docs").data
    assert b'data-try-it-out="no"' in demo.admin("/docs").data
