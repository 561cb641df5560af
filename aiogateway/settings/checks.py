"""Checks that need more than one variable, and what is legal but worth saying at start-up.

Rules: a check says which variables to set, by name; nothing a key holds is in its words.
"""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from aiogateway.settings.faults import ENVIRONMENT, Fault
from aiogateway.settings.values import ALGORITHMS
from aiogateway.settings.variables import Variables

MIN_SECRET: Final = 32  # bytes: RFC 7518 section 3.2 wants as many as the hash has, 32 for HS256
MIN_RSA: Final = 2048  # bits: RFC 7518 section 3.3
KEY_SOURCES: Final = {
    "jwt_secret": "JWT_SECRET",
    "jwt_public_key": "JWT_PUBLIC_KEY",
    "jwt_jwks_url": "JWT_JWKS_URL",
}
WILDCARDS: Final = frozenset({"0.0.0.0", "::", "*"})
PLACEHOLDERS: Final = frozenset({"your_secret_key", "your-secret-key", "changeme", "change-me", "secret"})
EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"  # of the extra `otel`
CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def cross_faults(
    settings: Variables, sources: Mapping[str, str], broken: Collection[str], *, need_key: bool
) -> list[Fault]:
    """Every fault that lies between variables.

    :param sources: field -> `variable NAME` or `option --name`, for those that are set.
    :param broken: fields whose own value is at fault already.
    :param need_key: whether the token keys matter to what is being done.
    """
    found = [*_listeners(settings), *_tls(settings, sources), *_stores(settings, broken), *_traces(settings)]
    if need_key:
        found += _keys(settings, broken)
    return [Fault(ENVIRONMENT, entry, "", message) for entry, message in found]


def secret_is_short(secret: str) -> bool:
    """Whether a shared secret is too short to sign with."""
    return len(secret.encode()) < MIN_SECRET


def notes(settings: Variables) -> list[str]:
    """What is allowed, and should still be noticed by who starts the gateway."""
    said = []
    if not recaptcha_configured(settings):
        said.append("RECAPTCHA_SECRET_KEY is missing or a placeholder: routes with recaptcha answer 503")
    if settings.rate_limit is None:
        said.append("GATEWAY_RATE_LIMIT=off: no limit applies, the routes' own neither")
    if settings.auth_mode != "enforce":
        said.append(f"GATEWAY_AUTH_MODE={settings.auth_mode}: no request is refused for its token")
    if settings.auth_mode == "observe" and not _given_keys(settings):
        said.append(f"GATEWAY_AUTH_MODE=observe without {_any_key()}: every token will count as refused")
    return said


def recaptcha_configured(settings: Variables) -> bool:
    """Whether there is a key for the verifier, and not one copied from an example."""
    key = settings.recaptcha_secret_key
    return key is not None and key.get_secret_value().strip().lower() not in PLACEHOLDERS


def _any_key() -> str:
    return "JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL"


def _given_keys(settings: Variables) -> list[str]:
    return [name for field, name in KEY_SOURCES.items() if getattr(settings, field) is not None]


def _listeners(settings: Variables) -> Iterator[tuple[str, str]]:
    hosts = {settings.host, settings.admin_host}
    if settings.port == settings.admin_port and (len(hosts) == 1 or hosts & WILDCARDS):
        yield "GATEWAY_ADMIN_PORT", f"is GATEWAY_PORT too ({settings.port}); the admin listener needs its own port"


def _tls(settings: Variables, sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    files: dict[str, Path | None] = {"GATEWAY_TLS_CERT": settings.tls_cert, "GATEWAY_TLS_KEY": settings.tls_key}
    given = {name: path for name, path in files.items() if path is not None}
    if len(given) == 1:
        missing = next(name for name in files if name not in given)
        yield missing, f"must be set too, since {next(iter(given))} is"
    unreadable = False
    for name, path in given.items():
        try:
            path.open("rb").close()
        except OSError as error:
            unreadable = True
            yield name, f"can't be read: {error.strerror}"
    if settings.tls_cert and settings.tls_key and not unreadable:
        try:
            # An empty password: without one OpenSSL would ask for it on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, password="")
        except (ssl.SSLError, OSError):
            yield "GATEWAY_TLS_CERT", "and GATEWAY_TLS_KEY must be a PEM chain and its own unencrypted private key"


def _stores(settings: Variables, broken: Collection[str]) -> Iterator[tuple[str, str]]:
    if settings.cache_store == "redis" and settings.redis_url is None and "redis_url" not in broken:
        yield "GATEWAY_CACHE_STORE", "is redis: set GATEWAY_REDIS_URL too"


def _traces(settings: Variables) -> Iterator[tuple[str, str]]:
    if settings.otel_exporter_otlp_endpoint is not None and not _is_installed(EXPORTER):
        yield "OTEL_EXPORTER_OTLP_ENDPOINT", 'needs what is not installed: pip install "aiogateway[otel]"'


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package that it would be in
        return False


def _keys(settings: Variables, broken: Collection[str]) -> Iterator[tuple[str, str]]:
    given = _given_keys(settings)
    if len(given) > 1:
        yield given[0], f"set only one of {' and '.join(given)}"
    elif not given and settings.auth_mode == "enforce" and not KEY_SOURCES.keys() & set(broken):
        yield "GATEWAY_AUTH_MODE", f"is enforce and there is no key: set {_any_key()}, or GATEWAY_AUTH_MODE=off"
    secret = settings.jwt_secret
    if secret is not None and settings.auth_mode != "off" and secret_is_short(secret.get_secret_value()):
        yield "JWT_SECRET", f"must have at least {MIN_SECRET} bytes (or set JWT_PUBLIC_KEY or JWT_JWKS_URL instead)"
    elif secret is not None and _is_key_text(secret.get_secret_value()):
        yield "JWT_SECRET", "is a public key or a certificate, which is no secret: set JWT_PUBLIC_KEY instead"
    kind = None
    if settings.jwt_public_key is not None:
        kind = _kind_of(settings.jwt_public_key.get_secret_value())
        if kind is None:
            wanted = "RSA of 2048 bits or more, EC P-256/384/521 or Edwards"
            yield "JWT_PUBLIC_KEY", f"must be a public key in PEM ({wanted}), itself, not a path"
    if len(given) == 1 and "jwt_algorithms" not in broken:
        kinds = [ALGORITHMS[name] for name in settings.jwt_algorithms]
        symmetric = secret is not None
        # A mixture would let a public key be used as a shared secret (RFC 8725 section 2.1).
        if any((found == "secret") != symmetric for found in kinds) or (kind is not None and kind not in kinds):
            fits = [n for n, k in ALGORITHMS.items() if (k == "secret") == symmetric and kind in (None, k)]
            yield "JWT_ALGORITHMS", f"must fit {given[0]}, which goes with {', '.join(fits)}"


def _is_key_text(secret: str) -> bool:
    """Whether somebody put a public key where a secret belongs; whoever has it could sign tokens."""
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        return True
    return False


def _kind_of(pem: str) -> str | None:
    """What kind of public key a PEM text holds, in the words of `ALGORITHMS`; None if it holds none that is known."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        return CURVES.get(key.curve.name)
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return "Edwards"
    return "RSA" if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA else None
