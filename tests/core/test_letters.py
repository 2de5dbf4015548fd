"""Dead letters: whatever the event and its fault, the letter says what happened and fits its topic."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from core.change import Event
from core.errors import LONGEST_REASON, bounded, brief
from core.letters import CUT, NULLS, PREFIX, REPLAY, SMALLEST_ROOM, Message, fitted, letter_headers

TIME = "2026-01-01T00:00:00.000+00:00"
ROOMS = st.sampled_from([SMALLEST_ROOM, SMALLEST_ROOM + 1, 10_000, 100_000])


def sized(sizes: st.SearchStrategy[int]) -> st.SearchStrategy[bytes | None]:
    return st.none() | sizes.map(lambda size: (b"0123456789" * (size // 10 + 1))[:size])


SIZES = st.sampled_from([0, 1, 100, 3_000, 4_000, 5_000, 20_000, 150_000])
HEADERS = st.dictionaries(
    st.text(min_size=1, max_size=20) | st.sampled_from(["x" * 5_000, "é" * 2_000, "nul\0", "😀"]),
    sized(SIZES),
    max_size=6,
)


def letter(event: Event, reason: str = "no", document: str = "") -> Message:
    return Message(event.key, event.value, letter_headers(event, "p", "decode", "DecodeError", reason, document, TIME))


def of_kafka(message: Message) -> int:
    """What the Java client counts: AbstractRecords.estimateSizeInBytesUpperBound."""
    varints = 5
    headers = sum(
        2 * varints + len(name.encode("utf-8", "replace")) + len(raw or b"") for name, raw in message.headers.items()
    )
    return 61 + 21 + len(message.key or b"") + len(message.value or b"") + headers


@given(sized(SIZES), sized(SIZES), HEADERS, st.text(max_size=50), st.integers(0, 300_000), ROOMS)
def test_a_letter_always_fits_and_says_what_happened(
    key: bytes | None, value: bytes | None, headers: dict[str, bytes | None], reason: str, longer: int, room: int
) -> None:
    event = Event("t", 3, 17, key, value, headers)
    whole = letter(event, reason + "r" * longer, "d" * longer)
    made = fitted(whole, room)
    assert of_kafka(made) <= made.size <= room
    details = {name.removeprefix(PREFIX): raw or b"" for name, raw in made.headers.items() if name.startswith(PREFIX)}
    assert (details["source.topic"], details["source.partition"], details["source.offset"]) == (b"t", b"3", b"17")
    assert len(details["reason"].decode()) <= LONGEST_REASON
    assert (details["error.class"], details["stage"]) == (b"DecodeError", b"decode")
    assert (made.key is None, made.value is None) == (key is None, value is None)
    for name, was, now in (("key", key or b"", made.key or b""), ("value", value or b"", made.value or b"")):
        assert was.startswith(now)
        assert (f"{name}.sha256" in details) is (now != was)
        if now != was:
            assert details[f"{name}.sha256"].decode() == sha256(was).hexdigest()
            assert int(details[f"{name}.size"]) == len(was)
    own = {name: raw for name, raw in made.headers.items() if not name.startswith(PREFIX)}
    assert own.items() <= headers.items()
    theirs = [name for name in headers if not name.startswith(PREFIX)]
    assert ("headers.left" in details) is (len(own) < len(theirs))
    if whole.size <= room:
        assert made == whole


def test_what_is_too_large_gives_way_and_nothing_else() -> None:
    event = Event("t", 0, 0, b"key", b"v" * 1_500_000, {"op": b"u", "large": b"h" * 900_000})
    made = fitted(letter(event), 1_000_000)
    assert (made.key, made.headers["op"]) == (b"key", b"u")
    assert "large" not in made.headers
    assert made.headers[PREFIX + "headers.left"] == b"1 of 2"
    assert made.headers[PREFIX + "value.size"] == b"1500000"
    assert 990_000 < len(made.value or b"") < 1_000_000


def test_thousands_of_headers_and_a_huge_key() -> None:
    event = Event("t", 0, 0, b"k" * 500_000, b"v" * 100, {f"h{n}": b"x" * 10 for n in range(50_000)})
    made = fitted(letter(event), 100_000)
    assert made.value == b"v" * 100
    assert len(made.key or b"") > 40_000
    assert made.headers[PREFIX + "key.size"] == b"500000"
    assert (made.headers[PREFIX + "headers.left"] or b"").endswith(b" of 50000")


def test_headers_that_begin_as_ours_do_are_the_events_all_the_same() -> None:
    many = Event("t", 0, 0, b"k", b"v", {f"{PREFIX}x{number}": b"" for number in range(40_000)})
    long = Event("t", 0, 0, b"k", b"v", {PREFIX + "x" * 1_300_000: b""})
    for event in (many, long):
        assert fitted(letter(event), SMALLEST_ROOM).size <= SMALLEST_ROOM


def test_a_reason_is_bounded_and_keeps_its_beginning_and_its_end() -> None:
    assert bounded("x" * LONGEST_REASON) == "x" * LONGEST_REASON
    cut = bounded(f"{'what ' * 40_000}remedy")
    assert len(cut) <= LONGEST_REASON
    assert cut.startswith("what what ") and " … " in cut and cut.endswith("what remedy")


def test_what_others_say_becomes_a_line_that_shows_where_it_was_cut() -> None:
    assert brief(ValueError("no\n  such \t thing")) == "no such thing"
    assert brief("x " * 200, 11) == "x x x x x …"


def test_what_a_letter_says_is_bounded_whatever_it_is_of() -> None:
    headers = letter_headers(Event("t", 0, 0, None, None), "p", "write", "E", "r" * 5_000, "d" * 5_000, TIME)
    assert {len((headers[PREFIX + name] or b"").decode()) for name in ("reason", "document")} == {LONGEST_REASON}


def test_headers_without_a_value_are_listed_beside_those_that_have_one() -> None:
    event = Event("t", 0, 0, None, None, {"none": None, "é\0": None, "some": b""})
    names = letter(event).headers[PREFIX + NULLS] or b""
    assert json.loads(names) == ["none", "é\0"]
    many = letter(replace(event, headers={f"name {number}": None for number in range(5_000)}))
    assert 0 < len(json.loads(many.headers[PREFIX + NULLS] or b"")) < 5_000


def test_an_event_does_not_say_of_itself_that_its_letter_is_cut() -> None:
    own = {PREFIX + name: b"1" for name in CUT} | {REPLAY: b"1", "op": b"c"}
    headers = letter_headers(Event("t", 0, 0, None, None, own), "p", "decode", "E", "r", "", TIME)
    assert not headers.keys() & {PREFIX + name for name in (*CUT, "replay")}
    assert headers["op"] == b"c"
