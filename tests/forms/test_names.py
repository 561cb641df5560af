"""Names that some service takes for the wanted one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.forms.names import Spelling, Wanted, folded


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("user_id", Spelling.EXACT),
        ("USER_ID", Spelling.ALIKE),
        (" user_id\t", Spelling.ALIKE),
        ("user id", Spelling.ALIKE),
        ("user-id", Spelling.ALIKE),
        ("user.id", Spelling.ALIKE),
        ("user[id", Spelling.ALIKE),
        ("user[id]", Spelling.ALIKE),
        ("user_id[", Spelling.ALIKE),
        ("user_id[]", Spelling.ALIKE),
        ("user_id[a][b]", Spelling.ALIKE),
        ("user_id]x", Spelling.ALIKE),
        ("[user_id]", Spelling.ALIKE),
        ("user_id.a", Spelling.ALIKE),
        ("'user_id'", Spelling.ALIKE),
        ("<user_id>", Spelling.ALIKE),
        ("us\x01er_id", Spelling.ALIKE),
        ("user_id\0x", Spelling.ALIKE),
        ("\0", Spelling.ALIKE),
        ("%75ser_id", Spelling.ALIKE),
        ("user_%49d", Spelling.ALIKE),
        ("user_\u0131d", Spelling.ALIKE),
        ("user_\u0130d", Spelling.ALIKE),
        ("u\u017fer_id", Spelling.ALIKE),
        ("", Spelling.OTHER),
        ("[]", Spelling.OTHER),
        ("userid", Spelling.OTHER),
        ("user_id2", Spelling.OTHER),
        ("my_user_id", Spelling.OTHER),
        ("users[id]", Spelling.OTHER),
        ("user[id][x]", Spelling.OTHER),
        ("us%", Spelling.OTHER),
    ],
)
def test_a_name_is_the_wanted_one_or_taken_for_it_or_another(name: str, spelling: Spelling) -> None:
    assert Wanted("user_id").spelling(name.encode()) is spelling


def test_bytes_that_are_no_utf_8_may_be_dropped() -> None:
    assert Wanted("user_id").spelling(b"user\xff_id") is Spelling.ALIKE


@given(st.text(max_size=8))
def test_any_name_is_itself_and_like_itself_in_upper_case(name: str) -> None:
    wanted = Wanted(name)
    assert wanted.spelling(name.encode()) is Spelling.EXACT
    assert folded(name.upper()) == folded(name)


@given(st.binary(max_size=12), st.text(max_size=6))
def test_any_bytes_have_a_spelling(name: bytes, wanted: str) -> None:
    assert Wanted(wanted).spelling(name) in Spelling
