"""Each page with its fields and its two copies, and which of them a request is answered with: pure functions."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

import orjson

from aiogateway.openapi import document
from aiogateway.routes import Table
from aiogateway.settings import Settings

HTML: Final = "text/html; charset=utf-8"
SCRIPT: Final = "text/javascript; charset=utf-8"
DOCUMENT: Final = "/openapi.json"
PAGE: Final = "/docs"
# Relative, for a proxy may serve this under another path.
SLASH: Final = ("/docs/", "../docs")
# Path -> its file in this package, and its media type.
ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "/docs/initializer.js": ("initializer.js", SCRIPT),
    "/docs/swagger-ui-bundle.js": ("swagger/swagger-ui-bundle.js", SCRIPT),
    "/docs/swagger-ui.css": ("swagger/swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/favicon.png": ("swagger/favicon-32x32.png", "image/png"),
}
PATHS: Final = frozenset({DOCUMENT, PAGE, SLASH[0], *ASSETS})
# Swagger UI sets styles on its elements, and draws its signs from `data:` URLs.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
COMMON: Final = (
    # A new release or table shows at once; what didn't change costs a 304.
    ("Cache-Control", "no-cache"),
    ("Vary", "Accept-Encoding"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", POLICY),
)
READING: Final = b'data-try-it-out="no"'
TRYING: Final = b'data-try-it-out="yes"'
# Above this share of the page, its packed copy isn't worth the packing.
WORTH: Final = 0.9


class Answer(NamedTuple):
    """An answer that either listener can give; the length is theirs to say."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Page:
    """What is at one path.

    :param packed: the body as gzip; None where that is no shorter.
    :param tag: what tells this body from others, for `ETag`.
    """

    media_type: str
    body: bytes
    packed: bytes | None
    tag: str

    def answer(self, accept_encoding: str, if_none_match: str) -> Answer:
        """The answer to a GET.

        :param accept_encoding: the value of `Accept-Encoding`, empty without one.
        :param if_none_match: the value of `If-None-Match` (RFC 9110 section 13.1.2), empty without one.
        """
        packed = self.packed if takes_gzip(accept_encoding) else None
        # Two representations are two entities (RFC 9110 section 8.8.3.3).
        tag = f'"{self.tag}"' if packed is None else f'"{self.tag}-gzip"'
        known = (*COMMON, ("ETag", tag))
        if matches(if_none_match, tag):
            return Answer(304, known)
        fields = (("Content-Type", self.media_type), *known)
        if packed is None:
            return Answer(200, fields, self.body)
        return Answer(200, (*fields, ("Content-Encoding", "gzip")), packed)


def page(media_type: str, body: bytes) -> Page:
    packed = gzip.compress(body, 6, mtime=0)
    short = len(packed) < WORTH * len(body)
    return Page(media_type, body, packed if short else None, hashlib.sha256(body).hexdigest()[:24])


def redirect() -> Answer:
    """What stands under `/docs/`, where the page's relative links would lead astray."""
    return Answer(308, (*COMMON, ("Location", SLASH[1])))


def pages(table: Table, settings: Settings, version: str, *, try_it_out: bool) -> dict[str, Page]:
    """Every page by its path. Takes some 20 ms, the first time 60.

    :param version: the gateway's.
    :param try_it_out: whether the requests that the page shows can be sent to where it came from.
    """
    html = _file("index.html")
    return {
        PAGE: page(HTML, html.replace(READING, TRYING) if try_it_out else html),
        DOCUMENT: page("application/json", orjson.dumps(document(table, settings, version))),
        **assets(),
    }


@cache
def assets() -> dict[str, Page]:
    """The files of the page, which are the same for every table."""
    return {path: page(media_type, _file(name)) for path, (name, media_type) in ASSETS.items()}


def _file(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip (RFC 9110 section 12.5.3)."""
    weights: dict[str, bool] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        name, _, number = weight.partition("=")
        refused = name.strip() == "q" and not number.strip(" 0.")
        weights.setdefault(coding.strip(), not refused)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def matches(if_none_match: str, tag: str) -> bool:
    """Whether the client holds this very body (weak comparison, RFC 9110 section 8.8.3.2)."""
    held = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag in held or held == ["*"]
