"""The gateway as a contender: a folder of route files and an environment, by its contract; nothing imported from it.

The table has 150 routes in the shape of the packaged one (literals, `{name}`, prefixes, tails), the benchmarked ones in
the middle of it.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import traffic

ROUTES = 150
SUBJECTS = [
    "chatbots",
    "chatbot-status",
    "purpose",
    "avatar",
    "voice",
    "system-prompt",
    "urls",
    "text",
    "chat-history",
    "client-data",
    "products",
    "plans",
    "orders",
    "invoices",
    "subscription",
    "profile",
    "appointments",
    "greeting",
    "transcripts",
    "feedback",
    "analytics",
    "documents",
    "consent",
    "notifications",
    "team",
]
ACTIONS = ("fetch", "create", "update", "delete", "list")
SHAPES = ("/v2/{a}-{s}", "/v2/{a}-{s}/{{user_id}}", "/v2/{a}-{s}/{{project_id}}/items", "/v2/{a}-{s}/{{rest:path}}")
BENCHMARKED = (
    ("/v2/get-chatbots/{user_id}", "GET", ""),
    (traffic.FORM, "POST", ""),
    ("/v2/get-response-3dchatbot/{rest:path}", "GET", ""),
    (traffic.UPLOAD, "POST", 'timeout = "long"\nmax_body = "64 GiB"\n'),
    (traffic.DOWNLOAD, "GET", 'timeout = "long"\n'),
    ("/v2/call-model/{model_name}", "GET", 'timeout = "long"\n'),
)
DEFAULTS = {
    False: 'auth = "public"\nrate_limit = "off"\n',
    True: 'auth = "required"\nrate_limit = "1000000/second"\n',
}


def table(routes: int = ROUTES) -> list[tuple[str, str, str]]:
    """Path, method and further TOML lines of each of `routes` routes."""
    others = [
        (shape.format(a=action, s=subject if copy == 0 else f"{subject}-{copy}"), "GET", "")
        for copy in range(1 + routes // (len(SHAPES) * len(ACTIONS) * len(SUBJECTS)))
        for shape in SHAPES
        for subject in SUBJECTS
        for action in ACTIONS
    ][: routes - len(BENCHMARKED)]
    middle = len(others) // 2
    return [*others[:middle], *BENCHMARKED, *others[middle:]]


def write_table(folder: Path, backend: int, guards: bool, routes: int = ROUTES) -> None:
    """Write `upstreams.toml` and `routes/bench.toml` into `folder`, `routes` routes to 127.0.0.1:`backend`."""
    (folder / "routes").mkdir(parents=True)
    (folder / "upstreams.toml").write_text(f'[bench]\nurl = "http://127.0.0.1:{backend}"\n')
    entries = (f'\n[[route]]\npath = "{path}"\nmethods = ["{method}"]\n{more}' for path, method, more in table(routes))
    (folder / "routes" / "bench.toml").write_text('upstream = "bench"\n' + DEFAULTS[guards] + "".join(entries))


def environment(config: Path, port: int, admin_port: int, guards: bool) -> dict[str, str]:
    """The variables the gateway is started with; the pools keep their defaults."""
    return {
        "GATEWAY_CONFIG": str(config),
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_HOST": "127.0.0.1",
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_DRAIN_DELAY": "0",
        "GATEWAY_DRAIN_TIMEOUT": "2",
        # As the other proxies have it: connections for as many clients as there are, and 100 of them kept.
        "GATEWAY_POOL_MAX_CONNECTIONS": "256",
        "GATEWAY_POOL_MAX_KEEPALIVE": "100",
        **({"JWT_SECRET": traffic.SECRET} if guards else {"GATEWAY_AUTH_MODE": "off"}),
    }
