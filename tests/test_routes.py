"""Route files: what they make, what is at fault in them, and where each value came from."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from aiogateway.errors import Problem
from aiogateway.routes import Route, Table, configure
from aiogateway.settings.faults import ConfigError
from aiogateway.settings.values import Rate
from tests.config_folders import KEY, ONE_UPSTREAM, faults, folder, load


def route(table: Table, method: str, path: str) -> Route:
    return table.match(path).endpoint.route(method)


def test_a_route_of_one_line_has_the_defaults_of_the_contract(tmp_path: Path) -> None:
    found = route(load(tmp_path, '[[route]]\npath = "/a"\nupstream = "b"\n'), "GET", "/a")
    assert found.methods == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert (found.timeout, found.tier, found.max_body) == (60, "short", 1 << 20)
    assert (found.auth, found.cors, found.errors) == ("required", "allowlist", "replace")
    assert (found.rate_limit, found.rate_limit_by) == ((Rate(600, 60),), ("client",))
    assert (found.cache, found.retry, found.compress) == (None, None, True)
    assert (found.encoded_slash, found.websocket, found.recaptcha) == (False, False, False)
    assert (found.category, found.file, found.upstream.urls) == ("test", "routes/test.toml", ("http://b:1",))
    assert set(found.sources.values()) == {"default", "routes/test.toml"}


EVERYTHING = """
upstream = "b"
[[route]]
path = "/a/{x}"
methods = ["POST"]
upstream_path = "/z/{x}"
timeout = 1.5
auth = "optional"
roles = ["admin", "editor"]
owner = "form:user_id"
cors = "public"
rate_limit = ["5/minute login", "100/hour"]
rate_limit_by = ["client", "form:email"]
max_body = "2 MiB"
recaptcha = "login"
cache = 60
compress = false
retry = true
encoded_slash = true
websocket = true
ws_max_message = "1 KiB"
ws_rate = "100/second"
sse_keepalive = 0
errors = "pass"
deprecated = 2026-11-22
"""


def test_every_key_of_the_contract_is_read(tmp_path: Path) -> None:
    found = route(load(tmp_path, EVERYTHING), "POST", "/a/1")
    assert (found.upstream_path, found.timeout, found.tier, found.auth) == ("/z/{x}", 1.5, None, "optional")
    assert (found.roles, found.owner, found.cors) == (("admin", "editor"), "form:user_id", "public")
    assert found.rate_limit == (Rate(5, 60, "login"), Rate(100, 3600))
    assert found.rate_limit_by == ("client", "form:email")
    assert (found.max_body, found.recaptcha, found.cache, found.compress) == (2 << 20, "login", 60, False)
    assert (found.retry, found.encoded_slash, found.websocket) == (True, True, True)
    assert (found.ws_max_message, found.ws_rate, found.sse_keepalive) == (1024, Rate(100, 1), 0)
    assert (found.errors, found.deprecated) == ("pass", date(2026, 11, 22))


FAULTY = [
    ('path = "/a"\nupstream = "nope"', "upstream", "unknown upstream 'nope'"),
    ('path = "/a"', "upstream", "is missing"),
    ('upstream = "b"', "path", "is missing"),
    ('path = "/a"\nupstream = "b"\ntimout = 3', "timout", "did you mean timeout?"),
    ('path = "/a"\nupstream = "b"\ntimeout = "forever"', "timeout", "unknown tier"),
    ('path = "/a"\nupstream = "b"\ntimeout = 0', "timeout", "above 0"),
    ('path = "/a"\nupstream = "b"\ntimeout = inf', "timeout", "above 0"),
    ('path = "/a"\nupstream = "b"\nmethods = []', "methods", "must be a list"),
    ('path = "/a"\nupstream = "b"\nmethods = "GET"', "methods", "must be a list"),
    ('path = "/a"\nupstream = "b"\nmethods = ["OPTIONS"]', "methods", "must be a list"),
    ('path = "/a"\nupstream = "b"\nmethods = ["get"]', "methods", "must be a list"),
    ('path = "/a"\nupstream = "b"\nauth = "maybe"', "auth", "required, optional or public"),
    ('path = "/a"\nupstream = "b"\nauth = "public"\nroles = ["x"]', "roles", "needs a token"),
    ('path = "/a"\nupstream = "b"\nauth = "public"\nowner = "x"', "owner", "needs a token"),
    ('path = "/a"\nupstream = "b"\nroles = ["a,b"]', "roles", "without spaces and commas"),
    ('path = "/a"\nupstream = "b"\nowner = "cookie:x"', "owner", "must be <name>"),
    ('path = "/a"\nupstream = "b"\ncors = "*"', "cors", "allowlist or public"),
    ('path = "/a"\nupstream = "b"\nrate_limit = 5', "rate_limit", "must be a limit"),
    ('path = "/a"\nupstream = "b"\nrate_limit = ["5/minute", "off"]', "rate_limit", "must be limits"),
    ('path = "/a"\nupstream = "b"\nrate_limit_by = "ip"', "rate_limit_by", "must be client"),
    ('path = "/a"\nupstream = "b"\nmax_body = "1 MB"', "max_body", "must be a size"),
    ('path = "/a"\nupstream = "b"\nmax_body = true', "max_body", "must be a size"),
    ('path = "/a"\nupstream = "b"\nrecaptcha = 1', "recaptcha", "must be true"),
    ('path = "/a"\nupstream = "b"\ncache = 0', "cache", "must be true"),
    ('path = "/a"\nupstream = "b"\ncompress = "yes"', "compress", "must be true or false"),
    ('path = "/a"\nupstream = "b"\nretry = 3', "retry", "must be true or false"),
    ('path = "/a"\nupstream = "b"\nws_rate = ["1/second", "2/minute"]', "ws_rate", "one limit"),
    ('path = "/a"\nupstream = "b"\nerrors = "hide"', "errors", "replace or pass"),
    ('path = "/a"\nupstream = "b"\ndeprecated = "soon"', "deprecated", "must be a date"),
    ('path = "/a"\nupstream = "b"\ndeprecated = 2026-11-22T00:00:00Z', "deprecated", "must be a date"),
    ('path = 3\nupstream = "b"', "path", "must be a string"),
    ('path = "a"\nupstream = "b"', "path", "must begin with /"),
    ('path = "/a//b"\nupstream = "b"', "path", "empty segment"),
    ('path = "/a/../b"\nupstream = "b"', "path", "segment . or .."),
    ('path = "/a?x=1"\nupstream = "b"', "path", "without # ? %"),
    ('path = "/{x}/{x}"\nupstream = "b"', "path", "twice"),
    ('path = "/{x:path}/b"\nupstream = "b"', "path", "last segment"),
    ('path = "/a-{x:path}"\nupstream = "b"', "path", "last segment"),
    ('path = "/{x}.json"\nupstream = "b"', "path", "neither"),
    ('path = "/{x:int}"\nupstream = "b"', "path", "neither"),
    ('path = "/a}"\nupstream = "b"', "path", "neither"),
    ('path = "/{x}"\nupstream = "b"\nupstream_path = "/{y}"', "upstream_path", "{x}"),
    ('path = "/{x}"\nupstream = "b"\nupstream_path = "/a"', "upstream_path", "{x}"),
    ('path = "/a"\nupstream = "b"\nupstream_path = "/{x}"', "upstream_path", "none"),
    ('path = "/{x}"\nupstream = "b"\nupstream_path = "/{x}/{x}"', "upstream_path", "each once"),
    ('path = "/a"\nupstream = "b"\nupstream_path = "b"', "upstream_path", "must begin with /"),
    ('path = "/a"\nupstream = "b"\nupstream_path = "/b?c=1"', "upstream_path", "without query"),
    ('path = "/a"\nupstream = "b"\nupstream_path = "/b/%2E."', "upstream_path", "segment . or .."),
]


@pytest.mark.parametrize(("text", "key", "words"), FAULTY)
def test_a_faulty_route_is_told_with_file_entry_and_key(tmp_path: Path, text: str, key: str, words: str) -> None:
    (fault,) = faults(tmp_path, f"[[route]]\n{text}\n")
    assert fault.where == "routes/test.toml"
    assert fault.entry
    assert fault.key == key
    assert words in fault.message


def test_a_fault_s_entry_has_methods_and_path_or_the_route_s_number(tmp_path: Path) -> None:
    text = '[[route]]\npath = "/a"\nmethods = ["GET"]\n[[route]]\nmethods = ["GET"]\n'
    assert [fault.entry for fault in faults(tmp_path, text)] == ["GET /a", "route 2", "route 2"]


def test_faults_of_variables_upstreams_and_all_route_files_come_together(tmp_path: Path) -> None:
    files = {"one": '[[route]]\npath = "a"\nupstream = "b"\n', "two": "not toml", "three": "[route]\n"}
    found = faults(tmp_path, files, '[b]\nurl = "ftp://b"\n', GATEWAY_TIMEOUT_SHORT="abc", GATEWAY_POOL_C_MAX_AGE="1")
    assert {fault.where for fault in found} == {
        "environment",
        "upstreams.toml",
        "routes/one.toml",
        "routes/two.toml",
        "routes/three.toml",
    }
    assert {fault.entry for fault in found if fault.where == "environment"} == {
        "GATEWAY_TIMEOUT_SHORT",
        "GATEWAY_POOL_C_MAX_AGE",
    }


def test_a_syntax_fault_names_the_line(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[[route]]\npath = "/a"\nupstream = \n')
    assert fault.where == "routes/test.toml"
    assert "line 3" in fault.message


def test_a_file_that_is_not_utf_8_is_a_fault(tmp_path: Path) -> None:
    root = folder(tmp_path, "")
    (root / "routes" / "test.toml").write_bytes(b'upstream = "\xff"')
    with pytest.raises(ConfigError, match=r"routes/test\.toml: is not UTF-8 at byte 12"):
        configure({**KEY, "GATEWAY_CONFIG": str(root)})


def test_a_missing_folder_file_or_route_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"GATEWAY_CONFIG: .*none' is no folder"):
        configure({**KEY, "GATEWAY_CONFIG": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match=r"upstreams\.toml: can't be read"):
        configure({**KEY, "GATEWAY_CONFIG": str(tmp_path)})
    (tmp_path / "upstreams.toml").write_text(ONE_UPSTREAM, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"routes: has no \.toml file"):
        configure({**KEY, "GATEWAY_CONFIG": str(tmp_path)})


def test_a_broken_upstreams_file_does_not_blame_the_routes_and_pools(tmp_path: Path) -> None:
    found = faults(tmp_path, '[[route]]\npath = "/a"\nupstream = "b"\n', "[b", GATEWAY_POOL_B_MAX_AGE="1")
    assert [fault.where for fault in found] == ["upstreams.toml"]


def test_a_broken_upstream_does_not_blame_its_routes(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[[route]]\npath = "/a"\nupstream = "b"\n', '[b]\nurl = "http://b"\nulr = "x"\n')
    assert (fault.entry, fault.key) == ("[b]", "ulr")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[b]\n", "url"),
        ('[b]\nurl = "b:80"\n', "url"),
        ('[b]\nurl = "http://b?x"\n', "url"),
        ('[b]\nurl = "http://b#x"\n', "url"),
        ('[b]\nurl = "http://u:hunter2@b"\n', "url"),
        ('[b]\nurl = "http://b/../c"\n', "url"),
        ('[b]\nurl = "http://"\n', "url"),
        ("[b]\nurl = []\n", "url"),
        ('[b]\nurl = "http://b"\nbalance = "random"\n', "balance"),
        ('[b]\nurl = "http://b"\nenv = "GATEWAY_B"\n', "env"),
        ('[b]\nurl = "http://b"\nhealth_path = "health"\n', "health_path"),
        ('[b]\nurl = "http://b"\nhealth_interval = 0\n', "health_interval"),
        ('[b]\nurl = "http://b"\neject_rate = 2\n', "eject_rate"),
        ('[b]\nurl = "http://b"\nca_file = "/no/such.pem"\n', "ca_file"),
        ('extends = "parent"\n[b]\nurl = "http://b"\n', "extends"),
        ('b = "http://b"\n', "b"),
    ],
)
def test_a_faulty_upstream_is_told(tmp_path: Path, text: str, key: str) -> None:
    found = faults(tmp_path, '[[route]]\npath = "/a"\nupstream = "b"\n', text)
    assert key in [fault.key for fault in found if fault.where == "upstreams.toml"]
    assert "hunter2" not in " ".join(map(str, found))


def test_urls_are_normalised_and_keep_a_base_path(tmp_path: Path) -> None:
    table = load(tmp_path, "upstream = 'b'\n", '[b]\nurl = ["HTTP://B:80/base/", "https://[::1]:444"]\n')
    assert table.upstreams["b"].urls == ("http://b/base", "https://[::1]:444")


def test_an_upstream_s_variable_wins_over_the_file_and_may_hold_several(tmp_path: Path) -> None:
    upstreams = '[b]\nurl = "http://b:1"\nenv = "B_URL"\n'
    table = load(tmp_path, "upstream = 'b'\n", upstreams, b_url="http://x:1, http://y:2,http://x:1")
    assert table.upstreams["b"].urls == ("http://x:1", "http://y:2")
    assert table.upstreams["b"].sources["url"] == "variable B_URL"


def test_a_faulty_upstream_variable_is_told_without_its_value(tmp_path: Path) -> None:
    upstreams = '[b]\nurl = "http://b:1"\nenv = "B_URL"\n'
    (fault,) = faults(tmp_path, "upstream = 'b'\n", upstreams, B_URL="http://u:hunter2@x")
    assert (fault.where, fault.entry) == ("environment", "B_URL")
    assert "hunter2" not in str(fault)


def test_an_upstream_s_pool_comes_from_its_variables(tmp_path: Path) -> None:
    upstream = load(tmp_path, "upstream = 'b'\n", GATEWAY_POOL_B_MAX_CONNECTIONS="7").upstreams["b"]
    assert upstream.pool.max_connections == 7
    assert upstream.sources["pool_max_connections"] == "variable GATEWAY_POOL_B_MAX_CONNECTIONS"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("GATEWAY_POOL_MAX_CONECTIONS", "GATEWAY_POOL_MAX_CONNECTIONS"),
        ("GATEWAY_POOL_BILING_MAX_AGE", "GATEWAY_POOL_BILLING_MAX_AGE"),
        ("GATEWAY_POOL_BILLING_MAX_AGES", "GATEWAY_POOL_BILLING_MAX_AGE"),
    ],
)
def test_a_pool_variable_for_nothing_is_told_with_the_nearest(tmp_path: Path, name: str, near: str) -> None:
    (fault,) = faults(tmp_path, "upstream = 'billing'\n", '[billing]\nurl = "http://b"\n', **{name: "5"})
    assert fault.entry == name
    assert f"did you mean {near}?" in fault.message


def test_a_duplicate_is_called_one_and_names_both_places(tmp_path: Path) -> None:
    files = {
        "one": '[[route]]\npath = "/a/{x}"\nmethods = ["GET", "PUT"]\nupstream = "b"\n',
        "two": '[[route]]\npath = "/a/{other}"\nmethods = ["GET", "POST", "PUT"]\nupstream = "b"\n',
    }
    fault = faults(tmp_path, files)[0]
    assert fault.where == "routes/two.toml"
    assert "duplicate: GET, PUT" in fault.message
    assert "routes/one.toml, GET,PUT /a/{x}" in fault.message


def test_a_duplicate_is_found_though_both_have_other_faults(tmp_path: Path) -> None:
    text = '[[route]]\npath = "/a"\nupstream = "nope"\n' * 2
    assert [fault.key for fault in faults(tmp_path, text)] == ["upstream", "upstream", "path"]


def test_one_path_may_have_two_routes_for_different_methods(tmp_path: Path) -> None:
    get = '[[route]]\npath = "/a"\nmethods = ["GET"]\n'
    post = '[[route]]\npath = "/a"\nmethods = ["POST"]\ntimeout = "long"\n'
    text = f'upstream = "b"\n{get}{post}'
    table = load(tmp_path, text)
    assert (route(table, "HEAD", "/a").timeout, route(table, "POST", "/a").timeout) == (60, 600)
    assert table.match("/a").endpoint.allow == "GET, HEAD, POST"


def test_routes_of_one_path_must_agree_on_the_names_of_its_parameters(tmp_path: Path) -> None:
    get, post = '[[route]]\npath = "/{x}"\nmethods = ["GET"]\n', '[[route]]\npath = "/{y}"\nmethods = ["POST"]\n'
    text = f'upstream = "b"\n{get}{post}'
    (fault,) = faults(tmp_path, text)
    assert (fault.entry, fault.key) == ("POST /{y}", "path")
    assert "/{x}" in fault.message


def test_a_group_s_value_holds_until_a_route_says_otherwise(tmp_path: Path) -> None:
    text = 'upstream = "b"\ntimeout = "medium"\n[[route]]\npath = "/a"\n[[route]]\npath = "/c"\ntimeout = "long"\n'
    table = load(tmp_path, text, GATEWAY_TIMEOUT_LONG="900")
    a, c = route(table, "GET", "/a"), route(table, "GET", "/c")
    assert (a.timeout, a.sources["timeout"]) == (120, "routes/test.toml (group)")
    assert (c.timeout, c.sources["timeout"], c.sources["tier"]) == (
        900,
        "variable GATEWAY_TIMEOUT_LONG",
        "routes/test.toml",
    )


def test_a_group_s_fault_is_told_once_and_spares_who_overrides_it(tmp_path: Path) -> None:
    text = 'upstream = "b"\ntimeout = "never"\n[[route]]\npath = "/a"\n[[route]]\npath = "/c"\ntimeout = 1\n'
    (fault,) = faults(tmp_path, text)
    assert (fault.entry, fault.key) == ("(group)", "timeout")


def test_a_path_for_a_whole_group_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, 'path = "/a"\nupstream = "b"\n')
    assert (fault.entry, fault.key) == ("(group)", "path")


def test_limits_switched_off_are_off_for_routes_too(tmp_path: Path) -> None:
    text = '[[route]]\npath = "/a"\nupstream = "b"\nrate_limit = "5/minute"\n'
    found = route(load(tmp_path, text, GATEWAY_RATE_LIMIT="off"), "GET", "/a")
    assert (found.rate_limit, found.sources["rate_limit"]) == (None, "variable GATEWAY_RATE_LIMIT")


def test_a_folder_laid_over_the_packaged_table_changes_what_it_names(tmp_path: Path) -> None:
    upstreams = 'extends = "packaged"\n[auth]\nhealth_path = "/up"\n[mine]\nurl = "http://mine"\n'
    taken = '[[route]]\npath = "/v2/get-chat-history"\nmethods = ["GET"]\n'
    text = f'upstream = "mine"\n{taken}[[route]]\npath = "/mine"\n'
    table = load(tmp_path, text, upstreams)
    assert len(table.upstreams) == 21
    auth = table.upstreams["auth"]
    assert (auth.urls, auth.health_path) == (("http://auth-service:8001",), "/up")
    assert (auth.sources["url"], auth.sources["health_path"]) == ("packaged upstreams.toml", "upstreams.toml")
    history = table.match("/v2/get-chat-history").endpoint
    assert history.route("GET").upstream.name == "mine"
    assert history.route("HEAD").upstream.name == "mine"
    assert history.route("POST").upstream.name == "chat_history"
    assert history.route("POST").file == "packaged routes/interactions.toml"
    assert route(table, "DELETE", "/mine").upstream.name == "mine"


def test_an_overlay_that_takes_every_method_leaves_nothing_of_the_packaged_route(tmp_path: Path) -> None:
    text = '[[route]]\npath = "/v2/login"\nmethods = ["POST"]\nupstream = "auth"\ntimeout = 5\n'
    table = load(tmp_path, text, 'extends = "packaged"\n')
    assert [r.file for r in table.routes if r.pattern == "/v2/login"] == ["routes/test.toml"]


def test_a_fault_in_an_overlay_names_the_overlay(tmp_path: Path) -> None:
    text = '[[route]]\npath = "/v2/login"\nupstream = "auht"\n'
    (fault,) = faults(tmp_path, text, 'extends = "packaged"\n')
    assert fault.where == "routes/test.toml"
    assert "did you mean auth?" in fault.message


def test_a_template_is_filled_with_the_client_s_own_bytes(tmp_path: Path) -> None:
    text = 'upstream = "b"\n[[route]]\npath = "/a/{x}/{rest:path}"\nupstream_path = "/{rest:path}/of/{x}.json"\n'
    table = load(tmp_path, text)
    path = "/a/%41%7e/b%20c/{x}"
    match = table.match(path)
    assert match.endpoint.route("GET").target(path, match.params) == "/b%20c/{x}/of/%41%7e.json"


def test_a_route_without_a_template_asks_for_the_path_as_it_came(tmp_path: Path) -> None:
    table = load(tmp_path, '[[route]]\npath = "/{rest:path}"\nupstream = "b"\n')
    path = "/a%27b/c%20d%3Ae"
    match = table.match(path)
    assert match.endpoint.route("GET").target(path, match.params) == path


@pytest.mark.parametrize("value", ["..", "%2e%2E", "."])
def test_a_rewrite_never_makes_a_path_that_climbs(tmp_path: Path, value: str) -> None:
    text = '[[route]]\npath = "/get-{x}"\nupstream = "b"\nupstream_path = "/files/{x}"\n'
    match = load(tmp_path, text).match(f"/get-{value}")
    with pytest.raises(Problem) as caught:
        match.endpoint.route("GET").target(f"/get-{value}", match.params)
    assert caught.value.code == "bad_request"


def test_ten_thousand_routes_are_loaded_and_found(tmp_path: Path) -> None:
    text = 'upstream = "b"\n' + "".join(f'[[route]]\npath = "/v{i % 7}/p{i}-{{x}}/{{y}}"\n' for i in range(10_000))
    table = load(tmp_path, text)
    for i in (0, 4_321, 9_999):
        assert table.match(f"/v{i % 7}/p{i}-z/1").endpoint.pattern == f"/v{i % 7}/p{i}-{{x}}/{{y}}"
