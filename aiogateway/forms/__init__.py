"""One field of a request's body, for guards that want to know it: pure, and bit by bit as the body comes.

Rules: services read forms in many ways, and the last of two equal fields counts for most. So a field is looked for to
the body's end, and what could be read in two ways is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from aiogateway.forms import multipart, urlencoded
from aiogateway.forms.json_object import JsonScanner
from aiogateway.forms.media import UTF_8, check_charset, media_of
from aiogateway.forms.names import MalformedForm, UnsupportedForm

__all__ = ["MalformedForm", "Scanner", "UnsupportedForm", "scanner", "take_out"]

URLENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"


class Scanner(Protocol):
    """Looks for one field.

    :ivar values: what stands in it, decoded; two at the most, for two are already too many.
    :ivar settled: whether a field that isn't there by now counts as absent: the first file began, or the body ended.
    :ivar late: whether it stands behind the first file.
    """

    values: list[bytes]
    settled: bool
    late: bool

    def feed(self, data: bytes) -> None: ...

    def finish(self) -> None: ...


def scanner(kind: str, field: str, content_types: Sequence[str], content_encodings: Sequence[str]) -> Scanner:
    """What looks for a field.

    :param kind: `form` or `json`.
    :param content_types: the values of the request's `Content-Type` fields.
    :param content_encodings: of its `Content-Encoding` fields.
    :raises UnsupportedForm: the body is of another kind, or encoded.
    :raises MalformedForm: a multipart form has no valid boundary.
    """
    media = media_of(content_types, content_encodings)
    if kind == "json":
        if media.type != JSON and not (media.type.startswith("application/") and media.type.endswith("+json")):
            raise UnsupportedForm
        check_charset(media, UTF_8)
        return JsonScanner(field)
    if media.type == URLENCODED:
        check_charset(media, {*UTF_8, "iso-8859-1"})
        return urlencoded.UrlencodedScanner(field)
    if media.type == MULTIPART:
        return multipart.MultipartScanner(field, multipart.boundary_of(media))
    raise UnsupportedForm


def take_out(field: str, content_types: Sequence[str], content_encodings: Sequence[str], body: bytes) -> bytes:
    """A form without a field; what is left stays byte for byte.

    :param body: the whole form, which a scanner has read to its end without a complaint.
    """
    media = media_of(content_types, content_encodings)
    if media.type == URLENCODED:
        return urlencoded.without(field, body)
    return multipart.without(field, multipart.boundary_of(media), body)
