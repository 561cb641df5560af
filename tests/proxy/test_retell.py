"""What of a backend's error reaches the client."""

from __future__ import annotations

import pytest
from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawResponseMessage
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from aiogateway.proxy.retell import MAX_DETAIL, detail_of, is_retold, media_type
from aiogateway.routes import Route
from tests.config_folders import load

ROUTES = """
upstream = "b"
auth = "public"
[[route]]
path = "/replace"
[[route]]
path = "/pass"
errors = "pass"
"""


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """A route that replaces a 5xx body, and one that passes it."""
    table = load(tmp_path_factory.mktemp("config"), ROUTES)
    return [table.match(path).endpoint.route("GET") for path in ("/replace", "/pass")]


def message(code: int, **fields: str) -> RawResponseMessage:
    headers = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
    raw = tuple((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers.items())
    return RawResponseMessage(HttpVersion11, code, "", CIMultiDictProxy(headers), raw, False, None, False, False)


@pytest.mark.parametrize(
    ("code", "kind", "replaced", "passed"),
    [
        (200, "text/html", False, False),
        (302, "text/html", False, False),
        (400, "application/json", False, False),
        (404, "text/html; charset=utf-8", True, True),
        (422, "Text/Plain", True, True),
        (404, "image/png", False, False),
        (404, "", False, False),
        (500, "application/json", True, False),
        (503, "text/html", True, False),
        (599, "", True, False),
    ],
)
def test_which_answers_are_retold(code: int, kind: str, replaced: bool, passed: bool, routes: list[Route]) -> None:
    """`replaced` and `passed`: whether they are on a route that replaces, and on one that passes, a 5xx body."""
    answer = message(code, Content_Type=kind)
    assert [is_retold(answer, route) for route in routes] == [replaced, passed]


@pytest.mark.parametrize(
    ("value", "kind"),
    [("text/HTML; charset=x", "text/html"), (" text/plain ", "text/plain"), ("", ""), (";", "")],
)
def test_the_media_type_is_the_part_before_its_parameters(value: str, kind: str) -> None:
    assert media_type(message(400, Content_Type=value)) == kind


TEXTS = {
    "plain": ("text/plain", b"no such user", "no such user"),
    "lines become one": ("text/plain", b"  no\r\n\tsuch   user \n", "no such user"),
    "control characters": ("text/plain", b"no\x00such\x1buser", "no such user"),
    "nothing": ("text/plain", b"", None),
    "blank": ("text/plain", b" \r\n ", None),
    "not utf-8": ("text/plain", b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
    "latin-1": ("text/plain; charset=ISO-8859-1", b"caf\xe9", "café"),
    "a quoted charset": ('text/plain; charset="iso-8859-1"', b"caf\xe9", "café"),
    "an unknown charset": ("text/plain; charset=no-such-thing", "café".encode(), "café"),
    "a charset that is none": ("text/plain; charset=base64", b"Y2Fmw6k=", "Y2Fmw6k="),
    "tags in plain text": ("text/plain", b"<b>no</b>", "<b>no</b>"),
    "html": ("text/html", b"<h1>Not Found</h1><p>no &lt;user&gt;</p>", "Not Found no <user>"),
    "html that hides": (
        "text/html",
        b"<HEAD><title>t</title></HEAD><style>x{}</style ><!-- c --><script>f()</script>gone",
        "gone",
    ),
    "html's header is no head": ("text/html", b"<header>top</header>", "top"),
}


@pytest.mark.parametrize(("kind", "body", "detail"), TEXTS.values(), ids=TEXTS)
def test_the_text_of_an_error_is_one_line(kind: str, body: bytes, detail: str | None) -> None:
    assert detail_of(message(404, Content_Type=kind), body) == detail


def test_an_encoded_body_is_no_text() -> None:
    assert detail_of(message(404, Content_Type="text/plain", Content_Encoding="gzip"), b"abc") is None


def test_a_detail_is_at_most_so_long_and_never_half_a_character() -> None:
    detail = detail_of(message(404, Content_Type="text/plain; charset=utf-8"), "é".encode() * 5000)
    assert detail is not None
    assert len(detail.encode()) == MAX_DETAIL
    assert set(detail) == {"é"}
    odd = detail_of(message(404, Content_Type="text/plain"), b"x" + "é".encode() * 5000)
    assert odd is not None
    assert len(odd.encode()) == MAX_DETAIL - 1


# Every codec of the standard library that decodes text, the odd ones too: an upstream may name any of them.
CHARSETS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-32",
    "utf-7",
    "ascii",
    "latin-1",
    "cp1252",
    "cp037",
    "big5",
    "gb18030",
    "shift_jis",
    "euc_kr",
    "iso2022_jp",
    "hz",
    "koi8-r",
    "mac-roman",
    "idna",
    "punycode",
    "unicode_escape",
    "raw_unicode_escape",
    "undefined",
    "rot13",
    "hex",
    "zlib",
    "mbcs",
]


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("body", [b"no such user", b"\xff\xfe\\x\\q +2AA- xn--\x80", b"xn--" + b"a" * 80])
def test_no_charset_that_an_upstream_names_keeps_its_error_from_being_retold(charset: str, body: bytes) -> None:
    detail = detail_of(message(404, Content_Type=f"text/plain; charset={charset}"), body)
    assert detail is None or detail.isprintable()


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "text/html"]))
def test_any_body_is_retold_as_printable_text(body: bytes, kind: str) -> None:
    detail = detail_of(message(400, Content_Type=kind), body)
    assert detail is None or (detail.isprintable() and detail == " ".join(detail.split()) and detail.encode())
