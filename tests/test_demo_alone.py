"""`python -m aiogateway.demo`: the stand-ins without a gateway, as a process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import jwt

from aiogateway.demo.__main__ import VERIFIER_PORT, addresses
from aiogateway.demo.stand_ins import VERIFIER
from tests.programs import Program

KEY = "k" * 48
COMMAND = [sys.executable, "-W", "error", "-m", "aiogateway.demo"]


@contextlib.contextmanager
def alone(**environ: str) -> Iterator[tuple[str, Program]]:
    """The stand-ins on an address of the loopback network that nobody else has, and that address."""
    host = ".".join(("127", *(str(random.randint(1, 254)) for _ in range(3))))
    process = subprocess.Popen(
        [*COMMAND, "--host", host],
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    program = Program(process)
    try:
        assert program.line() == "the stand-ins listen"
        yield host, program
    finally:
        program.close()


def answer(host: str, port: int, path: str, **form: str) -> Any:
    with urlopen(f"http://{host}:{port}{path}", urlencode(form).encode() or None, timeout=10) as response:
        return json.load(response)


def test_every_service_is_where_the_packaged_table_has_it_and_a_signal_ends_them() -> None:
    with alone(JWT_SECRET=KEY, RECAPTCHA_SECRET_KEY="the verifier's") as (host, program):
        services = {variable: port for variable, (_, port) in addresses(host).items() if variable != VERIFIER}
        said = {variable: answer(host, port, "/health")["service"] for variable, port in services.items()}
        assert said == {variable: variable.lower().removesuffix("_url") for variable in services}
        assert sorted(services.values()) == list(range(8001, 8021))
        verdict = answer(host, VERIFIER_PORT, "/siteverify", secret="the verifier's", response="good")
        login = answer(host, services["AUTH_SERVICE_URL"], "/v2/login", email="ada@example.com", password="p")
        program.signal(signal.SIGTERM)
        assert program.ended() == 0
    assert verdict["success"]
    assert jwt.decode(login["access_token"], KEY, algorithms=["HS256"])["sub"] == login["user_id"]


def test_without_a_key_they_dont_start_and_say_what_is_missing() -> None:
    for environ in ({}, {"GATEWAY_AUTH_MODE": "off"}):
        done = subprocess.run(
            COMMAND,
            env={"PATH": os.environ["PATH"], **environ},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, "JWT_SECRET" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
