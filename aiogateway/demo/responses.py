"""The 3D, text and voice chatbots: whole answers, the live stream, the split stream, and the live socket's
handshake.

Rules: an answer to a GET (an EventSource can send no body) takes its question from the query. The live stream's events
are numbered; `Last-Event-ID` takes it up after that event, and past the last one 204 tells an EventSource to stop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from aiohttp import web

from aiogateway.demo.forms import Received, received
from aiogateway.demo.live_socket import MESSAGE_LIMIT, LiveSocket
from aiogateway.demo.service import any_method, event, paced
from aiogateway.demo.speech import SECONDS, answer_to, mouth_cues, tokens_of, voice_text
from aiogateway.demo.world import World

WORDS_PER_EVENT = 5
AUDIO_SLICES = 3


class Response3D:
    """`RESPONSE_3D_CHATBOT_SERVICE_URL`."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Synthesising takes a tenth of a second: now, and not on the loop at the first answer
        voice_text()

    def routes(self) -> list[web.RouteDef]:
        start = "/v2/get-response-3d"
        return [
            any_method(f"{start}chatbot-v7-live", self.live),
            any_method(f"{start}chatbot-v8-split", self.split),
            any_method(f"{start}{{variant:.*}}", self.whole),
        ]

    async def whole(self, request: web.Request) -> web.Response:
        got = await received(request)
        variant = request.match_info["variant"].removeprefix("chatbot").strip("-/") or "v1"
        answer = {**_answer(got), "variant": variant, "audio": voice_text(), "mouthCues": mouth_cues()}
        return web.json_response({**answer, "audioFormat": "wav", "duration": SECONDS, "animation": "Talking_1"})

    async def live(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT)
        if socket.can_prepare(request):
            return await LiveSocket(socket, self._world).talk(request)
        events = list(live_events(_question(await received(request))))
        seen = request.headers.get("Last-Event-ID", "")
        rest = events[int(seen) :] if seen.isascii() and seen.isdigit() else events
        if not rest:
            return web.Response(status=204)
        return await paced(request, self._world, "text/event-stream", rest)

    async def split(self, request: web.Request) -> web.StreamResponse:
        lines = (json.dumps(part).encode() + b"\n" for part in _split_parts(_question(await received(request))))
        return await paced(request, self._world, "application/x-ndjson", lines)


def live_events(question: str) -> Iterator[bytes]:
    """The live answer, event by event: tokens, the voice in slices with its cues, the end. Ids count from 1."""
    text = answer_to(question)
    tokens = (("token", {"text": token}) for token in tokens_of(text, WORDS_PER_EVENT))
    voice = (("audio", part) for part in _voice_slices())
    end = ("done", {"text": text, "duration": SECONDS})
    for number, (name, data) in enumerate(chain(tokens, voice, (end,)), 1):
        yield event(data, name, number)


def _voice_slices() -> Iterator[dict[str, Any]]:
    audio, cues = voice_text(), mouth_cues()
    # base64 stands in groups of four characters: a slice that ends on one can be decoded by itself
    step = len(audio) // AUDIO_SLICES // 4 * 4
    for number in range(AUDIO_SLICES):
        last = number == AUDIO_SLICES - 1
        share = slice(number * len(cues) // AUDIO_SLICES, (number + 1) * len(cues) // AUDIO_SLICES)
        part = audio[number * step : None if last else (number + 1) * step]
        yield {"audio": part, "mouthCues": cues[share], "last": last}


def _split_parts(question: str) -> Iterator[dict[str, Any]]:
    for token in tokens_of(answer_to(question), WORDS_PER_EVENT):
        yield {"part": "text", "text": token}
    for part in _voice_slices():
        yield {"part": "audio", **part}
    yield {"part": "end", "duration": SECONDS}


def _question(got: Received) -> str:
    return got.get("question") or got.get("message") or got.get("text")


def _answer(got: Received) -> dict[str, Any]:
    question = _question(got)
    return {"session_id": got.get("session_id", "default"), "question": question, "text": answer_to(question)}


async def text_answer(request: web.Request) -> web.Response:
    """The text chatbot's answer, with the documents that it leans on."""
    got = await received(request)
    sources = [{"document": "handbook.pdf", "page": 12, "score": 0.83}, {"document": "faq", "page": 1, "score": 0.71}]
    return web.json_response({**_answer(got), "sources": sources})


async def voice_answer(request: web.Request) -> web.Response:
    """The voice chatbot's answer: what it understood of the recording or the question, and the voice."""
    got = await received(request)
    heard = [file.as_json() for file in got.files]
    answer = {**_answer(got), "heard": heard, "audio": voice_text(), "audioFormat": "wav", "duration": SECONDS}
    return web.json_response(answer)
