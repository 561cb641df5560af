"""The table itself: who finds a place, who keeps it, and how evenly it fills."""

from __future__ import annotations

from mmap import mmap

import pytest

from aiogateway.stores.slots import KEPT_HASHES, KEPT_LENGTH, KEPT_PLACES, NONE, SLOTS, Slots
from aiogateway.stores.windows import STATE_BYTES

STATE = bytes(range(STATE_BYTES))


def slots_for(capacity: int, start: int = 0) -> Slots:
    slots = Slots(start, capacity, b"secret")
    slots.lie_in(mmap(-1, slots.end))
    return slots


def claim(slots: Slots, who: str, expiry: int, beat: int = 0) -> int:
    place = slots.place(b"label", who)
    slot = slots.free(place, beat)
    if slot != NONE:
        slots.claim(slot, place, STATE, expiry)
    return slot


def find(slots: Slots, who: str, beat: int = 0) -> int:
    return slots.find(slots.place(b"label", who), beat)


@pytest.mark.parametrize("capacity", [1, 20, 500, 10_000])
def test_as_many_as_it_must_have_room_for_find_a_place_of_their_own(capacity: int) -> None:
    slots = slots_for(capacity)
    names = [f"user:{number}" for number in range(capacity)]
    claimed = [claim(slots, name, 9) for name in names]
    assert NONE not in claimed
    assert len(set(claimed)) == capacity
    assert [find(slots, name) for name in names] == claimed
    assert max(claimed) + STATE_BYTES <= slots.end
    assert {slots.state(slot) for slot in claimed} == {STATE}


def test_a_region_may_begin_behind_another() -> None:
    first = slots_for(500)
    second = slots_for(500, first.end)
    slot = claim(second, "user:1", 9)
    assert first.end <= slot < second.end
    assert find(second, "user:1") == slot


def test_nothing_is_found_of_who_never_came_or_whose_time_has_come() -> None:
    slots = slots_for(500)
    assert find(slots, "user:1") == NONE
    slot = claim(slots, "user:1", 9)
    assert (find(slots, "user:1", 8), find(slots, "user:1", 9)) == (slot, NONE)
    assert find(slots, "user:2") == NONE


def test_a_full_table_has_no_place_until_one_expires_and_then_that_very_one() -> None:
    slots = slots_for(1)
    claimed = [claim(slots, f"user:{number}", 7 + number) for number in range(2 * SLOTS)]
    assert len(set(claimed)) == 2 * SLOTS
    assert claim(slots, "late", 99, beat=6) == NONE
    assert claim(slots, "late", 99, beat=7) == claimed[0]
    assert claim(slots, "later", 99, beat=7) == NONE
    assert find(slots, "user:0", 7) == NONE
    assert [find(slots, f"user:{number}", 7) for number in range(1, 2 * SLOTS)] == claimed[1:]


def test_a_write_changes_part_of_a_state_and_when_it_ends() -> None:
    slots = slots_for(1)
    slot, other = claim(slots, "user:1", 9), claim(slots, "user:2", 9)
    slots.write(slot, 8, b"12345678", 12)
    assert slots.state(slot) == STATE[:8] + b"12345678" + STATE[16:]
    assert slots.state(other) == STATE
    assert (find(slots, "user:1", 11), find(slots, "user:2", 11)) == (slot, NONE)


def test_the_same_name_under_two_labels_has_two_places_and_another_key_has_others() -> None:
    slots, others = slots_for(100_000), Slots(0, 100_000, b"another secret")
    places = {slots.place(b"a", "user:1"), slots.place(b"b", "user:1"), others.place(b"a", "user:1")}
    assert len({place[1] for place in places}) == 3
    assert slots.place(b"a", "user:1") == slots.place(b"a", "user:1")


@pytest.mark.parametrize("who", ["", "\0", "\udcff\ud800", "é\U0001f600", "x" * 100_000])
def test_any_text_is_a_name(who: str) -> None:
    slots = slots_for(1)
    assert find(slots, who) == NONE
    assert claim(slots, who, 9) == find(slots, who)


def test_hashes_of_labels_are_not_kept_without_end() -> None:
    slots = slots_for(1)
    before = slots.place(b"0", "user:1")
    for number in range(KEPT_HASHES + 10):
        slots.place(b"%d" % number, "user:1")
    assert len(slots._hashes) <= KEPT_HASHES
    assert slots.place(b"0", "user:1") == before


def test_places_are_kept_for_some_short_names_and_are_no_others_for_that() -> None:
    slots = slots_for(1)
    names = [f"user:{number}" for number in range(3 * KEPT_PLACES)] + ["x" * 100_000, "y" * 100_000]
    places = [slots.place(b"label", name) for name in names]
    assert [slots.place(b"label", name) for name in names] == places == [slots._place(b"label", name) for name in names]
    assert slots.place(b"other", names[-3]) != places[-3]
    assert len(slots._kept) <= KEPT_PLACES
    assert max(len(name) for _, name in slots._kept) <= KEPT_LENGTH


def test_bytes_across_two_fingerprints_are_no_fingerprint() -> None:
    slots = slots_for(1)
    for number in range(SLOTS):
        claim(slots, f"user:{number}", 9)
    _, fingerprint, bucket, _ = slots.place(b"label", "new")
    for place in range(1, SLOTS):
        at = bucket + 8 * place
        before = slots._memory[at - 4 : at + 4]
        slots._memory[at - 4 : at + 4] = fingerprint
        assert find(slots, "new") == NONE
        slots._memory[at - 4 : at + 4] = before
