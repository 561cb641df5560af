"""The LLM service: one API over nine models, streamed unless the request says `"stream": false`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from aiogateway.demo.forms import Received, received
from aiogateway.demo.service import event, paced
from aiogateway.demo.speech import answer_to, tokens_of
from aiogateway.demo.world import World

MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-3.5-turbo",
    "claude-3-5-sonnet",
    "gemini-1.5-pro",
    "llama-3.1-70b",
    "mistral-large",
    "deepseek-chat",
    "phi-3-medium",
)


class Models:
    """`LLM_MODEL_SERVICE`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v2/call-model/{model_name}", self.call)]

    async def call(self, request: web.Request) -> web.StreamResponse:
        got = await received(request)
        model = request.match_info["model_name"]
        if model not in MODELS:
            return web.json_response({"detail": f"There is no model {model!r}", "models": MODELS}, status=404)
        text = answer_to(_prompt(got))
        head = {"id": self._world.new_id("chatcmpl"), "model": model, "created": int(self._world.clock())}
        if got.get("stream", "true").lower() in ("false", "0"):
            return web.json_response(_whole(head, text))
        return await paced(request, self._world, "text/event-stream", _chunks(head, text))


def _prompt(got: Received) -> str:
    """What the user said last: the last of `messages`, or one of the fields that say it directly."""
    messages = got.document.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return str(messages[-1].get("content", ""))
    return got.get("prompt") or got.get("question")


def _whole(head: dict[str, Any], text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 12, "completion_tokens": len(tokens_of(text))}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}


def _chunks(head: dict[str, Any], text: str) -> Iterator[bytes]:
    for token in tokens_of(text, words=2):
        choice = {"index": 0, "delta": {"content": token}, "finish_reason": None}
        yield event(json.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]}))
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    # The end and its mark come in one write, as the services whose API this is send them
    yield event(json.dumps({**head, "object": "chat.completion.chunk", "choices": [end]})) + event("[DONE]")
