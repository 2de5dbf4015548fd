"""Dead letters in Kinesis and S3, on moto's server: written, found again, and as large as it takes."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.aws.client import Aws, client
from connectors.aws.letters import packed, unpacked
from connectors.kinesis import letters as kinesis_letters
from connectors.kinesis.letters import LettersStream
from connectors.opening.dead_letters import LettersPlace, LettersWriter
from connectors.s3 import letters as s3_letters
from connectors.s3.letters import LettersBucket
from core.change import Event
from core.errors import ConfigError, Unavailable
from core.letters import SMALLEST_ROOM, Letter, Message, fitted, letter_headers

BYTES = st.binary(max_size=60) | st.none()
NAMES = st.text(max_size=20)


@pytest.fixture(params=["kinesis", "s3"])
def place(request: pytest.FixtureRequest, aws: Aws) -> LettersPlace:
    name, made = f"letters-{uuid4().hex[:8]}", client(request.param, aws, "test")
    if request.param == "kinesis":
        made.create_stream(StreamName=name, ShardCount=2)
        return LettersStream(name, aws)
    made.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.region})
    made.put_object(Bucket=name, Key="articles/2026/12/01/notes.txt", Body=b"none of ours")
    made.put_object(Bucket=name, Key="articles/9999/none", Body=b"none of ours")
    return LettersBucket(name, "articles/", aws)


def message(number: int, value: bytes | None = b"{}") -> Message:
    event = Event("shop.public.articles", 1, number, b"k%d" % number, value, {"own": b"\x00\xff", "none": None})
    return Message(
        event.key, value, letter_headers(event, "articles", "decode", "DecodeError", f"op {number}", "", "2026-12-01")
    )


def writer(place: LettersPlace) -> LettersWriter:
    sink = place.sink("dead_letters")
    assert not isinstance(sink, str)
    return sink


def written(place: LettersPlace, *letters: Message) -> None:
    to = writer(place)
    for each in letters:
        to.write(each)
    to.close()


def read(place: LettersPlace) -> list[Letter]:
    with place.letters() as there:
        return list(there.read())


def test_a_place_without_letters(place: LettersPlace) -> None:
    assert place.look()
    with place.letters() as there:
        assert list(there.read()) == []
        assert list(there.read(there.ends)) == []
    with pytest.raises(ConfigError, match="names no dead letter"), place.letters() as there:
        there.at("0")


def test_letters_are_found_again_as_they_were_written_each_by_its_place(place: LettersPlace) -> None:
    written(place, *(message(number, None if number == 3 else b"\x00\xff%d" % number) for number in range(40)))
    found = read(place)
    assert sorted((each.source or ("", 0, 0))[2] for each in found) == list(range(40))
    for each in found:
        number = (each.source or ("", 0, 0))[2]
        assert each.key == b"k%d" % number
        assert each.value == (None if number == 3 else b"\x00\xff%d" % number)
        assert dict(each.headers) == {"own": b"\x00\xff", "none": None}
        assert (each.pipeline, each.details["reason"]) == ("articles", f"op {number}")
        assert each.time_ms > 1_700_000_000_000
    with place.letters() as there:
        assert there.at(found[7].place) == found[7]
        gone = f"{found[7].place}00000" if isinstance(place, LettersStream) else f"{found[7].place[:-4]}0000"
        assert there.at(gone) is None


def test_what_is_written_later_is_read_by_itself_and_not_by_who_came_before(place: LettersPlace) -> None:
    written(place, message(1), message(2))
    with place.letters() as before:
        ends = before.ends
        written(place, message(3))
        assert len(list(before.read())) == 2
    with place.letters() as after:
        assert [each.details["reason"] for each in after.read(ends)] == ["op 3"]
        assert list(after.read()) == list(after.read())


def test_the_largest_letter_that_a_place_takes(place: LettersPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_letters, "ROOM", 2_000_000)  # the real one takes moto seconds
    room = place.room()
    whole = message(7, b"\xff" * (room - 600))
    assert room - 1_000 < whole.size <= room
    larger = message(8, b"\xff" * (room + 9))
    written(place, whole, fitted(larger, room))
    one, other = sorted(read(place), key=lambda each: each.details["reason"])
    assert one.value == whole.value and not one.is_cut
    assert other.is_cut and len(other.value or b"") < room
    assert other.whole(larger.key, larger.value, ()) is not None


def test_a_record_that_is_none_of_ours_is_a_letter_that_names_nobody(aws: Aws) -> None:
    name, kinesis = f"letters-{uuid4().hex[:8]}", client("kinesis", aws, "test")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.put_record(StreamName=name, Data=b"\xc1torn", PartitionKey="x")
    (found,) = read(LettersStream(name, aws))
    assert (found.pipeline, found.source, found.value) == ("", None, b"\xc1torn")


def test_a_stream_says_how_large_its_records_are(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    class Described:
        def describe_stream_summary(self, **asked: str) -> Any:
            return {"StreamDescriptionSummary": {"MaxRecordSizeInKiB": 10_240}}

    monkeypatch.setattr(kinesis_letters, "client", lambda *given: Described())
    assert LettersStream("letters", aws).room() == 10 * 1024 * 1024 - 32


def test_a_place_that_is_not_there_is_named(aws: Aws) -> None:
    for place in (LettersStream("nowhere", aws), LettersBucket("nowhere", "", aws)):
        for ask in (place.look, place.room, lambda place=place: read(place)):
            with pytest.raises(ConfigError, match=r"nowhere.*(isn't there|can't be listed)"):
                ask()  # type: ignore[operator]
        with pytest.raises(ConfigError, match="nowhere"):
            written(place, message(1))


def test_a_server_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    away = Aws(aws.region, "http://127.0.0.1:9")
    monkeypatch.setattr("connectors.aws.calls.PATIENCE_S", 0.2)
    with pytest.raises(Unavailable):
        written(LettersStream("letters", away), message(1))


@given(BYTES, BYTES, st.dictionaries(NAMES, BYTES, max_size=40))
@settings(max_examples=300, deadline=None)
def test_a_packed_letter_takes_what_it_says_and_comes_out_as_it_went_in(
    key: bytes | None, value: bytes | None, headers: dict[str, bytes | None]
) -> None:
    letter = Message(key, value, headers)
    content = packed(letter)
    assert len(content) <= letter.size
    found = unpacked("0:1", 5, content)
    assert (found.key, found.value, found.time_ms) == (key, value, 5)
    assert {name for name, _ in found.headers} <= set(headers)


@given(st.binary(max_size=200), st.dictionaries(NAMES, st.binary(max_size=3_000), max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_letter_that_was_cut_fits(value: bytes, headers: dict[str, bytes | None]) -> None:
    letter = fitted(Message(b"k", value * 40, headers), SMALLEST_ROOM)
    assert len(packed(letter)) <= SMALLEST_ROOM


@given(st.binary(max_size=200))
@example(b"\x81\xac" + bytes(11) + b"\x80")
def test_whatever_lies_there_is_a_letter_or_bytes(content: bytes) -> None:
    found = unpacked("0:1", 5, content)
    assert found.value == content or found.details is not None
