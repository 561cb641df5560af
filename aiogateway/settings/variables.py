"""The table of variables: one field each, with its default, how it is read, and which part of the gateway reads it.

Rules: a variable of the contract is here whether or not its mechanism is built; `part` names that mechanism, and parts
in `NOT_YET` have none in this version (`check` and `explain` say so). A field marked `secret` is never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from aiogateway.settings import values

# Parts whose settings and policies are accepted and checked, but have no mechanism in this version: none.
NOT_YET: Final[frozenset[str]] = frozenset()

# Without `GATEWAY_` in front: names that other programs of the platform share.
SHARED_PREFIXES: Final = ("jwt_", "recaptcha_", "allowed_", "otel_")

Size = Annotated[int, BeforeValidator(values.size)]
PositiveSize = Annotated[int, BeforeValidator(values.positive_size)]
Seconds = Annotated[float, BeforeValidator(values.seconds)]
SecondsOrZero = Annotated[float, BeforeValidator(values.seconds_or_zero)]
Count = Annotated[int, BeforeValidator(values.integer(1))]
CountOrZero = Annotated[int, BeforeValidator(values.integer(0))]
Port = Annotated[int, BeforeValidator(values.integer(1, 65535))]
Boolean = Annotated[bool, BeforeValidator(values.boolean)]
Words = Annotated[tuple[str, ...], BeforeValidator(values.words)]
Rates = Annotated[tuple[values.Rate, ...] | None, BeforeValidator(values.rates)]
Url = Annotated[str, BeforeValidator(values.web_url)]


def _of(part: str, default: Any, *, secret: bool = False) -> Any:
    return Field(default=default, json_schema_extra={"part": part, "secret": secret})


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """The limits of one upstream's pool, per worker and destination; times in seconds (contract, `GATEWAY_POOL_*`)."""

    max_connections: int
    max_streams: int
    max_keepalive: int
    keepalive_timeout: float
    max_age: float
    connect_timeout: float
    acquire_timeout: float
    max_pending: int


POOL_FIELDS: Final = tuple(field.name for field in fields(PoolSettings))


class Variables(BaseModel):
    """Every variable of the contract with a fixed name. Sizes in bytes, times in seconds, rates in bytes a second."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    host: str = _of("data path", "0.0.0.0")
    port: Port = _of("data path", 8000)
    admin_host: str = _of("data path", "127.0.0.1")
    admin_port: Port = _of("data path", 9000)
    admin_token: SecretStr | None = _of("guards", None, secret=True)
    public_docs: Boolean = _of("observability", False)
    config: Path | None = _of("data path", None)
    workers: Annotated[int, BeforeValidator(values.integer(1, 256))] = _of("data path", 1)
    tls_cert: Path | None = _of("data path", None)
    tls_key: Path | None = _of("data path", None)
    drain_timeout: SecondsOrZero = _of("data path", 30.0)
    drain_delay: SecondsOrZero = _of("data path", 2.0)
    log_level: Annotated[str, BeforeValidator(values.choice("debug", "info", "warning", "error", "critical"))] = _of(
        "data path", "info"
    )
    log_format: Annotated[str, BeforeValidator(values.choice("json", "text"))] = _of("data path", "json")
    trusted_proxies: Annotated[tuple[values.Network, ...], BeforeValidator(values.networks)] = _of("data path", ())
    max_connections: Count = _of("survival", 10000)
    max_body: Size = _of("data path", 1 << 20)
    upload_min_rate: Size = _of("data path", 16 << 10)
    download_min_rate: Size = _of("data path", 1 << 10)
    header_timeout: Seconds = _of("data path", 10.0)
    keepalive_timeout: Seconds = _of("data path", 75.0)
    idle_timeout: Seconds = _of("data path", 60.0)
    stream_idle_timeout: Seconds = _of("data path", 300.0)
    timeout_short: Seconds = _of("data path", 60.0)
    timeout_medium: Seconds = _of("data path", 120.0)
    timeout_long: Seconds = _of("data path", 600.0)
    pool_max_connections: Count = _of("data path", 100)
    pool_max_streams: Count = _of("data path", 1000)
    pool_max_keepalive: CountOrZero = _of("data path", 20)
    pool_keepalive_timeout: Seconds = _of("data path", 4.0)
    pool_max_age: Seconds = _of("data path", 300.0)
    pool_connect_timeout: Seconds = _of("data path", 5.0)
    pool_acquire_timeout: Seconds = _of("data path", 5.0)
    pool_max_pending: CountOrZero = _of("data path", 1000)
    allowed_origins: Annotated[tuple[str, ...], BeforeValidator(values.origins)] = _of(
        "guards", ("https://machineagents.ai", "https://staging.machineagents.ai", "http://localhost:3000")
    )
    auth_mode: Annotated[str, BeforeValidator(values.choice("enforce", "observe", "off"))] = _of("guards", "enforce")
    auth_fail_limit: Rates = _of("guards", (values.Rate(30, 60),))
    jwt_secret: SecretStr | None = _of("guards", None, secret=True)
    jwt_public_key: SecretStr | None = _of("guards", None, secret=True)
    jwt_jwks_url: Url | None = _of("guards", None, secret=True)
    jwt_algorithms: Annotated[tuple[str, ...], BeforeValidator(values.algorithms)] = _of("guards", (), secret=True)
    jwt_issuer: str | None = _of("guards", None, secret=True)
    jwt_audience: str | None = _of("guards", None, secret=True)
    jwt_leeway: SecondsOrZero = _of("guards", 30.0, secret=True)
    jwt_user_claim: str = _of("guards", "sub", secret=True)
    jwt_roles_claim: str = _of("guards", "roles", secret=True)
    recaptcha_secret_key: SecretStr | None = _of("guards", None, secret=True)
    recaptcha_verify_url: Url = _of("guards", "https://www.google.com/recaptcha/api/siteverify")
    recaptcha_min_score: Annotated[float, BeforeValidator(values.score)] = _of("guards", 0.5)
    recaptcha_hostnames: Words = _of("guards", ())
    recaptcha_timeout: Seconds = _of("guards", 3.0)
    rate_limit: Rates = _of("guards", (values.Rate(600, 60),))
    redis_url: Annotated[SecretStr | None, BeforeValidator(values.redis_url)] = _of("guards", None, secret=True)
    cache_store: Annotated[str, BeforeValidator(values.choice("memory", "redis"))] = _of("cache", "memory")
    cache_max_bytes: Size = _of("cache", 64 << 20)
    cache_max_object: Size = _of("cache", 1 << 20)
    compress_min_size: Size = _of("compression", 1 << 10)
    compress_types: Words = _of(
        "compression",
        (
            "text/*",
            "application/json",
            "application/problem+json",
            "application/javascript",
            "application/xml",
            "image/svg+xml",
            "application/wasm",
        ),
    )
    sse_keepalive: SecondsOrZero = _of("streams", 15.0)
    ws_max_message: PositiveSize = _of("streams", 16 << 20)
    overload_lag: Seconds = _of("survival", 0.5)
    overload_memory: Annotated[float, BeforeValidator(values.share)] = _of("survival", 0.9)
    otel_exporter_otlp_endpoint: Url | None = _of("observability", None)


def variable_name(field: str) -> str:
    """The variable of a field: `timeout_short` -> `GATEWAY_TIMEOUT_SHORT`, `jwt_secret` -> `JWT_SECRET`."""
    return field.upper() if field.startswith(SHARED_PREFIXES) else f"GATEWAY_{field.upper()}"


FIELDS: Final[Mapping[str, str]] = {variable_name(field): field for field in Variables.model_fields}


def part_of(field: str) -> str:
    """Which part of the gateway reads a field."""
    return str(_marks(field)["part"])


def is_secret(field: str) -> bool:
    """Whether what the variable holds must not be shown."""
    return bool(_marks(field)["secret"])


def _marks(field: str) -> dict[str, Any]:
    marks = Variables.model_fields[field].json_schema_extra
    if not isinstance(marks, dict):
        raise TypeError(f"the field {field} was declared without a part")
    return marks
