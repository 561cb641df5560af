"""One field among the parts of a form."""

from __future__ import annotations

import pytest
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
        (part(b"--xyz in the middle of a line --xyz--"[6:]) + END, [b"in the middle of a line --xyz--"], False),
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
        part("u1", 'form-data; name="User_Id"') + END,
        part("u1", 'form-data; name="user_id[]"') + END,
        part("u1", 'form-data; name=" user_id"') + END,
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
