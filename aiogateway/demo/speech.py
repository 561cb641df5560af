"""What the chat services say: an answer's text, a synthesised voice, and the mouth cues that go with it.

Rules: the same question has the same answer, so that a stream that is taken up again goes on where it was. The voice is
made once and shared by all answers.
"""

from __future__ import annotations

import base64
import io
import math
import wave
import zlib
from array import array
from functools import cache
from typing import Any

SAMPLE_RATE = 24_000
SECONDS = 4.5
CUE_SECONDS = 0.09
VISEMES = "ABCDEFGHX"

OPENINGS = (
    "Good that you ask.",
    "Happy to help with that.",
    "Let me explain.",
    "Here is what I found.",
)
BODIES = (
    "The plan you are on covers ten chatbots, and each may read up to five hundred documents that you upload as PDF, "
    "text or spreadsheet. A crawl of your site usually takes a few minutes.",
    "You can change the avatar, the voice and the language model at any time; visitors see the new choice with their "
    "next question. Nothing that was said before is lost.",
    "Opening hours are nine to six on weekdays. Outside of them I take your name and number down, and a colleague "
    "calls you back on the next working day.",
    "Orders that are placed before noon leave the same day. You get a mail with the tracking number as soon as the "
    "parcel has been handed over.",
)
CLOSINGS = ("Is there anything else?", "Shall I show you where to find it?", "Would you like an example?")


def answer_to(question: str) -> str:
    """An answer that looks like one, chosen by the question's text."""
    number = zlib.crc32(question.encode())
    about = f" You asked: “{question[:120]}”." if question else ""
    opening, body, closing = (texts[number % len(texts)] for texts in (OPENINGS, BODIES, CLOSINGS))
    return f"{opening}{about} {body} {closing}"


def tokens_of(text: str, words: int = 1) -> list[str]:
    """The text in pieces of `words` words; joined they are the text again."""
    parts = text.split(" ")
    groups = [" ".join(parts[start : start + words]) for start in range(0, len(parts), words)]
    return [groups[0], *(f" {group}" for group in groups[1:])]


@cache
def voice() -> bytes:
    """A WAV file (mono, 16 bit) of `SECONDS` seconds: a tone with the rise and fall of syllables, about 210 KiB."""
    count = int(SAMPLE_RATE * SECONDS)
    samples = array("h", (_sample(index / SAMPLE_RATE) for index in range(count)))
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(samples.tobytes())
    return out.getvalue()


def _sample(at: float) -> int:
    loudness = 0.5 - 0.5 * math.cos(2 * math.pi * 4 * at)
    pitch = 140 + 25 * math.sin(2 * math.pi * 0.7 * at)
    tone = math.sin(2 * math.pi * pitch * at) + 0.4 * math.sin(2 * math.pi * 2 * pitch * at)
    return int(12_000 * loudness * tone)


@cache
def voice_text() -> str:
    """The voice in base64, about 290 KB."""
    return base64.b64encode(voice()).decode()


@cache
def mouth_cues() -> tuple[dict[str, Any], ...]:
    """Which mouth shape to show when, in the voice's seconds, without a gap."""
    count = math.ceil(SECONDS / CUE_SECONDS)
    return tuple(
        {
            "start": round(number * CUE_SECONDS, 2),
            "end": round(min(SECONDS, (number + 1) * CUE_SECONDS), 2),
            "value": VISEMES[number * 5 % len(VISEMES)],
        }
        for number in range(count)
    )
