"""The gateway's own log: one line an event on stdout, as JSON for machines or as text for people.

Events carry fields, never sentences with values in them, and never a secret, a token, a form field or a body.
aiohttp's and asyncio's own messages come out in the same form. Whatever a value holds, no control character comes out.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any, Final, TextIO, cast

import orjson
import structlog

from aiogateway.output import Output

# What a terminal might obey, and what makes one line two or shows it in another order.
_ODD: Final = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


class Lines(io.TextIOBase):
    """What loggers take for a file; each writes a whole line at once."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, text: str) -> int:
        self._output.write(text.encode("utf-8", "backslashreplace"))
        self._output.flush()
        return len(text)


def _inert(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = value.translate(_ODD)
    return event


def _as_json(event: structlog.typing.EventDict, **options: Any) -> str:
    try:
        return orjson.dumps(event, **options).decode()
    except TypeError:  # a lone surrogate, from bytes that were no text: the slower way can spell it
        return json.dumps(event, default=str)


def _reshape(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def configure(level: str, form: str) -> Output:
    """Set the log up for this process; answers where its lines go, which whoever runs a loop starts and flushes.

    :param level: the least level that is written (`GATEWAY_LOG_LEVEL`).
    :param form: `json` or `text` (`GATEWAY_LOG_FORMAT`).
    """
    output = Output(sys.stdout.fileno())
    lines = cast(TextIO, Lines(output))
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _inert,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_as_json)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(lines),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_reshape, last], foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(least, logging.WARNING))
    return output
