"""The OpenAPI document: nothing of a table is lost in it, nothing inner is in it, and other programs can read it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from aiogateway.describe import methods_of
from aiogateway.errors import CODES
from aiogateway.openapi import document
from aiogateway.openapi.paths import places
from aiogateway.routes import Table, configure
from aiogateway.routes.patterns import parse, shape_of
from tests.config_folders import KEY, folder

SECRETS = {
    "JWT_SECRET": "jwt-secret-" + "k" * 32,
    "RECAPTCHA_SECRET_KEY": "recaptcha-secret",
    "GATEWAY_REDIS_URL": "redis://:redis-secret@redis.inner:6379/0",
    "GATEWAY_ADMIN_TOKEN": "admin-secret",
}
METHODS = {"get", "head", "post", "put", "patch", "delete"}


def packaged(**environ: str) -> tuple[Table, dict[str, Any]]:
    settings, table = configure({**SECRETS, **environ})
    return table, document(table, settings, "1.2.3")


def described(root: Path, routes: str, **environ: str) -> dict[str, Any]:
    """The document of a route file."""
    config = str(folder(root, f'upstream = "b"\n{routes}'))
    settings, table = configure({**KEY, "GATEWAY_CONFIG": config, **environ})
    return document(table, settings, "1.2.3")


def only(found: dict[str, Any], method: str = "post") -> dict[str, Any]:
    """The operation of the one path there is, its answers resolved."""
    [item] = found["paths"].values()
    operation: dict[str, Any] = item[method]
    answers = {status: resolved(found, answer) for status, answer in operation["responses"].items()}
    return {**operation, "responses": answers}


def resolved(found: dict[str, Any], reference: Mapping[str, str]) -> Any:
    for name in reference["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for template, item in found["paths"].items():
        for method, operation in item.items():
            yield template, method, operation


def faults_of(found: dict[str, Any]) -> list[str]:
    return [fault.message for fault in OPENAPI_31_VALIDATOR.iter_errors(orjson.loads(orjson.dumps(found)))]


def codes(answer: dict[str, Any]) -> list[str]:
    listed: list[str] = answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"][
        "enum"
    ]
    return listed


def test_every_method_of_every_route_is_there_once() -> None:
    table, found = packaged()
    listed = [(operation["x-route"], method) for _, method, operation in operations(found)]
    wanted = [(route.pattern, method.lower()) for route in table.routes for method in methods_of(route)]
    assert sorted(listed) == sorted(wanted)


def test_operations_have_their_category_and_names_of_their_own() -> None:
    table, found = packaged()
    names = [operation["operationId"] for _, _, operation in operations(found)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(get|post|put|patch|delete)_[A-Za-z0-9_]+", name) for name in names)
    tags = {tag for _, _, operation in operations(found) for tag in operation["tags"]}
    assert [tag["name"] for tag in found["tags"]] == sorted(tags) == sorted({route.category for route in table.routes})


def test_nothing_inner_and_nothing_secret_is_in_it() -> None:
    table, found = packaged()
    text = orjson.dumps(found).decode()
    inner = {urlsplit(url).netloc for upstream in table.upstreams.values() for url in upstream.urls}
    inner |= {netloc.partition(":")[0] for netloc in inner}
    assert len(inner) >= 2 * len(table.upstreams)
    for word in (*inner, "-secret-", "recaptcha-secret", "redis", "admin-secret", "localhost", ".toml"):
        assert word not in text


@pytest.mark.parametrize("mode", ["enforce", "observe", "off"])
@pytest.mark.parametrize("limit", ["600/minute", "off"])
def test_it_is_openapi(mode: str, limit: str) -> None:
    _, found = packaged(GATEWAY_AUTH_MODE=mode, GATEWAY_RATE_LIMIT=limit)
    assert found["openapi"] == "3.1.0"
    assert found["info"]["version"] == "1.2.3"
    assert faults_of(found) == []


def test_every_reference_leads_somewhere_and_nothing_lies_about() -> None:
    _, found = packaged()
    text = orjson.dumps(found).decode()
    named = set(re.findall(r'"\$ref":"#/components/(\w+)/([^"]+)"', text))
    for kind, name in named:
        assert name in found["components"][kind]
    unused = {
        (kind, name) for kind in ("responses", "schemas", "headers") for name in found["components"][kind]
    } - named
    assert unused == set()


def test_the_order_of_files_and_routes_does_not_matter() -> None:
    settings, table = configure(SECRETS)
    turned = Table(table.upstreams, reversed(table.routes))
    assert orjson.dumps(document(turned, settings, "1")) == orjson.dumps(document(table, settings, "1"))


PLACES = [
    (["/a/{x}", "/a/{rest:path}"], ["/a/{x}", "/a/{rest_1}/{rest}"]),
    (["/a/{rest:path}"], ["/a/{rest}"]),
    (["/a/{x}", "/a/{x:path}"], ["/a/{x}", "/a/{x_1}/{x}"]),
    (["/a/{x}", "/a/{x}/{y}", "/a/{r:path}"], ["/a/{x}", "/a/{x}/{y}", "/a/{r_1}/{r_2}/{r}"]),
    (["/a/{r:path}", "/a/{x}/{s:path}", "/a/{x}"], ["/a/{r_1}/{r_2}/{r}", "/a/{x}/{s}", "/a/{x}"]),
    (["/{r_1}/{r}", "/{r_1}/{r:path}"], ["/{r_1}/{r}", "/{r_1}/{r_1_}/{r}"]),
    (["/a/b{x}", "/a/{x}", "/a/b"], ["/a/b{x}", "/a/{x}", "/a/b"]),
    (["/a/{x}", "/a/{x}/"], ["/a/{x}", "/a/{x}/"]),
    (["/", "/{rest:path}"], ["/", "/{rest}"]),
]


@pytest.mark.parametrize(("patterns", "templates"), PLACES, ids=" ".join)
def test_patterns_that_would_be_one_template_each_have_their_own(
    tmp_path: Path, patterns: list[str], templates: list[str]
) -> None:
    found = described(tmp_path, "".join(f'[[route]]\npath = "{pattern}"\n' for pattern in patterns))
    where = {operation["x-route"]: template for template, _, operation in operations(found)}
    assert where == dict(zip(patterns, templates, strict=True))
    assert faults_of(found) == []
    for template, _, operation in operations(found):
        names = [parameter["name"] for parameter in operation.get("parameters", ())]
        assert names == re.findall(r"\{([^}]*)\}", template)


SEGMENTS = st.lists(st.sampled_from(["a", "b", "{x}", "{y}", "a{x}", "{x_1}", "{x:path}", "{y:path}", ""]), max_size=4)


@given(st.lists(SEGMENTS, max_size=12))
def test_no_pattern_is_lost_whatever_stands_beside_it(table: list[list[str]]) -> None:
    shapes = set()
    routes = []
    for parts in table:
        try:
            segments = parse("/" + "/".join(parts))
        except ValueError:
            continue
        shapes.add(shape_of(segments))
        routes.append(_Pattern(segments))
    found = places(routes)  # type: ignore[arg-type]
    blank = {re.sub(r"\{[^}]*\}", "{}", place.template) for place in found.values()}
    assert found.keys() == shapes
    assert len(blank) == len(shapes)
    for place in found.values():
        names = [parameter.name for parameter in place.parameters]
        assert len(set(names)) == len(names)


class _Pattern:
    """What `places` wants to know of a route."""

    def __init__(self, segments: Any) -> None:
        self.segments = segments
        self.shape = shape_of(segments)


def test_paths_that_read_alike_have_different_operation_ids(tmp_path: Path) -> None:
    found = described(
        tmp_path, "".join(f'[[route]]\npath = "/{name}"\n' for name in ("a-b", "a/b", "a_b", "a/{b}", "c"))
    )
    names = {operation["operationId"] for _, _, operation in operations(found)}
    assert len(names) == 25
    assert {"get_c", "post_c"} <= names
    alone = described(tmp_path, "".join(f'[[route]]\npath = "/{name}"\n' for name in ("a-b", "a/b")))
    assert {operation["operationId"] for _, _, operation in operations(alone)} <= names


KEYS = """methods = ["POST"]
[[route]]
path = "/x"
"""
RECAPTCHA = {"RECAPTCHA_SECRET_KEY": "a-key"}
# keys of the route, variables, status -> codes in it; None: the status isn't there
CODES_OF: list[tuple[str, dict[str, str], dict[str, list[str] | None]]] = [
    ("", {}, {"401": ["unauthenticated"], "403": None, "404": None, "415": None, "426": None, "429": ["rate_limited"]}),
    ('roles = ["admin"]', {}, {"403": ["forbidden"]}),
    ('owner = "user_id"', {}, {"403": ["forbidden"]}),
    ('owner = "form:user_id"', {}, {"403": ["forbidden"], "415": ["unsupported_form"]}),
    ('roles = ["admin"]', {"GATEWAY_AUTH_MODE": "off"}, {"401": None, "403": None}),
    ('roles = ["admin"]', {"GATEWAY_AUTH_MODE": "observe"}, {"401": None, "403": None}),
    ('owner = "form:user_id"', {"GATEWAY_AUTH_MODE": "off"}, {"403": None, "415": None}),
    ('auth = "public"', {"GATEWAY_RATE_LIMIT": "off"}, {"401": None, "429": None}),
    ('auth = "optional"\nrate_limit = "off"', {}, {"401": ["unauthenticated"], "429": ["rate_limited"]}),
    ('auth = "optional"\nrate_limit = "off"', {"GATEWAY_AUTH_FAIL_LIMIT": "off"}, {"429": None}),
    ("recaptcha = true", RECAPTCHA, {"400": ["bad_request", "recaptcha_failed"], "415": ["unsupported_form"]}),
    ("recaptcha = true", {}, {"400": ["bad_request"], "415": None}),
    ('rate_limit_by = ["client", "json:email"]', {}, {"415": ["unsupported_form"]}),
    ("", {}, {"500": ["internal"], "502": ["upstream_bad_response", "upstream_tls"], "504": ["upstream_timeout"]}),
    ("cache = true", {}, {"504": ["upstream_timeout", "not_in_cache"]}),
    ("", {}, {"408": ["request_timeout"], "413": ["body_too_large"], "508": ["loop_detected"]}),
]


@pytest.mark.parametrize(("keys", "environ", "wanted"), CODES_OF)
def test_an_operation_names_the_codes_that_it_may_be_refused_with(
    tmp_path: Path, keys: str, environ: dict[str, str], wanted: dict[str, list[str] | None]
) -> None:
    answers = only(described(tmp_path, KEYS + keys, **environ))["responses"]
    found = {status: codes(answers[status])[:-1] if status in answers else None for status in wanted}
    assert found == wanted
    assert all(codes(answer)[-1] == "upstream_error" for status, answer in answers.items() if status >= "4")


UNAVAILABLE = {
    "recaptcha_unconfigured": ('recaptcha = true\nauth = "public"', {}),
    "recaptcha_unavailable": ('recaptcha = true\nauth = "public"', RECAPTCHA),
    "auth_unavailable": ("", {}),
}


@pytest.mark.parametrize("code", UNAVAILABLE)
def test_what_guards_need_may_be_unavailable(tmp_path: Path, code: str) -> None:
    keys, environ = UNAVAILABLE[code]
    answer = only(described(tmp_path, KEYS + keys, **environ))["responses"]["503"]
    assert set(codes(answer)) & UNAVAILABLE.keys() == {code}
    assert "Retry-After" in answer["headers"]


def test_every_code_is_on_some_operation_but_those_that_no_operation_answers(tmp_path: Path) -> None:
    routes = """
    [[route]]
    path = "/x/{y}"
    owner = "form:user"
    recaptcha = true
    cache = true
    websocket = true
    """
    told: set[str] = set()
    for environ in (RECAPTCHA, {}):
        found = described(tmp_path, routes, **environ)
        told |= {code for answer in found["components"]["responses"].values() for code in _codes_or_none(answer)}
    assert told == CODES.keys() - {"client_closed", "method_not_allowed"}
    assert set(found["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == CODES.keys() - {
        "client_closed"
    }


def _codes_or_none(answer: dict[str, Any]) -> list[str]:
    return codes(answer) if "application/problem+json" in answer.get("content", {}) else []


def test_examples_are_problems_as_they_are_told() -> None:
    _, found = packaged()
    seen = 0
    for answer in found["components"]["responses"].values():
        for media in answer.get("content", {}).values():
            if "example" in media:
                seen += 1
                example, said = media["example"], media["schema"]["allOf"][1]["properties"]
                assert example["status"] == said["status"]["const"]
                assert example["code"] in said["code"]["enum"]
                assert sorted(example) == sorted(found["components"]["schemas"]["Problem"]["required"])
    assert seen > 15


SECURITY = [
    ("", [{"bearer": []}]),
    ('auth = "optional"', [{}, {"bearer": []}]),
    ('auth = "public"', []),
    ('roles = ["admin", "owner"]', [{"bearer": ["admin"]}, {"bearer": ["owner"]}]),
    ('auth = "optional"\nroles = ["admin"]', [{"bearer": ["admin"]}]),
    ('auth = "optional"\nowner = "form:user"', [{"bearer": []}]),
]


@pytest.mark.parametrize(("keys", "wanted"), SECURITY)
def test_a_route_says_which_token_it_wants(tmp_path: Path, keys: str, wanted: list[dict[str, list[str]]]) -> None:
    found = described(tmp_path, KEYS + keys)
    assert only(found)["security"] == wanted
    assert found["components"]["securitySchemes"]["bearer"]["bearerFormat"] == "JWT"
    assert only(described(tmp_path, KEYS + keys, GATEWAY_AUTH_MODE="off"))["security"] == []


def test_a_role_stands_in_the_text_too(tmp_path: Path) -> None:
    assert "with the role `a` or `b`" in only(described(tmp_path, KEYS + 'roles = ["a", "b"]'))["description"]


FORM = ["application/x-www-form-urlencoded", "multipart/form-data"]
BODIES: list[tuple[str, list[str], list[str], list[str]]] = [
    ("", ["*/*"], [], []),
    ('owner = "form:user_id"', FORM, ["user_id"], ["user_id"]),
    ('owner = "json:user_id"', ["application/json"], ["user_id"], ["user_id"]),
    ("recaptcha = true", FORM, ["recaptcha_token"], ["recaptcha_token"]),
    ('rate_limit_by = "form:email"', FORM, ["email"], []),
    ('rate_limit_by = "form:email"\nrecaptcha = true', FORM, ["email", "recaptcha_token"], ["recaptcha_token"]),
]


@pytest.mark.parametrize(("keys", "types", "properties", "required"), BODIES)
def test_a_body_has_the_fields_that_guards_look_at(
    tmp_path: Path, keys: str, types: list[str], properties: list[str], required: list[str]
) -> None:
    body = only(described(tmp_path, KEYS + keys, **RECAPTCHA))["requestBody"]
    assert list(body["content"]) == types
    assert body.get("required", False) == bool(required)
    for media in body["content"].values():
        schema = media.get("schema", {})
        assert list(schema.get("properties", ())) == properties
        assert schema.get("required", []) == required


def test_an_owner_is_a_parameter_of_the_query_unless_the_path_has_it(tmp_path: Path) -> None:
    text = 'methods = ["GET"]\nowner = "user"\n[[route]]\npath = "/x"\n'
    [parameter] = only(described(tmp_path, text), "get")["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("user", "query", True)
    text = text.replace("/x", "/x/{user}")
    [parameter] = only(described(tmp_path, text), "get")["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("user", "path", True)


def test_a_parameter_with_slashes_says_so(tmp_path: Path) -> None:
    [parameter] = only(described(tmp_path, '[[route]]\npath = "/x/{rest:path}"'))["parameters"]
    assert parameter["x-multi-segment"] is True
    assert "slashes" in parameter["description"]
    assert re.fullmatch(parameter["schema"]["pattern"], "a/b")
    assert not re.fullmatch(parameter["schema"]["pattern"], "/b")


def test_limits_stand_there_for_programs_and_for_people(tmp_path: Path) -> None:
    keys = 'rate_limit = ["5/minute login", "9/hour"]\nrate_limit_by = ["client", "form:email"]\nmax_body = "2 MiB"'
    operation = only(described(tmp_path, KEYS + keys + '\ntimeout = "medium"'))
    assert operation["x-ratelimit"] == [
        {"limit": 5, "period": 60, "counter": "login", "by": ["client", "form:email"]},
        {"limit": 9, "period": 3600, "counter": None, "by": ["client", "form:email"]},
    ]
    assert (operation["x-max-body"], operation["x-timeout"]) == (2 << 20, 120.0)
    for text in ("5/minute", "`login`", "9/hour", "`form:email`", "2 MiB", "120 s (medium)"):
        assert text in operation["description"]
    for answer in operation["responses"].values():
        assert {"X-Request-ID", "RateLimit", "RateLimit-Policy"} <= answer["headers"].keys()
    free = only(described(tmp_path, KEYS + 'rate_limit = "off"'))
    assert "x-ratelimit" not in free
    assert all("RateLimit" not in answer["headers"] for answer in free["responses"].values())


def test_only_the_get_of_a_route_with_websockets_opens_one(tmp_path: Path) -> None:
    found = described(
        tmp_path, 'methods = ["GET", "POST"]\nwebsocket = true\n[[route]]\npath = "/x"\nws_rate = "9/second"'
    )
    get, post = only(found, "get"), only(found, "post")
    assert get["x-websocket"] is True
    assert {"101", "426"} <= get["responses"].keys()
    assert "9/second" in get["description"]
    assert "x-websocket" not in post
    assert {"101", "426"}.isdisjoint(post["responses"])
    assert faults_of(found) == []


def test_a_deprecated_route_is_marked(tmp_path: Path) -> None:
    operation = only(described(tmp_path, KEYS + "deprecated = 2026-11-22"))
    assert (operation["deprecated"], operation["x-deprecated"]) == (True, "2026-11-22")
    assert all("Deprecation" in answer["headers"] for answer in operation["responses"].values())
    other = only(described(tmp_path, KEYS))
    assert "deprecated" not in other
    assert all("Deprecation" not in answer["headers"] for answer in other["responses"].values())


def test_a_services_own_5xx_passes_only_where_the_route_says_so(tmp_path: Path) -> None:
    for keys, types in (("", {"application/problem+json"}), ('errors = "pass"', {"application/problem+json", "*/*"})):
        answers = only(described(tmp_path, KEYS + keys))["responses"]
        assert answers["503"]["content"].keys() == answers["5XX"]["content"].keys() == types


def test_a_route_for_head_alone_is_one_for_head(tmp_path: Path) -> None:
    found = described(tmp_path, '[[route]]\npath = "/x"\nmethods = ["HEAD"]')
    assert [method for _, method, _ in operations(found)] == ["head"]


def test_an_empty_table_is_a_document_too() -> None:
    settings, _ = configure(SECRETS)
    found = document(Table({}, ()), settings, "1")
    assert found["paths"] == {}
    assert faults_of(found) == []


def test_all_methods_of_a_path_are_one_item(tmp_path: Path) -> None:
    routes = (
        '[[route]]\npath = "/x/{a}"\nmethods = ["GET"]\n[[route]]\npath = "/x/{a}"\nmethods = ["POST"]\nroles = ["r"]'
    )
    found = described(tmp_path, routes)
    assert found["paths"]["/x/{a}"].keys() == {"get", "post"} <= METHODS
