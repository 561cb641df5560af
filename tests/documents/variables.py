"""What each variable is for, in the order in which docs/configuration.md shows them.

Rules: a sentence says what the setting does; default, unit and what may be given come from the settings themselves
(`settings_tables`). What SIGHUP takes up is said where it is anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Title -> field of the settings -> sentences.
GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Listeners and processes": {
        "host": "Address of the public listener.",
        "port": "Port of the public listener.",
        "admin_host": "Address of the admin listener. Keep it away from the public.",
        "admin_port": "Port of the admin listener.",
        "admin_token": "The admin listener asks for it, as a bearer token or as the password of HTTP Basic. `/healthz`"
        " and `/readyz` stay open.",
        "public_docs": "`/docs` and `/openapi.json` on the public listener too.",
        "config": "Folder with `upstreams.toml` and `routes/*.toml`; without it the packaged table holds. Reload: the"
        " folder's files are read again.",
        "config_watch": "How often the files of the configuration are looked at; what changed is read as by `SIGHUP`."
        " 0 never does.",
        "workers": "Processes that share the port. One for each core.",
        "tls_cert": "PEM chain of the public listener's certificate. Reload: the file is read again.",
        "tls_key": "Its private key, PEM, unencrypted. Reload: the file is read again.",
        "trusted_proxies": "Networks whose `X-Forwarded-*` is believed.",
    },
    "Routes' defaults": {
        "timeout_short": "Tier `short`: how long a service may take to begin its answer.",
        "timeout_medium": "Tier `medium`.",
        "timeout_long": "Tier `long`.",
        "max_body": "Largest request body, where a route has no `max_body`.",
        "rate_limit": "Limit for each client and route, where a route has no `rate_limit`. `off` switches every limit"
        " off, those of routes too.",
        "sse_keepalive": "Silence on an event stream after which a comment is sent. 0 sends none.",
        "ws_max_message": "Largest message that a client may send over a WebSocket.",
    },
    "Who may call": {
        "allowed_origins": "Origins whose pages may call with credentials.",
        "auth_mode": "`observe` verifies tokens and refuses nobody. `off` reads none.",
        "auth_fail_limit": "Failed authentications for each client address. Past it 429, before a token is looked at.",
        "jwt_secret": "Shared secret that verifies tokens, 32 bytes or more. One source of keys is needed:"
        " this, `JWT_PUBLIC_KEY` or `JWT_JWKS_URL`.",
        "jwt_public_key": "Public key that verifies tokens: the PEM text itself.",
        "jwt_jwks_url": "Address of a JWK Set. It is fetched again every ten minutes, and when a token names a key that"
        " isn't known, at most every 30 s; nothing needs a reload.",
        "jwt_algorithms": "Algorithms that are accepted.",
        "jwt_issuer": "What `iss` must be. Without it `iss` isn't looked at.",
        "jwt_audience": "What `aud` must hold. Without it `aud` isn't looked at.",
        "jwt_leeway": "By how much clocks may differ.",
        "jwt_user_claim": "Claim that holds the user.",
        "jwt_roles_claim": "Claim that holds the roles.",
        "recaptcha_secret_key": "Key for the verifier. Without it routes with `recaptcha` answer 503.",
        "recaptcha_verify_url": "Where the verifier is.",
        "recaptcha_min_score": "Least score of a v3 token.",
        "recaptcha_hostnames": "Host names on which the challenge may have been solved. Without any: every one.",
        "recaptcha_timeout": "How long the verifier may take.",
    },
    "Clients' connections": {
        "max_connections": "Open client connections of a worker. Past it 503.",
        "header_timeout": "How long a request's head may take to arrive.",
        "keepalive_timeout": "How long an idle client connection is kept.",
        "idle_timeout": "Silence of a client within a body (408), and of a service within an answer, where the route's"
        " `timeout` isn't longer.",
        "stream_idle_timeout": "The same for event streams and WebSockets.",
        "upload_min_rate": "Bytes a second that a client must send while a body is awaited, after 30 s of grace.",
        "download_min_rate": "Bytes a second that a client must take, after 30 s of grace.",
    },
    "Pools": {
        "pool_max_connections": "Requests at once.",
        "pool_max_streams": "Open event streams and WebSockets. They don't count as requests at once.",
        "pool_max_keepalive": "Idle connections kept.",
        "pool_keepalive_timeout": "How long an idle connection is kept. Keep it below the service's own time.",
        "pool_max_age": "Age past which a connection is not used again.",
        "pool_connect_timeout": "How long TCP and TLS may take.",
        "pool_acquire_timeout": "How long a request waits for a place. Past it 503 `upstream_pool_exhausted`.",
        "pool_max_pending": "Requests that may wait for a place. The next gets 503 at once.",
    },
    "Shared state and cache": {
        "redis_url": "Redis or Valkey that counts limits for all machines; it may hold the cache too.",
        "redis_timeout": "How long a request may wait for it. Then this machine counts, and the cache has no answer.",
        "cache_store": "`memory`: a cache in each worker. `redis`: one for all machines, in `GATEWAY_REDIS_URL`.",
        "cache_max_bytes": "Size of the cache of one worker.",
        "cache_max_object": "Largest answer that is stored.",
        "compress_min_size": "Answers below it are left plain, where their length is known.",
        "compress_types": "Media types that are compressed.",
    },
    "Overload and the end": {
        "overload_lag": "Lateness of the event loop past which new requests get 503 `overloaded`.",
        "overload_memory": "Share of the memory limit past which they do.",
        "drain_delay": "From `SIGTERM` on: `/readyz` says no, new connections are still taken.",
        "drain_timeout": "Then: what requests in flight get to finish.",
    },
    "Logs and traces": {
        "log_level": "What is logged. Requests are logged at `info`.",
        "log_format": "`json` for programs, `text` for people.",
        "otel_exporter_otlp_endpoint": "Where spans go, by OTLP over HTTP. Needs the extra `otel`.",
    },
}
