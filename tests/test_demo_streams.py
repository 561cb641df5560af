"""What the stand-ins stream, what goes wrong in them on purpose, and how they end."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import wave
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import WSMsgType

from aiogateway.demo.live_socket import TICK_SECONDS
from aiogateway.demo.service import EVENT_GAP
from aiogateway.demo.stand_ins import StandIns
from aiogateway.demo.world import Shelf
from tests.demo_client import CHAT, KEY, Client, running

LIVE = "/v2/get-response-3dchatbot-v7-live"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running() as client:
        yield client


async def test_a_3d_answer_is_300_kb_with_a_wav_and_cues_over_all_of_it(client: Client) -> None:
    async with client.ask("RESPONSE_3D_CHATBOT", "POST", "/v2/get-response-3dchatbot-v6-hybrid", json=CHAT) as answer:
        body = await answer.read()
    assert 280_000 < len(body) < 320_000
    said = json.loads(body)
    with wave.open(io.BytesIO(base64.b64decode(said["audio"]))) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    cues = said["mouthCues"]
    assert (cues[0]["start"], cues[-1]["end"], said["duration"]) == (0, seconds, seconds)
    assert all(one["end"] == following["start"] for one, following in pairwise(cues))
    assert CHAT["question"] in said["text"]


@pytest.mark.parametrize(("method", "body"), [("POST", CHAT), ("GET", None)])
async def test_the_live_answer_streams_tokens_then_voice_then_the_end(client: Client, method: str, body: Any) -> None:
    path = LIVE if body else f"{LIVE}?question=What+does+it+cost?"
    events = await client.events("RESPONSE_3D_CHATBOT", method, path, json=body)
    names = [event["event"] for event in events]
    assert names == ["token"] * (len(names) - 4) + ["audio"] * 3 + ["done"]
    assert [event["id"] for event in events] == [str(number) for number in range(1, len(events) + 1)]
    assert client.time.slept == [EVENT_GAP] * (len(events) - 1)
    data = [json.loads(event["data"]) for event in events]
    assert "".join(part["text"] for part in data[:-4]) == data[-1]["text"]
    whole = await client.json("RESPONSE_3D_CHATBOT", "POST", "/v2/get-response-3d", json=CHAT)
    assert "".join(part["audio"] for part in data[-4:-1]) == whole["audio"]
    assert [cue for part in data[-4:-1] for cue in part["mouthCues"]] == whole["mouthCues"]


async def test_a_live_answer_goes_on_after_the_last_event_seen(client: Client) -> None:
    all_of_it = await client.events("RESPONSE_3D_CHATBOT", "GET", f"{LIVE}?question=hi")
    for seen in (0, 2, len(all_of_it) - 1):
        headers = {"Last-Event-ID": str(seen)}
        rest = await client.events("RESPONSE_3D_CHATBOT", "GET", f"{LIVE}?question=hi", headers=headers)
        assert rest == all_of_it[seen:]
    over = {"Last-Event-ID": str(len(all_of_it))}
    assert await client.status("RESPONSE_3D_CHATBOT", "GET", f"{LIVE}?question=hi", headers=over) == 204


async def test_a_live_chat_over_a_socket_answers_every_question_in_tokens(client: Client) -> None:
    async with client.socket("RESPONSE_3D_CHATBOT", LIVE) as chat:
        for question in ('{"question": "What does it cost?"}', "What does it cost?"):
            await chat.send_str(question)
            said = []
            while (message := await chat.receive_json(timeout=30))["type"] == "token":
                said.append(message["text"])
            assert message == {"type": "done"}
            assert "What does it cost?" in "".join(said)
        await chat.close()
        assert (await chat.receive()).type is WSMsgType.CLOSED


async def test_a_socket_gives_bytes_and_echoes_back_as_they_came(client: Client) -> None:
    async with client.socket("RESPONSE_3D_CHATBOT", LIVE) as chat:
        await chat.send_bytes(bytes(range(256)))
        assert await chat.receive_bytes(timeout=30) == bytes(range(256))
        await chat.send_str("echo “hello”\n")
        assert await chat.receive_str(timeout=30) == "echo “hello”\n"


async def test_a_socket_ticks_beside_what_is_said(client: Client) -> None:
    async with client.socket("RESPONSE_3D_CHATBOT", LIVE) as chat:
        await chat.send_str("ticks 3")
        ticks = [await chat.receive_json(timeout=30) for _ in range(3)]
        assert ticks == [{"type": "tick", "number": number, "of": 3} for number in (1, 2, 3)]
        assert client.time.slept == [TICK_SECONDS] * 3
        await chat.send_str("echo on")
        assert await chat.receive_str(timeout=30) == "echo on"


@pytest.mark.parametrize(
    ("asked", "code", "reason"),
    [
        ("close 4001 that is enough", 4001, "that is enough"),
        ("close 1000", 1000, ""),
        (f"close 3000 {'é' * 100}", 3000, "é" * 61),
    ],
)
async def test_a_socket_closes_with_the_code_asked_for(client: Client, asked: str, code: int, reason: str) -> None:
    async with client.socket("RESPONSE_3D_CHATBOT", LIVE) as chat:
        await chat.send_str(asked)
        message = await chat.receive(timeout=30)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, reason)


@pytest.mark.parametrize("said", ["close 1006", "close 99", "ticks 0", "ticks 100", "echo", "Close 4001"])
async def test_what_is_no_command_is_a_question(client: Client, said: str) -> None:
    async with client.socket("RESPONSE_3D_CHATBOT", LIVE) as chat:
        await chat.send_str(said)
        assert (await chat.receive_json(timeout=30))["type"] == "token"


async def test_ticks_end_with_their_socket() -> None:
    waiting, ended = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    stand_ins = StandIns(KEY, sleep=sleep)
    await stand_ins.start()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(stand_ins.environment()["RESPONSE_3D_CHATBOT_SERVICE_URL"] + LIVE) as chat,
        ):
            await chat.send_str("ticks 9")
            await asyncio.wait_for(waiting.wait(), 30)
            await chat.close()
            await asyncio.wait_for(ended.wait(), 30)
    finally:
        await stand_ins.close()


async def test_the_split_answer_is_a_json_object_a_line(client: Client) -> None:
    async with client.ask("RESPONSE_3D_CHATBOT", "POST", "/v2/get-response-3dchatbot-v8-split", json=CHAT) as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        parts = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert {part["part"] for part in parts[:-1]} == {"text", "audio"}
    assert parts[-1]["part"] == "end"


async def test_a_model_streams_tokens_unless_told_not_to(client: Client) -> None:
    asked = {"messages": [{"role": "user", "content": "Hello there"}]}
    whole = await client.json("LLM_MODEL_SERVICE", "POST", "/v2/call-model/gpt-4o", json={**asked, "stream": False})
    events = await client.events("LLM_MODEL_SERVICE", "POST", "/v2/call-model/gpt-4o", json=asked)
    assert events.pop() == {"data": "[DONE]"}
    deltas = [json.loads(event["data"])["choices"][0]["delta"] for event in events]
    text = "".join(delta.get("content", "") for delta in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert "Hello there" in text


async def test_a_slow_answer_takes_the_seconds_asked_for(client: Client) -> None:
    assert (await client.json("HOME_PAGE", "GET", "/v2/homepage-slow?seconds=7"))["waited"] == 7
    assert client.time.slept == [7]


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("fail?status=503", 503, "application/json"),
        ("fail?status=418", 418, "application/json"),
        ("html-error", 500, "text/html"),
        ("html-error?status=404", 404, "text/html"),
    ],
)
async def test_a_failing_answer_has_the_status_asked_for(client: Client, path: str, status: int, kind: str) -> None:
    async with client.ask("HOME_PAGE", "GET", f"/v2/homepage-{path}") as answer:
        assert (answer.status, answer.content_type) == (status, kind)


def raw(url: str, path: str) -> bytes:
    """Everything that comes until the service closes the connection."""
    at = urlsplit(url)
    with socket.create_connection((str(at.hostname), int(at.port or 0)), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


async def test_a_cut_answer_ends_half_way(client: Client) -> None:
    out = await asyncio.to_thread(raw, client.urls["HOME_PAGE_SERVICE_URL"], "/v2/homepage-cut")
    head, _, body = out.partition(b"\r\n\r\n")
    assert b"Content-Length: 65536" in head
    assert len(body) == 32768


async def test_garbage_is_no_http(client: Client) -> None:
    out = await asyncio.to_thread(raw, client.urls["HOME_PAGE_SERVICE_URL"], "/v2/homepage-garbage")
    assert out
    assert not out.startswith(b"HTTP")


async def test_a_stream_ends_with_the_client_that_reads_it() -> None:
    waiting, ended = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    stand_ins = StandIns(KEY, sleep=sleep)
    await stand_ins.start()
    try:
        async with aiohttp.ClientSession() as session:
            answer = await session.get(stand_ins.environment()["RESPONSE_3D_CHATBOT_SERVICE_URL"] + LIVE)
            await asyncio.wait_for(waiting.wait(), 30)
            answer.close()
            await asyncio.wait_for(ended.wait(), 30)
    finally:
        await stand_ins.close()


async def test_closing_frees_the_ports_and_may_be_done_twice() -> None:
    with StandIns(KEY) as stand_ins:
        urls = stand_ins.environment()
        await stand_ins.start()
        await stand_ins.close()
        await stand_ins.close()
    port = urlsplit(urls["AUTH_SERVICE_URL"]).port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


def test_a_full_shelf_forgets_the_oldest() -> None:
    shelf: Shelf[int] = Shelf(limit=2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        shelf.put(key, value)
    assert list(shelf) == [3, 4]
