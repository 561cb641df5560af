"""The gateway's own log: one line an event on stdout, as JSON for machines or as text for people.

Events carry fields, never sentences with values in them, and never a secret, a token, a form field or a body.
aiohttp's and asyncio's own messages come out in the same form.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import orjson
import structlog


def _as_json(event: structlog.typing.EventDict, **options: Any) -> str:
    try:
        return orjson.dumps(event, **options).decode()
    except TypeError:  # a lone surrogate, from bytes that were no text: the slower way can spell it
        return json.dumps(event, default=str)


def _reshape(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def configure(level: str, form: str) -> None:
    """Set the log up for this process.

    :param level: the least level that is written (`GATEWAY_LOG_LEVEL`).
    :param form: `json` or `text` (`GATEWAY_LOG_FORMAT`).
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a log line is never lost to a character
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_as_json)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_reshape, last], foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(least, logging.WARNING))
