"""The commands, as a person or a script starts them: their output, and how they end."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import jwt
import pytest

from aiogateway import __version__
from tests.config_folders import folder

SECRET = "s3cr3t-" * 6
KEY = {"JWT_SECRET": SECRET}
PYTHON = (sys.executable, "-W", "error", "-m", "aiogateway")


def run(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run([*PYTHON, *args], env=kept | environ, capture_output=True, text=True, timeout=60, check=False)


def lines_of(*args: str, **environ: str) -> list[str]:
    """The output of a command that succeeds and has nothing to complain of."""
    ended = run(*args, **environ)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    assert all(
        any(line.strip().startswith(name) for line in lines_of("--help"))
        for name in ("serve", "demo", "check", "routes", "explain", "token")
    )
    probe = "import sys, aiogateway.cli; print(*sorted({'pydantic', 'aiohttp', 'rich', 'jwt'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.strip() == ""


def test_a_server_loads_no_rich() -> None:
    loaded = run("serve", "--port", "none", PYTHONPROFILEIMPORTTIME="1").stderr
    assert "aiogateway.serving\n" in loaded
    assert "rich.console" not in loaded


def test_the_version_is_printed() -> None:
    assert __version__ in lines_of("--version")[0]


BROKEN = """
[[route]]
path = "/a"
upstream = "nope"
timout = 3
[[route]]
path = "/c"
upstream = "b"
[[route]]
path = "/c"
upstream = "b"
timeout = "forever"
"""


def test_check_prints_every_fault_on_its_own_line_and_fails(tmp_path: Path) -> None:
    environ = {"GATEWAY_POOL_MAX_CONECTIONS": "5", "GATEWAY_TIMEOUT_SHORT": "abc"}
    ended = run("check", "--config", str(folder(tmp_path, BROKEN)), **environ, JWT_SECRET=SECRET)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    found = ended.stdout.splitlines()
    assert len(found) == 6
    assert "environment: GATEWAY_TIMEOUT_SHORT: must be a number of seconds above 0, not 'abc'" in found
    assert "routes/test.toml: /a: timout: unknown key, did you mean timeout?" in found
    assert any("GATEWAY_POOL_MAX_CONNECTIONS" in line for line in found)
    assert any("duplicate" in line and "routes/test.toml" in line for line in found)
    assert SECRET not in ended.stdout


def test_check_sums_up_what_is_right_and_what_to_notice() -> None:
    found = lines_of("check", **KEY, GATEWAY_REDIS_URL="redis://:hunter2@r", GATEWAY_SSE_KEEPALIVE="9")
    assert found[0] == "ok: 20 upstreams, 97 routes in 12 files"
    assert any("RECAPTCHA_SECRET_KEY" in line for line in found if line.startswith("note: "))
    assert SECRET not in "".join(found) and "hunter2" not in "".join(found)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_without_a_key_nothing_starts_and_the_variables_are_named(command: str) -> None:
    ended = run(command)
    assert ended.returncode == 1
    assert "JWT_SECRET" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_serve_lists_the_faults_of_its_options_by_option() -> None:
    ended = run("serve", "--port", "99999", "--workers", "many", **KEY)
    assert ended.returncode == 1
    assert [line.split(": ")[1] for line in ended.stderr.splitlines()] == ["--port", "--workers"]


def test_routes_needs_no_key_and_prints_one_plain_line_a_route() -> None:
    found = lines_of("routes")
    assert len(found) == 98
    assert found[0].split()[:3] == ["METHODS", "PATH", "UPSTREAM"]
    assert any("/v2/fetch-pdf" in line and "crawling" in line and "1 GiB" in line for line in found)


def test_routes_as_json_has_every_policy() -> None:
    records = json.loads("\n".join(lines_of("routes", "--json")))
    assert len(records) == 97
    (pdf,) = [record for record in records if record["path"] == "/v2/fetch-pdf"]
    assert list(pdf) == [
        "path",
        "methods",
        "category",
        "file",
        "upstream",
        "destinations",
        "upstream_path",
        "tier",
        "timeout",
        "auth",
        "roles",
        "owner",
        "cors",
        "rate_limit",
        "rate_limit_by",
        "max_body",
        "recaptcha",
        "cache",
        "compress",
        "retry",
        "encoded_slash",
        "websocket",
        "ws_max_message",
        "ws_rate",
        "sse_keepalive",
        "errors",
        "deprecated",
    ]
    assert (pdf["methods"], pdf["timeout"], pdf["max_body"], pdf["owner"]) == (["POST"], 120.0, 1 << 30, "form:user_id")


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    with closing(os.fdopen(master, "rb", buffering=0)) as ours, closing(os.fdopen(slave, "wb", buffering=0)) as theirs:
        yield ours.fileno(), theirs.fileno()


def test_routes_on_a_terminal_is_a_table_that_shows_braces_and_brackets(tmp_path: Path) -> None:
    config = folder(tmp_path, '[[route]]\npath = "/[b]{x}"\nupstream = "b"\n')
    with terminal() as (ours, theirs):
        environ = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "200", "GATEWAY_CONFIG": str(config)}
        subprocess.run([*PYTHON, "routes"], env=environ, stdout=theirs, timeout=60, check=True)
        shown = os.read(ours, 1 << 16).decode()
    assert "/[b]{x}" in shown
    assert "─" in shown or "━" in shown


def test_explain_shows_the_way_and_where_each_value_comes_from() -> None:
    environ = {
        "AUTH_SERVICE_URL": "http://a:1,http://b:2",
        "GATEWAY_TIMEOUT_SHORT": "7",
        "GATEWAY_POOL_AUTH_MAX_AGE": "9",
    }
    found = [" ".join(line.split()) for line in lines_of("explain", "post", "/v2/login1?a=%2F", **environ)]
    assert found[:4] == [
        "route POST /v2/login1 routes/auth.toml",
        "upstream auth routes/auth.toml (group)",
        "destinations http://a:1, http://b:2 variable AUTH_SERVICE_URL",
        "asks for POST /v2/login?a=%2F routes/auth.toml",
    ]
    assert "timeout 7 s (short) variable GATEWAY_TIMEOUT_SHORT" in found
    assert "auth public routes/auth.toml (group)" in found
    assert "recaptcha true routes/auth.toml" in found
    assert "compress true default" in found
    assert "max_body 1 MiB default" in found
    assert "pool max_age 9.0 variable GATEWAY_POOL_AUTH_MAX_AGE" in found


def test_explain_shows_the_parameters() -> None:
    found = [" ".join(line.split()) for line in lines_of("explain", "GET", "/v2/get-user-data/a%20b")]
    assert "parameter user_id = a%20b path" in found
    assert "asks for GET /v2/get-user-data/a%20b same path" in found


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/nope", "404 route_not_found"),
        ("PUT", "/v2/login", "405 method_not_allowed"),
        ("PUT", "/v2/login", "Allow: POST"),
        ("GET", "/v2/../etc", "400 bad_request"),
        ("POST", "/v2/call-model/a%2Fb", "400 bad_request"),
    ],
)
def test_explain_says_why_a_request_has_no_route(method: str, path: str, words: str) -> None:
    ended = run("explain", method, path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert words in ended.stderr


def test_explain_needs_no_key_but_reports_other_faults() -> None:
    ended = run("explain", "GET", "/v2/login", GATEWAY_TIMEOUT_SHORT="x")
    assert ended.returncode == 1
    assert [line.split(": ")[1] for line in ended.stderr.splitlines()] == ["GATEWAY_TIMEOUT_SHORT"]


def test_a_token_is_one_the_gateway_will_accept() -> None:
    environ = {**KEY, "JWT_ISSUER": "me", "JWT_AUDIENCE": "you", "JWT_ROLES_CLAIM": "groups", "JWT_USER_CLAIM": "uid"}
    (text,) = lines_of("token", "--sub", "u1", "--role", "a", "--role", "b", "--ttl", "60", **environ)
    claims = jwt.decode(text, SECRET, algorithms=["HS256"], issuer="me", audience="you")
    assert (claims["sub"], claims["uid"], claims["groups"]) == ("u1", "u1", ["a", "b"])
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 60


@pytest.mark.parametrize(
    ("args", "environ", "words"),
    [
        (("--sub", "u1"), {}, "set JWT_SECRET"),
        (("--sub", "u1"), {"JWT_SECRET": "short-one"}, "at least 32 bytes"),
        (("--sub", "u1"), KEY | {"JWT_ALGORITHMS": "RS256"}, "JWT_ALGORITHMS"),
        (("--sub", "u,1"), KEY, "without commas"),
        (("--sub", "u1", "--role", "é"), KEY, "printable ASCII"),
        (("--sub", "u1", "--ttl", "0"), KEY, "--ttl"),
        ((), KEY, "--sub"),
    ],
)
def test_a_token_that_can_t_be_signed_or_used_is_refused(
    args: tuple[str, ...], environ: dict[str, str], words: str
) -> None:
    ended = run("token", *args, **environ)
    assert ended.returncode != 0
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not any(secret in ended.stderr for secret in (SECRET, "short-one"))
