"""The demo as a newcomer meets it: log in, upload, crawl, watch answers stream."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .harness import Gateway, chunked, eventually, request, running

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
QUESTION = json.dumps({"user_id": "u1", "project_id": "p", "session_id": "s", "question": "hi"}).encode()


@pytest.fixture(scope="module")
def demo() -> Iterator[Gateway]:
    """`aiogateway demo`, which makes its own key."""
    with running(None, "demo", JWT_SECRET="", GATEWAY_AUTH_MODE="") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def bearer(demo: Gateway) -> str:
    """The Authorization line of a user who logged in."""
    answer = demo.send("POST", "/v2/login", FORM, body=b"email=a%40b.c&password=p")
    assert answer.status == 200, answer.body.kept[:300]
    token = re.search(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+", answer.data)
    assert token is not None, answer.data
    return f"Authorization: Bearer {token[0].decode()}"


def user_of(bearer: str) -> str:
    """The user whom a token names."""
    claims = bearer.rpartition(" ")[2].split(".")[1]
    user: str = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    return user


def multipart(boundary: str, user: str, *files: bytes) -> bytes:
    """The form that `/v2/fetch-pdf` takes."""
    parts = [
        f'form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in (("user_id", user), ("project_id", "p"))
    ]
    for number, data in enumerate(files):
        head = f'form-data; name="files"; filename="{number}.pdf"\r\nContent-Type: application/pdf\r\n\r\n'
        parts.append(head.encode() + data)
    opened = b"".join(f"--{boundary}\r\nContent-Disposition: ".encode() + part + b"\r\n" for part in parts)
    return opened + f"--{boundary}--\r\n".encode()


def test_a_multipart_upload_is_answered_with_names_sizes_and_digests(demo: Gateway, bearer: str) -> None:
    files = [bytes(range(256)) * 4096 * 3, b"", b"small\r\n--not-the-boundary"]
    form = multipart("xyz", user_of(bearer), *files)
    kind = "Content-Type: multipart/form-data; boundary=xyz"
    whole = demo.send("POST", "/v2/fetch-pdf", bearer, kind, body=form)
    assert whole.status == 200, whole.body.kept[:300]
    pieces = [form[at : at + 7777] for at in range(0, len(form), 7777)]
    in_chunks = demo.ask(
        request("POST", "/v2/fetch-pdf", bearer, kind, "Transfer-Encoding: chunked") + chunked(*pieces)
    )
    for answer in (whole, in_chunks):
        for number, data in enumerate(files):
            assert hashlib.sha256(data).hexdigest().encode() in answer.data
            assert b"%d.pdf" % number in answer.data
            assert str(len(data)).encode() in answer.data


def test_a_crawl_gets_done(demo: Gateway, bearer: str) -> None:
    form = f"user_id={user_of(bearer)}&project_id=p&domain=example.com&urls=https%3A%2F%2Fexample.com%2Fa"
    task = demo.send("POST", "/v2/extract-contents", bearer, FORM, body=form.encode()).json()["task_id"]
    seen: list[Any] = []

    def done() -> bool:
        seen.append(demo.get(f"/v2/check-task-status?task_id={task}", bearer).json()["status"])
        return bool(seen[-1] == "done")

    eventually(done, "the crawl is done", within=20)
    assert len(set(seen)) > 1, "it was done at once"


def test_a_3d_answer_is_large_json(demo: Gateway) -> None:
    answer = demo.send("POST", "/v2/get-response-3dchatbot-v6-hybrid", JSON, body=QUESTION)
    assert answer.status == 200
    assert len(answer.data) > 100_000
    assert b"mouthCues" in answer.data


STREAMS = {"v7-live": "/v2/get-response-3dchatbot-v7-live", "tokens of a model": "/v2/call-model/gpt-4o"}


@pytest.mark.parametrize("target", STREAMS.values(), ids=STREAMS)
def test_answers_stream(demo: Gateway, bearer: str, target: str) -> None:
    reads: list[tuple[float, bytes]] = []
    with demo.client() as client:
        client.send(request("POST", target, bearer, JSON, "Connection: close", body=QUESTION))
        while data := client.sock.recv(1 << 20):
            reads.append((time.monotonic(), data))
    assert b" 200 " in reads[0][1][:20]
    assert len(reads) >= 3
    assert reads[-1][0] - reads[0][0] > 0.05


def test_v7_live_is_an_event_stream(demo: Gateway) -> None:
    answer = demo.send("POST", STREAMS["v7-live"], JSON, body=QUESTION)
    assert (answer.value("content-type") or "").startswith("text/event-stream")
    assert answer.data.count(b"data:") >= 3


def test_the_demo_prints_lines_that_work(demo: Gateway) -> None:
    eventually(lambda: "curl" in demo.output, "curl lines are printed")
    assert str(demo.port) in demo.output
    assert str(demo.admin_port) in demo.output


def test_a_hangup_has_its_table_read_again_and_ends_nothing(demo: Gateway, bearer: str) -> None:
    demo.process.send_signal(signal.SIGHUP)
    eventually(lambda: '"reloaded' in demo.output, "the packaged table is read again", within=20)
    files = multipart("xyz", user_of(bearer), b"small")
    fields = (bearer, "Content-Type: multipart/form-data; boundary=xyz")
    assert demo.send("POST", "/v2/fetch-pdf", *fields, body=files).status == 200
