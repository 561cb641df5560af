"""The table of variables: one field each, with its default and how it is read.

A field marked `secret` is never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from aiogateway.settings import values

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


def _of(default: Any, *, secret: bool = False) -> Any:
    return Field(default=default, json_schema_extra={"secret": secret})


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

    host: str = _of("0.0.0.0")
    port: Port = _of(8000)
    admin_host: str = _of("127.0.0.1")
    admin_port: Port = _of(9000)
    admin_token: SecretStr | None = _of(None, secret=True)
    public_docs: Boolean = _of(False)
    config: Path | None = _of(None)
    config_watch: SecondsOrZero = _of(0.0)
    workers: Annotated[int, BeforeValidator(values.integer(1, 256))] = _of(1)
    tls_cert: Path | None = _of(None)
    tls_key: Path | None = _of(None)
    drain_timeout: SecondsOrZero = _of(30.0)
    drain_delay: SecondsOrZero = _of(2.0)
    log_level: Annotated[str, BeforeValidator(values.choice("debug", "info", "warning", "error", "critical"))] = _of(
        "info"
    )
    log_format: Annotated[str, BeforeValidator(values.choice("json", "text"))] = _of("json")
    trusted_proxies: Annotated[tuple[values.Network, ...], BeforeValidator(values.networks)] = _of(())
    max_connections: Count = _of(10000)
    max_body: Size = _of(1 << 20)
    upload_min_rate: Size = _of(16 << 10)
    download_min_rate: Size = _of(1 << 10)
    header_timeout: Seconds = _of(10.0)
    keepalive_timeout: Seconds = _of(75.0)
    idle_timeout: Seconds = _of(60.0)
    stream_idle_timeout: Seconds = _of(300.0)
    timeout_short: Seconds = _of(60.0)
    timeout_medium: Seconds = _of(120.0)
    timeout_long: Seconds = _of(600.0)
    pool_max_connections: Count = _of(100)
    pool_max_streams: Count = _of(1000)
    pool_max_keepalive: CountOrZero = _of(20)
    pool_keepalive_timeout: Seconds = _of(4.0)
    pool_max_age: Seconds = _of(300.0)
    pool_connect_timeout: Seconds = _of(5.0)
    pool_acquire_timeout: Seconds = _of(5.0)
    pool_max_pending: CountOrZero = _of(1000)
    allowed_origins: Annotated[tuple[str, ...], BeforeValidator(values.origins)] = _of(
        ("https://machineagents.ai", "https://staging.machineagents.ai", "http://localhost:3000")
    )
    auth_mode: Annotated[str, BeforeValidator(values.choice("enforce", "observe", "off"))] = _of("enforce")
    auth_fail_limit: Rates = _of((values.Rate(30, 60),))
    jwt_secret: SecretStr | None = _of(None, secret=True)
    jwt_public_key: SecretStr | None = _of(None, secret=True)
    jwt_jwks_url: Url | None = _of(None, secret=True)
    jwt_algorithms: Annotated[tuple[str, ...], BeforeValidator(values.algorithms)] = _of((), secret=True)
    jwt_issuer: str | None = _of(None, secret=True)
    jwt_audience: str | None = _of(None, secret=True)
    jwt_leeway: SecondsOrZero = _of(30.0, secret=True)
    jwt_user_claim: str = _of("sub", secret=True)
    jwt_roles_claim: str = _of("roles", secret=True)
    recaptcha_secret_key: SecretStr | None = _of(None, secret=True)
    recaptcha_verify_url: Url = _of("https://www.google.com/recaptcha/api/siteverify")
    recaptcha_min_score: Annotated[float, BeforeValidator(values.score)] = _of(0.5)
    recaptcha_hostnames: Words = _of(())
    recaptcha_timeout: Seconds = _of(3.0)
    rate_limit: Rates = _of((values.Rate(600, 60),))
    redis_url: Annotated[SecretStr | None, BeforeValidator(values.redis_url)] = _of(None, secret=True)
    redis_timeout: Seconds = _of(0.1)
    cache_store: Annotated[str, BeforeValidator(values.choice("memory", "redis"))] = _of("memory")
    cache_max_bytes: Size = _of(64 << 20)
    cache_max_object: Size = _of(1 << 20)
    compress_min_size: Size = _of(1 << 10)
    compress_types: Words = _of(
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
    sse_keepalive: SecondsOrZero = _of(15.0)
    ws_max_message: PositiveSize = _of(16 << 20)
    overload_lag: Seconds = _of(0.5)
    overload_memory: Annotated[float, BeforeValidator(values.share)] = _of(0.9)
    otel_exporter_otlp_endpoint: Url | None = _of(None)


def variable_name(field: str) -> str:
    """The variable of a field: `timeout_short` -> `GATEWAY_TIMEOUT_SHORT`, `jwt_secret` -> `JWT_SECRET`."""
    return field.upper() if field.startswith(SHARED_PREFIXES) else f"GATEWAY_{field.upper()}"


FIELDS: Final[Mapping[str, str]] = {variable_name(field): field for field in Variables.model_fields}


def is_secret(field: str) -> bool:
    """Whether what the variable holds must not be shown."""
    return bool(_marks(field)["secret"])


def _marks(field: str) -> dict[str, Any]:
    marks = Variables.model_fields[field].json_schema_extra
    if not isinstance(marks, dict):
        raise TypeError(f"the field {field} was declared without a part")
    return marks
