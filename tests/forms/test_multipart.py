"""One field among the parts of a form."""

from __future__ import annotations

import asyncio
import contextlib
from email import message_from_bytes
from email.message import Message

import pytest
from aiohttp import BodyPartReader, MultipartReader, StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import example, given
from hypothesis import strategies as st

from aiogateway.forms import MalformedForm, Scanner, UnsupportedForm, scanner, take_out
from tests.forms.fed import pieces, read

TYPE = ("multipart/form-data; boundary=xyz",)
NAMED = 'form-data; name="user_id"'


def part(value: bytes | str = b"u1", disposition: str = NAMED, *lines: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: {disposition}", *lines, "", ""]).encode()
    return b"--xyz\r\n" + head + (value.encode() if isinstance(value, str) else value) + b"\r\n"


END = b"--xyz--\r\n"
FILE = part("data", 'form-data; name="files"; filename="a.pdf"', "Content-Type: application/pdf")
OTHER = part("p1", 'form-data; name="project_id"')


def scan(body: bytes, parts: list[bytes] | None = None) -> Scanner:
    return read(scanner("form", "user_id", TYPE, ()), [body] if parts is None else parts)


@pytest.mark.parametrize(
    ("body", "found", "late"),
    [
        (END, [], False),
        (part() + END, [b"u1"], False),
        (b"preamble\r\n" + part() + END + b"epilogue", [b"u1"], False),
        (b"\r\n" + part() + END + END[-2:], [b"u1"], False),
        (part("") + END, [b""], False),
        (OTHER + part() + FILE + FILE + END, [b"u1"], False),
        (FILE + part() + END, [b"u1"], True),
        (part() + FILE + part("u2") + END, [b"u1", b"u2"], True),
        (part() + part("u2") + part("u3") + END, [b"u1", b"u2"], False),
        (part(b"a\r\n--xy\r\n--") + END, [b"a\r\n--xy\r\n--"], False),
        (part(disposition='FORM-data;  NAME=user_id ;x="y"') + END, [b"u1"], False),
        (part("u1", NAMED, "Content-Type: text/plain; charset=UTF-8") + END, [b"u1"], False),
        (part("u1", NAMED, "content-transfer-encoding: 8bit") + END[:-2], [b"u1"], False),
        (
            part("u1", NAMED, "Content-Length: 2") + part("abc", 'form-data; name="o"', "content-length: 3") + END,
            [b"u1"],
            False,
        ),
        (part() + part("x", 'form-data; name="f"; filename="name=other"', "Content-Type: pdf") + END, [b"u1"], False),
        (part() + part("x", 'form-data; name="f"; filename=""') + END, [b"u1"], False),
        (b"-x\r\n" + part() + END, [b"u1"], False),
        (part("x", 'form-data; name="f"; filename="it\'s.pdf"') + END, [], False),
        (part("C:\\x", 'form-data; name="f"; filename="C:\\dir\\a.pdf"') + END, [], False),
        (part("x", "form-data; name=\"f\"; filename*=utf-8''a") + part() + END, [b"u1"], True),
    ],
)
def test_a_field_is_found_among_the_parts(body: bytes, found: list[bytes], late: bool) -> None:
    seen = scan(body)
    assert (seen.values, seen.late, seen.settled) == (found, late, True)
    byte_by_byte = scan(body, [bytes([byte]) for byte in body])
    assert (byte_by_byte.values, byte_by_byte.late) == (found, late)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"user_id=u1",
        b"preamble" + part() + END,
        b"preamble\n" + part() + END,
        b"preamble \n--xyz\r\n" + part() + END,
        part() + END + b"epilogue --xyz",
        part() + END + part("u2") + END,
        part() + END[:-2] + b"\n",
        part() + b"--xyz-- \r\n",
        part() + b"--xyz --\r\n",
        part(),
        part()[:-2] + END,
        part("")[:-2] + END,
        part() + b"--xyz\r\n" + END,
        part().replace(b"--xyz\r\n", b"--xyz \r\n") + END,
        part().replace(b"--xyz\r\n", b"--xyz\n") + END,
        part(b"a\n--xyz\r\nContent-Disposition: form-data; name=q\r\n\r\n") + END,
        part(b"a\r--xyz--") + END,
        part(b"--xyz--\r\n") + END,
        part(b"a\r\n--xyzzy") + END,
        part().replace(b"\r\n\r\n", b"\n\n") + END,
        part("u1", NAMED, " folded") + END,
        part("u1", 'form-data;\r\n name="user_id"') + END,
        part("u1", 'form-data; name="user_id"; name="other"') + END,
        part("u1", "form-data; name=\"other\"; name*=utf-8''user_id") + END,
        part("u1", 'form-data; name*0="user_"; name*1="id"') + END,
        part("u1", 'form-data; name="user\\_id"') + END,
        part("u1", 'form-data; name="user%5Fid"') + END,
        part("u1", 'form-data; name="=?utf-8?B?dXNlcl9pZA==?="') + END,
        part("u1", 'form-data; name="\ufeffuser_id"') + END,
        part("u1", 'form-data; name="?user_id"') + END,
        part("u1", 'form-data; name="a"', "X: " + "name=\u00e9" * 9) + END,
        part("u1", 'form-data; name="User_Id"') + END,
        part("u1", 'form-data; name="user_id[]"') + END,
        part("u1", 'form-data; name=" user_id"') + END,
        part("u1", 'form-data; name="user[id"') + END,
        part("u1", "form-data; name='user_id'") + END,
        part("u1", 'form-data; name="<user_id>"') + END,
        part("u1", 'form-data; name="user_id\u0000"') + END,
        part("u1", 'form-data; name = "user_id"') + END,
        part("u1", 'form-data; name="user_id";') + END,
        part("u1", "form-data; x='; name=\"user_id\"; y='") + END,
        part("u1", 'form-data; x=it\'s; name="user_id"') + END,
        part("u1", 'form-data; name="user_id"; x="a\\"') + END,
        part("u1", 'form-data; filename="name=user_id"; name="other"') + END,
        part("u1", "form-data; filename=\"NAME = 'user_id'\"; name=other") + END,
        part("u1", 'form-data; x-name="user_id"; name="other"') + END,
        part("u1", 'form-data; name="other"', 'X-Other: form-data; name="user_id"') + END,
        part("u1", 'form-data; name="other"', "X: a\x0bContent-Disposition: form-data; name=q") + END,
        part("u1", 'form-data; name="other"', "--xyz: x") + END,
        part("u1", 'form-data; name="other"', "X: --xyz--") + END,
        part("u1", NAMED, "Content-Length: 1") + END,
        part("u1", NAMED, "Content-Length: +2") + END,
        part("u1", NAMED, "Content-Length: 2, 2") + END,
        part("a --xyz in the middle of a line") + END,
        part('a--xyz\r\nContent-Disposition: form-data; name="q"\r\n\r\nu2', 'form-data; name="o"') + END,
        part("\xff".encode("latin-1")) + END,
        part("u1\0") + END,
        b"--abc\r\n" + part() + END,
        part() + part("x", 'form-data; name="o"') * 2000 + END,
        part("u1", 'form-data; name="user_id"; filename="a"') + END,
        part("u1", 'form-data; name="a"; filename="b\\"; name=user_id; x="') + END,
        part("u1", "form-data") + END,
        part("u1", "attachment; name=user_id") + END,
        part("u1", 'form-data; name="user_id') + END,
        part("u1", NAMED, "Content-Disposition: form-data; name=other") + END,
        part("u1", NAMED, "Bad Name: x") + END,
        part("u1", NAMED, "no colon") + END,
        part("u1", NAMED, *(f"X-{n}: y" for n in range(20))) + END,
        part("u1", NAMED, "X: " + "y" * 9000) + END,
        b"--xyz\r\n\r\nu1\r\n" + END,
        part("x" * 70000) + END,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    for parts in ([body], [body[n : n + 7] for n in range(0, len(body), 7)]):
        with pytest.raises(MalformedForm):
            scan(body, parts)


@pytest.mark.parametrize(
    "body",
    [
        part("dTE=", NAMED, "Content-Transfer-Encoding: base64") + END,
        part("u1", NAMED, "Content-Type: text/plain; charset=utf-7") + END,
        part("u1", NAMED, "Content-Type: text/plain; charset*=utf-7") + END,
        part('"u1"', NAMED, "Content-Type: application/json") + END,
        part("u1", NAMED, "Content-Type: text/plain; charset=utf-8; charset=utf-7") + END,
        part("u1", NAMED, "Content-Type:") + END,
        part("u1", NAMED, "Content-Encoding: gzip") + END,
        part("eA==", 'form-data; name="o"', "Content-Transfer-Encoding: base64") + END,
        part("u1", 'form-data; name="f"', "Content-Type: multipart/mixed; boundary=q") + END,
        part("utf-16", 'form-data; name="_charset_"') + END,
    ],
)
def test_a_part_that_is_encoded_is_not_read(body: bytes) -> None:
    with pytest.raises(UnsupportedForm):
        scan(body)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a,b"',
        'multipart/form-data; boundary="xBoundary=a"',
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="a\u00e9"',
    ],
)
def test_a_form_needs_a_boundary(kind: str) -> None:
    with pytest.raises(MalformedForm):
        scanner("form", "user_id", (kind,), ())


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/mixed; boundary=a",
        'multipart/form-data; boundary="a\\"b"',
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary*0=b; boundary=a",
        "multipart/form-data; boundary*=utf-8''b; boundary=a",
        'multipart/form-data; x="; boundary=b"; boundary=a',
        "multipart/form-data; xboundary=b; boundary=a",
        'multipart/form-data; x="boundary=b"; boundary=a',
        "multipart/form-data, multipart/form-data; boundary=a",
        "multipart/form-data; boundary=a; charset=utf-16",
    ],
)
def test_another_or_an_odd_media_type_is_not_read(kind: str) -> None:
    with pytest.raises(UnsupportedForm):
        scanner("form", "user_id", (kind,), ())


def test_what_is_settled_is_known_at_the_first_file_and_the_rest_is_watched() -> None:
    found = scanner("form", "user_id", TYPE, ())
    found.feed(part())
    assert (found.settled, found.values) == (False, [])
    found.feed(FILE[:-4])
    assert (found.settled, found.values) == (True, [b"u1"])
    found.feed(FILE[-4:-2])
    for _ in range(40):
        found.feed(b"\r\n--xyw" * 8000)
        assert len(found._data) - found._at < 20  # type: ignore[attr-defined]
    found.feed(b"\r\n" + part("u2") + END)
    found.finish()
    assert (found.values, found.late) == ([b"u1", b"u2"], True)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (OTHER + part() + FILE + END, OTHER + FILE + END),
        (part() + OTHER + END, OTHER + END),
        (OTHER + part() + END, OTHER + END),
        (part() + END, END),
        (FILE + part() + END[:-2], FILE + END[:-2]),
        (OTHER + END, OTHER + END),
        (b"preamble\r\n" + part() + OTHER + END + b"epilogue", b"preamble\r\n" + OTHER + END + b"epilogue"),
    ],
)
def test_a_part_is_taken_out_and_the_rest_stays(body: bytes, left: bytes) -> None:
    assert take_out("user_id", TYPE, (), body) == left


@given(
    st.lists(
        st.sampled_from(
            [part(), part("u2"), OTHER, FILE, END, b"--xyz", b"\r\n", b"\n", b"-", b"x", b"--xyz\r\n", b"user_id", b'"']
        )
        | st.binary(max_size=3),
        max_size=8,
    ),
    st.data(),
)
@example([part(), FILE, END], None)
def test_any_bytes_are_read_or_refused_in_the_same_way_however_they_come(
    several: list[bytes], data: st.DataObject | None
) -> None:
    body = b"".join(several)

    def told(parts: list[bytes]) -> object:
        try:
            seen = scan(body, parts)
        except (MalformedForm, UnsupportedForm) as exc:
            return type(exc)
        return seen.values, seen.late

    whole = told([body])
    assert whole == told([bytes([byte]) for byte in body])
    if data is not None:
        assert whole == told(pieces(body, data))


# What Starlette reads with python-multipart 0.0.34, as tried, and what others are known to read.
@pytest.mark.parametrize(
    ("second", "service"),
    [
        (part("u2"), "Starlette: the last"),
        (part("u2", 'form-data; name="o"; name="user_id"'), "Starlette: the last name, so u2"),
        (part("u2", 'attachment; name="user_id"'), "Starlette: u2"),
        (part("u2", 'form-data; name = "user_id"'), "Starlette: u2"),
        (part("u2", "form-data; name=\"user_id\"; filename*=utf-8''a"), "Starlette: no file, so u2"),
        (part("a\r\n--xyz \r\n" + part("u2")[7:-2].decode(), 'form-data; name="o"'), "Starlette: u2"),
        (part("u2", "form-data; name='user_id'"), "PHP: u2"),
        (part("a\n--xyz\n" + part("u2")[7:-2].decode(), 'form-data; name="o"'), "PHP: u2"),
        (part("u2", "form-data; name=\"o\"; name*=utf-8''user_id"), "Python's email: u2"),
        (part("u2", 'form-data; filename="name=user_id"; name="o"'), "formidable: u2"),
    ],
)
def test_a_value_is_never_the_only_one_if_a_service_reads_another(second: bytes, service: str) -> None:
    with contextlib.suppress(MalformedForm):
        assert len(scan(part() + second + END).values) > 1, service


DISPOSITIONS = st.sampled_from(
    [
        NAMED,
        "form-data; name=user_id",
        'form-data; name="o"',
        'form-data; name="f"; filename="a.pdf"',
        'form-data; filename="name=user_id"; name="o"',
        "form-data; name='user_id'",
        'form-data; name="o"; x="a;name=user_id"',
        'form-data; name="f"; filename="a\\"; name=\\"user_id"',
    ]
)
VALUES = st.sampled_from(["u1", "", "a\r\nb", "--xy", "\r\n--xyzz", "\r\n", "x" * 30])
EDITS = st.sampled_from(
    [b"", b"\r\n", b"\n", b"--xyz", b"\r\n--xyz", b"--", b'"', b";", b"\\", b" ", b"user_id", b"name="]
)


@given(
    st.lists(st.builds(part, VALUES, DISPOSITIONS), max_size=4),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), EDITS), max_size=3),
)
async def test_whoever_reads_what_is_read_here_sees_the_same_values(
    parts: list[bytes], edits: list[tuple[int, int, bytes]]
) -> None:
    body = b"".join(parts) + END
    for at, removed, added in edits:
        body = body[:at] + added + body[at + removed :]
    try:
        found = scan(body).values
    except (MalformedForm, UnsupportedForm):
        return
    assert seen_by_email(body) == found
    assert await seen_by_aiohttp(body) == found


def seen_by_email(body: bytes) -> list[bytes]:
    message = message_from_bytes(b"Content-Type: " + TYPE[0].encode() + b"\r\n\r\n" + body)
    parts = message.get_payload() if message.is_multipart() else []
    named = [each for each in parts if isinstance(each, Message)]
    wanted = [each for each in named if each.get_param("name", header="content-disposition") == "user_id"]
    return [value for each in wanted if isinstance(value := each.get_payload(decode=True), bytes)][:2]


async def seen_by_aiohttp(body: bytes) -> list[bytes]:
    stream = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16, loop=asyncio.get_running_loop())
    stream.feed_data(body)
    stream.feed_eof()
    reader = MultipartReader({"Content-Type": TYPE[0]}, stream)
    found = []
    while (each := await reader.next()) is not None:
        assert isinstance(each, BodyPartReader)
        if each.name == "user_id":
            found.append(bytes(await each.read()))
        else:
            await each.release()
    return found[:2]
