"""What a request brought: query, form, JSON object or multipart parts, under one shape.

Rules: files are hashed chunk by chunk and never kept. A part without a file name is a field and at most 64 KiB long. A
body that can't be read is 422 in FastAPI's form, which is what the clients of the real services know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage
from multidict import MultiDict

CHUNK = 64 * 1024
FIELD_LIMIT = 64 * 1024
PARTS_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One uploaded file, as seen going by; `size` in bytes."""

    name: str
    size: int
    sha256: str
    content_type: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Received:
    """Fields of the body, then those of the query; the files; and the body as a document of JSON values."""

    fields: MultiDict[str]
    files: tuple[ReceivedFile, ...]
    document: Mapping[str, Any]

    def need(self, *names: str) -> list[str]:
        """The fields' values.

        :raises HTTPUnprocessableEntity: listing every one that is absent or empty.
        """
        absent = [name for name in names if not self.fields.get(name)]
        if absent:
            raise unprocessable(
                [{"type": "missing", "loc": ["body", name], "msg": "Field required"} for name in absent]
            )
        return [self.fields[name] for name in names]

    def get(self, name: str, default: str = "") -> str:
        return self.fields.get(name, default)


def unprocessable(faults: list[dict[str, Any]]) -> web.HTTPUnprocessableEntity:
    """422 with FastAPI's list of faults."""
    return web.HTTPUnprocessableEntity(text=json.dumps({"detail": faults}), content_type="application/json")


def refuse(status: int, detail: str) -> web.Response:
    """An error as FastAPI words it: JSON with `detail`."""
    return web.json_response({"detail": detail}, status=status)


async def received(request: web.Request) -> Received:
    """Read the request to its end.

    :raises HTTPRequestEntityTooLarge: a field, or the number of parts, has no end.
    :raises HTTPUnprocessableEntity: the body doesn't fit its type.
    """
    kind = request.content_type
    try:
        if kind.startswith("multipart/"):
            fields, files = await _multipart(request)
            document: Mapping[str, Any] = dict(fields)
        elif kind == "application/x-www-form-urlencoded":
            fields, files = MultiDict(parse_qsl(await request.text(), keep_blank_values=True)), ()
            document = dict(fields)
        elif kind == "application/json" or kind.endswith("+json"):
            document = _object(await request.read())
            fields, files = MultiDict((name, _as_text(value)) for name, value in document.items()), ()
        else:
            fields, files, document = MultiDict[str](), (), {}
    except (ValueError, RecursionError, BadHttpMessage) as error:
        raise unprocessable([{"type": "body_invalid", "loc": ["body"], "msg": "The body can't be read"}]) from error
    fields.extend(request.query)
    return Received(fields, files, document)


def _object(body: bytes) -> Mapping[str, Any]:
    value = json.loads(body or b"{}")
    return value if isinstance(value, dict) else {"items": value}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def _multipart(request: web.Request) -> tuple[MultiDict[str], tuple[ReceivedFile, ...]]:
    fields: MultiDict[str] = MultiDict()
    files: list[ReceivedFile] = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise ValueError("a multipart within a multipart")
        if part.filename is not None:
            files.append(await _digest(part))
        else:
            fields.add(part.name or "", await _field(part))
        if len(fields) + len(files) > PARTS_LIMIT:
            raise web.HTTPRequestEntityTooLarge(PARTS_LIMIT, len(fields) + len(files), text="too many parts")
    return fields, tuple(files)


async def _digest(part: BodyPartReader) -> ReceivedFile:
    digest, size = hashlib.sha256(), 0
    while chunk := await part.read_chunk(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    kind = part.headers.get("Content-Type", "application/octet-stream")
    return ReceivedFile(part.filename or "", size, digest.hexdigest(), kind)


async def _field(part: BodyPartReader) -> str:
    value = bytearray()
    while chunk := await part.read_chunk():
        value += chunk
        if len(value) > FIELD_LIMIT:
            raise web.HTTPRequestEntityTooLarge(FIELD_LIMIT, len(value), text=f"the field {part.name!r} is too long")
    return value.decode()
