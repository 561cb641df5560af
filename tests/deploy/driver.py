"""Runs services as Compose would, in their order, and asks what a person would ask them. A program of its own.

Reads from stdin a list of services: `name`, `words`, `environ`, `health`. Prints what it found, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

# Seconds that any one wait may take.
PATIENCE = 40.0


def until(look: Callable[[], bool], what: str) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > deadline:
            sys.exit(f"in vain: {what}")
        time.sleep(0.1)


def ask(url: str, token: str = "", **form: str) -> Any:
    """The JSON of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urlopen(Request(url, urlencode(form).encode() or None, headers), timeout=PATIENCE) as answer:
        return json.load(answer)


def scraped() -> bool:
    """Whether Prometheus has got the gateway's figures, and has rules for them."""
    found = ask("http://prometheus:9090/api/v1/query?" + urlencode({"query": "gateway_build_info"}))
    return bool(found["data"]["result"] and ask("http://prometheus:9090/api/v1/rules")["data"]["groups"])


def looked_at() -> dict[str, Any]:
    """What the gateway and its neighbours answer."""
    gateway = "http://gateway:8000/v2"
    login = ask(f"{gateway}/login1", email="ada@example.com", password="p", recaptcha_token="good")
    chatbots = ask(f"{gateway}/get-chatbots/{login['user_id']}", token=login["access_token"])
    keys = subprocess.run(["redis-cli", "-h", "redis", "dbsize"], capture_output=True, text=True, check=True).stdout
    until(scraped, "Prometheus has the gateway's figures")
    ups = ask("http://prometheus:9090/api/v1/query?" + urlencode({"query": "gateway_upstream_up"}))["data"]["result"]
    return {
        "chatbots": chatbots,
        "counters in Redis": int(keys),
        "upstreams": {up["metric"]["upstream"]: up["value"][1] for up in ups},
    }


def start(service: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A service that is healthy."""
    environ = {**os.environ, **service["environ"]}
    process = subprocess.Popen(service["words"], env=environ, stdout=sys.stderr)

    def healthy() -> bool:
        if process.poll() is not None:
            sys.exit(f"{service['name']} ended: {process.returncode}")
        return subprocess.run(service["health"], env=environ, capture_output=True, check=False).returncode == 0

    until(healthy, f"{service['name']} is healthy")
    return process


def main() -> None:
    """Start all, look, and end all."""
    running = {service["name"]: start(service) for service in json.load(sys.stdin)}
    found = looked_at()
    ended = {}
    for name, process in reversed(running.items()):
        process.send_signal(signal.SIGTERM)
        ended[name] = process.wait(PATIENCE)
    json.dump({**found, "ended": ended}, sys.stdout)


if __name__ == "__main__":
    main()
