"""The environment: what each variable takes, which combinations are refused, and what faults give away (nothing)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.settings import ConfigError, Settings, checks, parse, read, values
from aiogateway.settings.values import Rate
from aiogateway.settings.variables import FIELDS

KEY = {"JWT_SECRET": "k" * 32}


def faults_of(environ: Mapping[str, str]) -> list[str]:
    return [str(fault) for fault in parse({**KEY, **environ})[1]]


def one(environ: Mapping[str, str], field: str) -> Any:
    return getattr(read({**KEY, **environ}), field)


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read(KEY)
    assert (settings.host, settings.port, settings.admin_host, settings.admin_port) == (
        "0.0.0.0",
        8000,
        "127.0.0.1",
        9000,
    )
    assert (settings.timeout_short, settings.timeout_medium, settings.timeout_long) == (60, 120, 600)
    assert (settings.max_body, settings.upload_min_rate, settings.download_min_rate) == (1 << 20, 16 << 10, 1 << 10)
    assert (settings.drain_timeout, settings.drain_delay) == (30, 2)
    assert (settings.header_timeout, settings.keepalive_timeout, settings.idle_timeout) == (10, 75, 60)
    assert (settings.max_connections, settings.workers, settings.stream_idle_timeout) == (10000, 1, 300)
    assert settings.rate_limit == (Rate(600, 60),)
    assert settings.auth_fail_limit == (Rate(30, 60),)
    assert settings.allowed_origins[0] == "https://machineagents.ai" and len(settings.allowed_origins) == 3
    assert settings.jwt_algorithms == ("HS256",)
    assert (settings.ws_max_message, settings.sse_keepalive) == (16 << 20, 15)
    pool = settings.pool_for("auth")
    assert (pool.max_connections, pool.max_streams, pool.max_keepalive, pool.max_pending) == (100, 1000, 20, 1000)
    assert (pool.keepalive_timeout, pool.max_age, pool.connect_timeout, pool.acquire_timeout) == (4, 300, 5, 5)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("GATEWAY_MAX_BODY", "20 GiB", 20 << 30),
        ("GATEWAY_MAX_BODY", "64KiB", 64 << 10),
        ("GATEWAY_MAX_BODY", "3 mib", 3 << 20),
        ("GATEWAY_MAX_BODY", "0", 0),
        ("GATEWAY_UPLOAD_MIN_RATE", "1 KiB", 1024),
        ("GATEWAY_TIMEOUT_SHORT", "0.25", 0.25),
        ("GATEWAY_DRAIN_DELAY", "0", 0.0),
        ("GATEWAY_SSE_KEEPALIVE", "0", 0.0),
        ("JWT_LEEWAY", "0", 0.0),
        ("GATEWAY_POOL_MAX_KEEPALIVE", "0", 0),
        ("GATEWAY_PUBLIC_DOCS", "Yes", True),
        ("GATEWAY_PUBLIC_DOCS", "0", False),
        ("GATEWAY_LOG_FORMAT", "TEXT", "text"),
        ("GATEWAY_RATE_LIMIT", "off", None),
        ("GATEWAY_RATE_LIMIT", "5/minute, 100/day shared", (Rate(5, 60), Rate(100, 86400, "shared"))),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8", (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
        ("GATEWAY_OVERLOAD_MEMORY", "1", 1.0),
        ("GATEWAY_CONFIG", "conf", Path("conf")),
        (
            "ALLOWED_ORIGINS",
            "HTTPS://App.Example.com:443, http://localhost:3000,http://[::1]:80",
            ("https://app.example.com", "http://localhost:3000", "http://[::1]"),
        ),
    ],
)
def test_a_variable_is_read_as_its_type(name: str, text: str, expected: object) -> None:
    assert one({name: text}, FIELDS[name]) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GATEWAY_PORT", "0"),
        ("GATEWAY_PORT", "65536"),
        ("GATEWAY_PORT", "8000.5"),
        ("GATEWAY_WORKERS", "0"),
        ("GATEWAY_WORKERS", "257"),
        ("GATEWAY_MAX_BODY", "1 MB"),
        ("GATEWAY_MAX_BODY", "-1"),
        ("GATEWAY_MAX_BODY", "1.5 MiB"),
        ("GATEWAY_MAX_BODY", "٣"),
        ("GATEWAY_WS_MAX_MESSAGE", "0"),
        ("GATEWAY_TIMEOUT_SHORT", "abc"),
        ("GATEWAY_TIMEOUT_SHORT", "0"),
        ("GATEWAY_TIMEOUT_SHORT", "inf"),
        ("GATEWAY_TIMEOUT_SHORT", "nan"),
        ("GATEWAY_TIMEOUT_SHORT", "-1"),
        ("GATEWAY_PUBLIC_DOCS", "maybe"),
        ("GATEWAY_LOG_LEVEL", "loud"),
        ("GATEWAY_OVERLOAD_MEMORY", "0"),
        ("GATEWAY_OVERLOAD_MEMORY", "1.1"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("GATEWAY_TRUSTED_PROXIES", "proxy.local"),
        ("GATEWAY_RATE_LIMIT", "5/fortnight"),
        ("GATEWAY_RATE_LIMIT", "0/minute"),
        ("GATEWAY_RATE_LIMIT", "5"),
        ("GATEWAY_POOL_MAX_CONNECTIONS", "0"),
        ("GATEWAY_POOL_CRAWLING_MAX_AGE", "soon"),
        ("GATEWAY_CACHE_STORE", "disk"),
        ("GATEWAY_CACHE_STORE", "redis"),
        ("GATEWAY_TLS_CERT", "/no/such/file"),
        ("RECAPTCHA_MIN_SCORE", "2"),
        ("RECAPTCHA_VERIFY_URL", "ftp://x"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_ORIGINS", "https://a.example/"),
        ("ALLOWED_ORIGINS", "https://*.example"),
        ("ALLOWED_ORIGINS", "https://u@a.example"),
        ("ALLOWED_ORIGINS", "https://a.example:"),
        ("ALLOWED_ORIGINS", "https://a.example?"),
        ("ALLOWED_ORIGINS", "https://a.example:99999"),
        ("ALLOWED_ORIGINS", "ws://a.example"),
        ("ALLOWED_ORIGINS", "app.example.com"),
        ("ALLOWED_ORIGINS", ","),
    ],
)
def test_what_a_variable_does_not_take_is_a_fault_that_names_it(name: str, text: str) -> None:
    faults = faults_of({name: text})
    assert faults and all(fault.startswith(f"environment: {name}: ") or "GATEWAY_TLS_KEY" in fault for fault in faults)


def test_every_fault_is_reported_not_only_the_first() -> None:
    environ = {"GATEWAY_PORT": "x", "GATEWAY_MAX_BODY": "y", "GATEWAY_HSOT": "z", "JWT_SECRET": ""}
    with pytest.raises(ConfigError) as caught:
        read(environ)
    assert len(caught.value.faults) == 4
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "near"), [("GATEWAY_HSOT", "GATEWAY_HOST"), ("gateway_timeout_shrt", "GATEWAY_TIMEOUT_SHORT")]
)
def test_an_unknown_variable_is_a_fault_with_the_nearest_known_one(name: str, near: str) -> None:
    (fault,) = faults_of({name: "1"})
    assert name.upper() in fault and f"did you mean {near}?" in fault


def test_an_unknown_variable_like_no_other_has_no_suggestion() -> None:
    (fault,) = faults_of({"GATEWAY_QQQQQQQQQQQQQQQQQQQQQQ": "1"})
    assert fault.endswith("unknown variable")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("GATEWAY_SERVICE_PORT_HTTP", "8000"),
        ("GATEWAY_PORT", "tcp://10.0.0.1:8000"),
        ("GATEWAY_PORT_8000_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_injects_is_passed_over(name: str, value: str) -> None:
    assert faults_of({name: value}) == []
    assert one({name: value}, "port") == 8000


def test_names_are_read_without_regard_to_case() -> None:
    assert one({"gateway_Port": "81"}, "port") == 81


def test_two_spellings_that_agree_are_one_variable() -> None:
    assert one({"gateway_port": "81", "GATEWAY_PORT": "81"}, "port") == 81


def test_two_spellings_that_differ_are_a_fault() -> None:
    (fault,) = faults_of({"gateway_port": "81", "GATEWAY_PORT": "82"})
    assert "GATEWAY_PORT" in fault and "more than once" in fault


def test_other_programs_variables_may_differ_by_case() -> None:
    assert faults_of({"http_proxy": "a", "HTTP_PROXY": "b"}) == []


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_value_is_no_value(blank: str) -> None:
    assert one({"GATEWAY_PORT": blank}, "port") == 8000


def test_options_win_over_variables_and_are_named_as_the_source() -> None:
    settings = read({**KEY, "GATEWAY_PORT": "81", "GATEWAY_TIMEOUT_SHORT": "9"}, {"port": "82"})
    assert settings.port == 82
    assert settings.source("port") == "option --port"
    assert settings.source("timeout_short") == "variable GATEWAY_TIMEOUT_SHORT"
    assert settings.source("timeout_long") == "default"


def test_a_fault_in_an_option_names_the_option() -> None:
    _, (fault,) = parse(KEY, {"admin_port": "x"})
    assert fault.entry == "--admin-port"


def test_a_pool_variable_of_one_upstream_wins_over_the_common_one() -> None:
    environ = {"GATEWAY_POOL_STATE_3D_MAX_CONNECTIONS": "7", "GATEWAY_POOL_MAX_CONNECTIONS": "9"}
    settings = read({**KEY, **environ})
    assert settings.pool_for("state_3d").max_connections == 7
    assert settings.pool_for("state_text").max_connections == 9
    assert settings.pool_source("state_3d", "max_connections") == "variable GATEWAY_POOL_STATE_3D_MAX_CONNECTIONS"
    assert settings.pool_source("state_text", "max_connections") == "variable GATEWAY_POOL_MAX_CONNECTIONS"
    assert settings.pool_source("state_text", "max_age") == "default"


RSA = pem(rsa.generate_private_key(65537, 2048))
EC = pem(ec.generate_private_key(ec.SECP256R1()))
ED = pem(ed25519.Ed25519PrivateKey.generate())
KEY_CASES: list[tuple[dict[str, str], str]] = [
    ({}, "GATEWAY_AUTH_MODE"),
    ({"GATEWAY_AUTH_MODE": "off"}, ""),
    ({"GATEWAY_AUTH_MODE": "observe"}, ""),
    ({"JWT_SECRET": "k" * 31}, "JWT_SECRET"),
    ({"JWT_SECRET": "k" * 31, "GATEWAY_AUTH_MODE": "observe"}, "JWT_SECRET"),
    ({"JWT_SECRET": "k" * 32}, ""),
    ({"JWT_SECRET": "é" * 16}, ""),
    ({"JWT_SECRET": "k" * 32, "JWT_JWKS_URL": "https://x/jwks"}, "JWT_SECRET"),
    ({"JWT_PUBLIC_KEY": RSA, "JWT_JWKS_URL": "https://x/jwks", "GATEWAY_AUTH_MODE": "off"}, "JWT_PUBLIC_KEY"),
    ({"JWT_JWKS_URL": "https://x/jwks"}, ""),
    ({"JWT_JWKS_URL": "file:///etc/jwks"}, "JWT_JWKS_URL"),
    ({"JWT_PUBLIC_KEY": RSA}, ""),
    ({"JWT_PUBLIC_KEY": EC}, ""),
    ({"JWT_PUBLIC_KEY": ED}, "JWT_ALGORITHMS"),
    ({"JWT_PUBLIC_KEY": ED, "JWT_ALGORITHMS": "EdDSA"}, ""),
    ({"JWT_PUBLIC_KEY": pem(dsa.generate_private_key(1024))}, "JWT_PUBLIC_KEY"),
    ({"JWT_PUBLIC_KEY": "/etc/key.pem"}, "JWT_PUBLIC_KEY"),
    ({"JWT_PUBLIC_KEY": RSA, "JWT_ALGORITHMS": "ES256"}, "JWT_ALGORITHMS"),
    ({"JWT_PUBLIC_KEY": RSA, "JWT_ALGORITHMS": "RS256,HS256"}, "JWT_ALGORITHMS"),
    ({"JWT_SECRET": "k" * 32, "JWT_ALGORITHMS": "RS256"}, "JWT_ALGORITHMS"),
    ({"JWT_SECRET": "k" * 32, "JWT_ALGORITHMS": "HS256,none"}, "JWT_ALGORITHMS"),
    ({"JWT_SECRET": "k" * 32, "JWT_ALGORITHMS": "HS512"}, ""),
]


@pytest.mark.parametrize(("environ", "entry"), KEY_CASES)
def test_the_token_keys_are_checked_together(environ: dict[str, str], entry: str) -> None:
    _, faults = parse(environ)
    assert {fault.entry for fault in faults} == ({entry} if entry else set())


def test_without_a_key_the_fault_names_the_variables_to_set() -> None:
    _, (fault,) = parse({})
    assert all(name in fault.message for name in ("JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL"))


@pytest.mark.parametrize("missing", [checks.EXPORTER, "opentelemetry"])
def test_traces_want_their_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert faults_of(collector) == []
    for name in [name for name in sys.modules if name == missing or name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)  # what an import of a package that is not there finds
    (fault,) = faults_of(collector)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in fault and 'pip install "aiogateway[otel]"' in fault
    assert faults_of({}) == []


def test_what_needs_no_key_is_not_refused_for_one_but_for_the_rest() -> None:
    _, faults = parse({"GATEWAY_PORT": "x"}, need_key=False)
    assert [fault.entry for fault in faults] == ["GATEWAY_PORT"]


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({"GATEWAY_PORT": "9000"}, 1),
        ({"GATEWAY_PORT": "9000", "GATEWAY_HOST": "127.0.0.1"}, 1),
        ({"GATEWAY_PORT": "9000", "GATEWAY_HOST": "127.0.0.2"}, 0),
    ],
)
def test_both_listeners_can_t_have_one_port_of_one_host(environ: dict[str, str], count: int) -> None:
    assert len(faults_of(environ)) == count


def test_a_certificate_goes_with_its_own_key_and_only_with_it(tmp_path: Path) -> None:
    ca = trustme.CA()
    for name in ("a", "b"):
        issued = ca.issue_cert(f"{name}.example")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    cert, key, other = str(tmp_path / "a.pem"), str(tmp_path / "a.key"), str(tmp_path / "b.key")
    assert faults_of({"GATEWAY_TLS_CERT": cert, "GATEWAY_TLS_KEY": key}) == []
    (mismatch,) = faults_of({"GATEWAY_TLS_CERT": cert, "GATEWAY_TLS_KEY": other})
    (alone,) = faults_of({"GATEWAY_TLS_KEY": key})
    assert "own" in mismatch
    assert "GATEWAY_TLS_CERT: must be set too" in alone


SECRET = "hunter2-Zq"


@pytest.mark.parametrize(
    "environ",
    [
        {"JWT_SECRET": SECRET},
        {"JWT_PUBLIC_KEY": SECRET},
        {"JWT_JWKS_URL": f"ftp://{SECRET}"},
        {"JWT_ALGORITHMS": SECRET},
        {"JWT_LEEWAY": SECRET},
        {"GATEWAY_REDIS_URL": f"http://:{SECRET}@redis"},
        {"GATEWAY_ADMIN_TOKEN": SECRET, "GATEWAY_PORT": "x"},
        {"RECAPTCHA_SECRET_KEY": SECRET, "GATEWAY_PORT": "x"},
    ],
)
def test_a_secret_is_in_no_fault_and_in_no_representation(environ: dict[str, str]) -> None:
    settings, faults = parse(environ)
    assert faults
    assert SECRET not in " ".join(map(str, faults))
    assert SECRET not in repr(settings) + str(settings)


def test_a_long_value_is_cut_and_quoted_in_a_fault() -> None:
    (fault,) = faults_of({"GATEWAY_PORT": "9\n" * 500})
    assert "\n" not in fault and len(fault) < 200


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "RECAPTCHA_SECRET_KEY"),
        ({"RECAPTCHA_SECRET_KEY": "your_secret_key"}, "placeholder"),
        ({"GATEWAY_RATE_LIMIT": "off"}, "GATEWAY_RATE_LIMIT=off"),
        ({"GATEWAY_AUTH_MODE": "off"}, "GATEWAY_AUTH_MODE=off"),
    ],
)
def test_what_is_legal_but_risky_is_noted(environ: dict[str, str], words: str) -> None:
    assert any(words in note for note in checks.notes(read({**KEY, **environ})))


def test_of_a_good_configuration_nothing_is_noted() -> None:
    assert checks.notes(read({**KEY, "RECAPTCHA_SECRET_KEY": "6LeIxAcT"})) == []


@given(st.integers(0, 1 << 40), st.sampled_from(["", " ", "\t"]), st.sampled_from(["KiB", "kib", "MiB", "GIB", ""]))
def test_a_size_is_its_count_times_its_unit(count: int, gap: str, unit: str) -> None:
    expected = count * {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}[unit.lower()]
    if expected > values.MAX_SIZE:
        with pytest.raises(ValueError, match="must be a size"):
            values.size(f"{count}{gap}{unit}")
    else:
        assert values.size(f"{count}{gap}{unit}") == expected


@given(st.integers(1, 10**9 - 1), st.sampled_from(sorted(values.PERIODS)), st.sampled_from([None, "login", "a-b_2"]))
def test_a_rate_reads_as_it_is_written(limit: int, unit: str, counter: str | None) -> None:
    rate = Rate(limit, values.PERIODS[unit], counter)
    assert values.rates(str(rate)) == (rate,)


@given(st.text())
def test_no_text_does_more_than_raise_value_error(text: str) -> None:
    for parser in (values.size, values.seconds, values.rates, values.origins, values.networks, values.destination):
        try:
            parser(text)
        except ValueError as error:
            assert str(error)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text().filter(lambda text: "\0" not in text), max_size=6))
def test_any_environment_gives_settings_or_faults(environ: dict[str, str]) -> None:
    settings, faults = parse(environ)
    assert isinstance(settings, Settings)
    assert all(fault.where and fault.message for fault in faults)


def test_a_public_key_is_no_secret() -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----"
    (fault,) = faults_of({"JWT_SECRET": pem})
    assert "JWT_PUBLIC_KEY instead" in fault and "MFkw" not in fault
