"""Pictures of the dashboard: `python -m tests.admin.screenshots FOLDER`."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.browser import chromium
from tests.e2e.harness import free_port

GOOD = ("/v2/homepage-slow?seconds=0.05", "/v2/homepage-slow?seconds=0.01", "/healthz", "/nothing")
BAD = ("/v2/homepage-fail?status=503", "/v2/homepage-fail?status=500", "/v2/homepage-cut", *GOOD[:2])
WIDE, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def load(port: int, paths: tuple[str, ...], until: threading.Event) -> None:
    """Ask for one path after the other, over a connection each."""
    number = 0
    while not until.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        number += 1
        try:
            connection.request("GET", paths[number % len(paths)])
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):  # some of them are meant to break
            continue
        finally:
            connection.close()


def busy(port: int, paths: tuple[str, ...], seconds: float, work: Callable[[], None]) -> None:
    """Make load for some seconds, then do the work while it goes on."""
    until = threading.Event()
    threads = [threading.Thread(target=load, args=(port, paths, until)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(seconds)
        work()
    finally:
        until.set()
        for thread in threads:
            thread.join()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    port, admin_port = free_port(), free_port()
    environment = {
        **os.environ,
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_RATE_LIMIT": "off",
    }
    command = [sys.executable, "-m", "aiogateway", "demo"]
    demo = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        with chromium() as browser:

            def take(name: str) -> None:
                for suffix, size, scheme in (("", WIDE, "light"), ("-dark", WIDE, "dark"), ("-phone", PHONE, "light")):
                    page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
                    page.goto(f"http://127.0.0.1:{admin_port}/")
                    page.wait_for_selector("#rows .badge")
                    if name == "failing":
                        page.locator("button.name").first.click()
                    page.screenshot(path=str(folder / f"dashboard-{name}{suffix}.png"))
                    page.close()

            while True:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=1)
                    connection.request("GET", "/readyz")
                    if connection.getresponse().status == 200:
                        break
                except OSError:
                    time.sleep(0.1)
            take("idle")
            busy(port, GOOD, 22, lambda: take("busy"))
            busy(port, BAD, 22, lambda: take("failing"))
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(20)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
