from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Operation, Skip
from core.documents.step import Chunker, DocumentSpec, step
from core.errors import DecodeError
from core.formats.dynamodb.decoding import decode
from core.formats.dynamodb.values import item
from core.plans import Plan

FIXTURES = Path(__file__).parents[2] / "fixtures" / "dynamodb"


def records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FIXTURES / f"{name}.json").read_text())["records"]
    return found


def event(record: Any, sequence: int | None = None) -> Event:
    headers = {} if sequence is None else {"kinesis.sequence-number": str(sequence).encode()}
    return Event("t", 0, 7, None, json.dumps(record).encode(), headers)


def decoded(record: Any, table: str = "", sequence: int | None = None) -> Change:
    [change] = decode(event(record, sequence), table)
    assert isinstance(change, Change)
    return change


def stream(name: str = "INSERT", **fields: Any) -> dict[str, Any]:
    image = {"Id": {"N": "1"}, "t": {"S": "x"}}
    change = {"Keys": {"Id": {"N": "1"}}, "NewImage": image, "SequenceNumber": "9", **fields}
    return {"eventName": name, "dynamodb": {at: value for at, value in change.items() if value is not None}}


def test_records_of_streams() -> None:
    first, second, third, expired, whole = (decoded(each, "dogs") for each in records("streams"))
    assert (first.table, first.key, first.operation) == ("ExampleTableWithStream", {"Id": 101}, Operation.UPSERT)
    assert first.row == {"Message": "New item!", "Id": 101}
    assert second.row["Message"] == "This item has changed"
    assert (third.operation, third.row["Message"]) == (Operation.DELETE, "This item has changed")
    assert (expired.operation, expired.position) == (Operation.DELETE, "1100000000017454423009".zfill(40))
    assert first.position < second.position < third.position < expired.position < whole.position
    assert first.committed_ms == 1479499741000
    assert (whole.table, whole.key) == ("dogs", {"AnimalType": "Dog", "Name": "Fido"})
    assert whole.committed_ms == 1720747433000
    assert {name: value for name, value in whole.row.items() if name not in whole.key} == {
        "Photo": "AAEC",
        "Weights": [-3, 9.5, "12345678901234567890.5"],
        "Tags": ["a", "b"],
        "Bites": False,
        "Owner": None,
        "Toys": ["ball", {"size": 3}],
    }


def test_numbers_that_no_float_holds_are_numbers() -> None:
    big = "12345678901234567890.5"
    image = {"Id": {"N": "1"}, "a": {"N": big}, "b": {"NS": [big, "1"]}, "c": {"S": big}, "d": {"L": [{"N": big}]}}
    change = decoded(stream(NewImage={**image, "e": {"N": "1.5"}}), "t")
    assert change.numbers == {"a", "b"}
    assert {type(each) for each in (change.row["a"], *change.row["d"])} == {str}
    assert decoded(stream("REMOVE", NewImage=None, OldImage=image), "t").numbers == frozenset()


def test_records_of_kinesis() -> None:
    changes = [decoded(each, sequence=number) for number, each in enumerate(records("kinesis"))]
    assert {change.table for change in changes} == {"readings"}
    assert [change.operation.value for change in changes] == ["upsert", "upsert", "delete"] * 2
    assert [change.row["temperature"] for change in changes] == [42.42, 55.66, 55.66] * 2
    assert [change.committed_ms for change in changes[:4]] == [
        1720740233012,
        1720740233013,
        1720740233014,
        1720740233012,
    ]
    positions = [change.position for change in changes]
    assert positions[0] < positions[3] < positions[1] < positions[2] < positions[4] < positions[5]
    assert len({len(position) for position in positions}) == 1


def test_equal_times_are_ordered_by_arrival_and_others_are_not() -> None:
    early, late = records("kinesis")[:2]
    assert decoded(early, sequence=10**55).position < decoded(early, sequence=10**55 + 1).position
    assert decoded(early, sequence=10**55 + 1).position < decoded(late, sequence=10**55).position
    assert decoded(early, sequence=5).position == decoded(early, sequence=5).position


def test_a_key_has_its_attributes_by_name() -> None:
    for names in (("pk", "a"), ("a", "pk")):
        keys = {name: {"S": name} for name in names}
        assert list(decoded(stream(Keys=keys), "t").key) == ["a", "pk"]


@pytest.mark.parametrize("view", ["KEYS_ONLY", "OLD_IMAGE"])
def test_views_without_the_new_image_can_only_delete(view: str) -> None:
    without = {"NewImage": None, "StreamViewType": view}
    for name in ("INSERT", "MODIFY"):
        with pytest.raises(DecodeError, match=f"{name} of things has no NewImage, .*'{view}'.* NEW_AND_OLD_IMAGES"):
            decode(event(stream(name, **without)), "things")
    assert decoded(stream("REMOVE", **without), "things").row == {}


def test_a_record_that_names_no_table_needs_one() -> None:
    with pytest.raises(DecodeError, match="names no table"):
        decode(event(stream()))
    assert decoded(stream(), "named").table == "named"
    assert decoded({**stream(), "eventSourceARN": "arn:aws:kinesis:eu:1:stream/x"}, "named").table == "named"


def test_a_null_is_skipped() -> None:
    assert decode(Event("t", 0, 0, b"k", None), "t") == (Skip.TOMBSTONE,)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([], "the event's value is \\[\\], must be a JSON object"),
        ({"a": 1}, "not a DynamoDB record"),
        ({**stream(), "eventName": "DROP"}, "eventName is 'DROP', must be INSERT, MODIFY or REMOVE"),
        ({**stream(), "eventName": ["INSERT"]}, "eventName is a list of 1"),
        (stream(Keys={}), "Keys of a record of t is empty"),
        (stream(Keys=None), "dynamodb.Keys is None"),
        (stream(SequenceNumber="9" * 41), "SequenceNumber is '9999"),
        (stream(SequenceNumber="١"), "SequenceNumber is"),
        (stream(SequenceNumber=9), "SequenceNumber is 9, must be text"),
        (stream(SequenceNumber=None), "ApproximateCreationDateTime is None, must be a time since 1970 in milliseconds"),
        (stream(SequenceNumber=None, ApproximateCreationDateTime=1720740233012995), "in milliseconds"),
        (stream(SequenceNumber=None, ApproximateCreationDateTimePrecision="NANOSECOND"), "must be MILLISECOND or"),
        (stream(NewImage={"a": {"N": "one"}}), "NewImage.a has the type N and is 'one'"),
        (stream(NewImage={"a": {"N": 1}}), "NewImage.a has the type N and is 1"),
        (stream(NewImage={"a": {"N": "1e99999999999"}}), "NewImage.a has the type N"),
        (stream(NewImage={"a": {"S": None}}), "NewImage.a has the type S and is None"),
        (stream(NewImage={"a": {"L": {}}}), "NewImage.a has the type L and is an object of 0 fields"),
        (stream(NewImage={"a": {"SS": [1]}}), "NewImage.a has the type SS and is a list of 1"),
        (stream(NewImage={"a": {"NS": ["NaN"]}}), "NewImage.a has the type NS"),
        (stream(NewImage={"a": {"NULL": False}}), "NewImage.a has the type NULL"),
        (stream(NewImage={"a": {"X": 1}}), "has the type 'X', must be one of S, N, B"),
        (stream(NewImage={"a": "x"}), "NewImage.a is 'x', must be an attribute with its type"),
        (stream(NewImage={"a": {}}), "NewImage.a is an object of 0 fields"),
        (stream(NewImage=[]), "dynamodb.NewImage is \\[\\]"),
    ],
)
def test_refusals_name_what_is_wrong(record: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as refused:
        decode(event(record), "t")
    assert len(str(refused.value)) < 500


def test_nesting_ends_at_32_levels() -> None:
    def nested(levels: int) -> dict[str, Any]:
        return {"L": [nested(levels - 1)]} if levels else {"S": "x"}

    assert item({"a": nested(32)}, "NewImage")
    with pytest.raises(DecodeError, match=r"NewImage.a is nested more than 32 levels deep"):
        item({"a": nested(33)}, "NewImage")


def test_a_bad_sequence_number_of_kinesis_is_refused() -> None:
    for raw in (b"x", b"", b"9" * 60, b"-1"):
        with pytest.raises(DecodeError, match=r"header kinesis.sequence-number is"):
            decode(Event("t", 0, 0, None, event(records("kinesis")[0]).value, {"kinesis.sequence-number": raw}))


numbers = st.decimals(allow_nan=False, allow_infinity=False, places=5) | st.integers(-(10**37), 10**37).map(Decimal)
scalars = st.text() | st.booleans() | st.none() | st.binary() | numbers
sets = st.sets(st.text(), min_size=1) | st.sets(numbers, min_size=1) | st.sets(st.binary(), min_size=1)
attributes = st.recursive(
    scalars | sets,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def fits(value: Any) -> bool:
    """Whether DynamoDB takes it: numbers have up to 38 digits."""
    if isinstance(value, Decimal):
        return len(value.normalize().as_tuple().digits) <= 38
    if isinstance(value, dict):
        return all(map(fits, value.values()))
    return all(map(fits, value)) if isinstance(value, list | set) else True


def alike(seen: Any, meant: Any) -> bool:
    """Whether a JSON value says what boto3 would make of the same attribute."""
    if isinstance(meant, Decimal):
        shown = repr(seen) if isinstance(seen, float) else seen
        return not isinstance(seen, bool) and Decimal(shown) == meant
    if isinstance(meant, dict):
        return (
            isinstance(seen, dict) and seen.keys() == meant.keys() and all(alike(seen[at], meant[at]) for at in meant)
        )
    if isinstance(meant, set):
        return len(seen) == len(meant) and all(any(alike(one, other) for one in seen) for other in meant)
    if isinstance(meant, list):
        return len(seen) == len(meant) and all(map(alike, seen, meant))
    if hasattr(meant, "value"):  # boto3's Binary
        return bool(seen == json.loads(msgspec.json.encode(meant.value)))
    return type(seen) is type(meant) and bool(seen == meant)


@given(attributes.filter(fits))
def test_attributes_say_what_boto3_wrote(value: Any) -> None:
    typed = TypeSerializer().serialize(value)
    travelled = json.loads(msgspec.json.encode(typed))
    assert alike(item({"a": travelled}, "NewImage")["a"], TypeDeserializer().deserialize(typed))


@given(st.sets(numbers.filter(fits), min_size=1), st.randoms(use_true_random=False))
def test_a_set_gives_the_same_list_in_any_order(values: set[Decimal], chance: Any) -> None:
    texts = [str(value) for value in values]
    shuffled = chance.sample(texts, len(texts))
    assert item({"a": {"NS": texts}}, "i") == item({"a": {"NS": shuffled}}, "i")


@given(st.integers(0, 10**40 - 1), st.integers(0, 10**40 - 1))
def test_positions_of_streams_compare_as_numbers(one: int, other: int) -> None:
    first, second = (decoded(stream(SequenceNumber=str(each)), "t").position for each in (one, other))
    assert (first < second, first == second, len(first)) == (one < other, one == other, len(second))


times = st.tuples(st.integers(0, 10**14 - 1), st.integers(0, 2**186))


@given(times, times)
def test_positions_of_kinesis_compare_as_time_and_arrival(one: tuple[int, int], other: tuple[int, int]) -> None:
    record = records("kinesis")[0]

    def at(time: int, sequence: int) -> str:
        change = {**record["dynamodb"], "ApproximateCreationDateTime": time}
        return decoded({**record, "dynamodb": change}, sequence=sequence).position

    assert (at(*one) < at(*other), at(*one) == at(*other)) == (one < other, one == other)
    assert len(at(*one)) == len(at(*other))


SPEC = DocumentSpec("readings", "{text}")
WHOLE = Chunker("whole", lambda text: [(0, len(text))])


@given(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_records_of_kinesis_that_come_swapped_and_twice_end_right(texts: list[int | None], data: st.DataObject) -> None:
    twice = data.draw(st.permutations([*enumerate(texts)] * 2))
    state, store = None, "nothing yet"
    for sequence, (time, text) in enumerate(twice):
        key = {"id": {"S": "a"}}
        change = {
            "ApproximateCreationDateTime": time,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": key,
        }
        if text is not None:
            change["NewImage"] = {**key, "text": {"N": str(text)}}
        record = {"eventName": "REMOVE" if text is None else "MODIFY", "tableName": "readings", "dynamodb": change}
        state, plans = step(state, decoded(record, sequence=sequence), SPEC, "m", WHOLE)
        for plan in plans:
            assert isinstance(plan, Plan)
            store = "".join(chunk.text for chunk in plan.write)
    assert store == ("" if texts[-1] is None else str(texts[-1]))
