"""Notifications: every shape in which S3's come, keys as they were, order as S3 promises it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import BEGINNING, Event, Skip
from core.documents.objects import ObjectChange
from core.errors import DecodeError
from core.formats.s3 import decode, notification, position

FIXTURES = Path(__file__).parents[2] / "fixtures" / "s3"
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
HEX = st.text("0123456789abcdef", min_size=16, max_size=32)


def event(value: bytes | str | dict[str, Any] | None) -> Event:
    if isinstance(value, dict):
        value = json.dumps(value)
    return Event("notifications", 0, 0, None, value.encode() if isinstance(value, str) else value)


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def record(name: str, key: str = "a.txt", **of_object: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": name,
        "s3": {"bucket": {"name": "docs"}, "object": {"key": key, **of_object}},
    }


def test_a_buckets_notification() -> None:
    assert decode(event(fixture("classic.json"))) == (
        ObjectChange(
            bucket="amzn-s3-demo-bucket",
            key="reports/red flower+é.md",
            position=position("0055AED6DCD90281E5"),
            version_id="096fKKXTRTtl3on89fVO.nfljtsv6qko",
            etag="d41d8cd98f00b204e9800998ecf8427e",
            size=1024,
            committed_ms=1_769_904_000_123,
        ),
    )


def test_eventbridges_keys_are_as_they_are() -> None:
    (change,) = decode(event(fixture("eventbridge.json")))
    assert isinstance(change, ObjectChange)
    assert (change.bucket, change.key, change.gone) == ("amzn-s3-demo-bucket1", "100%25 of a+b.txt", False)
    assert (change.etag, change.version_id, change.size) == (
        "b1946ac92492d2347c6235b4d2611184",
        "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
        5,
    )
    assert change.committed_ms == 1_636_675_200_000


@pytest.mark.parametrize("name", ["classic.json", "eventbridge.json"])
def test_an_envelope_of_sns_changes_nothing(name: str) -> None:
    wrapped = {"Type": "Notification", "MessageId": "1", "TopicArn": "arn", "Message": fixture(name).decode()}
    assert decode(event(wrapped)) == decode(event(fixture(name)))


def test_a_message_may_have_several_records() -> None:
    message = {
        "Records": [
            record("ObjectCreated:Put", "a"),
            record("ObjectTagging:Put", "b"),
            record("s3:ObjectRemoved:Delete", "c"),
        ]
    }
    a, b, c = decode(event(message))
    assert isinstance(a, ObjectChange) and isinstance(c, ObjectChange)
    assert (a.key, a.gone, b, c.key, c.gone) == ("a", False, Skip.NOTIFICATION, "c", True)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("ObjectCreated:Put", "look"),
        ("ObjectCreated:Post", "look"),
        ("ObjectCreated:Copy", "look"),
        ("ObjectCreated:CompleteMultipartUpload", "look"),
        ("ObjectRemoved:Delete", "gone"),
        ("ObjectRemoved:DeleteMarkerCreated", "gone"),
        ("LifecycleExpiration:Delete", "gone"),
        ("LifecycleExpiration:DeleteMarkerCreated", "gone"),
        ("ReducedRedundancyLostObject", "gone"),
        ("ObjectRestore:Completed", "look"),
        ("ObjectRestore:Post", "nothing"),
        ("ObjectRestore:Delete", "nothing"),
        ("ObjectTagging:Put", "nothing"),
        ("ObjectTagging:Delete", "nothing"),
        ("ObjectAcl:Put", "nothing"),
        ("LifecycleTransition", "nothing"),
        ("IntelligentTiering", "nothing"),
        ("Replication:OperationFailedReplication", "nothing"),
        ("SomethingNew:Happened", "nothing"),
    ],
)
def test_what_each_event_means(name: str, meaning: str) -> None:
    (found,) = decode(event({"Records": [record(name)]}))
    if meaning == "nothing":
        assert found is Skip.NOTIFICATION
    else:
        assert isinstance(found, ObjectChange)
        assert found.gone == (meaning == "gone")


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        ("Object Created", False),
        ("Object Deleted", True),
        ("Object Restore Completed", False),
        ("Object Restore Initiated", None),
        ("Object Restore Expired", None),
        ("Object Storage Class Changed", None),
        ("Object Access Tier Changed", None),
        ("Object ACL Updated", None),
        ("Object Tags Added", None),
        ("Object Tags Deleted", None),
    ],
)
def test_what_each_kind_on_eventbridge_means(kind: str, meaning: bool | None) -> None:
    (found,) = decode(event({"detail-type": kind, "detail": {"bucket": {"name": "docs"}, "object": {"key": "a"}}}))
    assert found is Skip.NOTIFICATION if meaning is None else isinstance(found, ObjectChange) and found.gone == meaning


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Skip.TOMBSTONE),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "docs"}, Skip.NOTIFICATION),
        ({"Type": "SubscriptionConfirmation", "Message": "You have chosen", "Token": "x"}, Skip.NOTIFICATION),
        ({"Records": []}, Skip.NOTIFICATION),
    ],
)
def test_what_is_no_ones_fault_is_skipped(value: dict[str, Any] | None, reason: Skip) -> None:
    assert decode(event(value)) == (reason,)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not a notification"),
        (b"\xff\xfe", "not a notification"),
        (b"[]", "not a notification"),
        (b"{}", "neither Records"),
        (b'{"Records": [{}]}', "eventName"),
        (b'{"Records": 1}', "Records"),
        (b'{"Type": "Notification"}', "no Message"),
        (
            b'{"Type": "Notification", "Message": "{\\"Type\\": \\"Notification\\", \\"Message\\": \\"{}\\"}"}',
            "neither",
        ),
        (b'{"Type": "Notification", "Message": "hello"}', "not a notification"),
        (b'{"detail-type": "Object Created"}', "not a notification"),
        (b'{"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}}}', "no detail.object"),
        (b"[" * 100_000, "not a notification"),
        ({"Records": [{**record("ObjectCreated:Put"), "eventVersion": "3.0"}]}, "eventVersion is '3.0'"),
        ({"Records": [{**record("ObjectCreated:Put"), "eventTime": "soon"}]}, "time is 'soon'"),
        ({"Records": [{**record("ObjectCreated:Put"), "s3": {"bucket": {"name": "b"}}}]}, "no s3.object"),
        ({"Records": [record("ObjectCreated:Put", "")]}, "names the object ''"),
        ({"Records": [record("ObjectCreated:Put", "%ff")]}, "not UTF-8"),
        ({"Records": [record("ObjectCreated:Put", sequencer="xyz")]}, "sequencer is 'xyz'"),
        ({"Records": [record("ObjectCreated:Put", sequencer="a" * 65)]}, "1 to 64 hexadecimal"),
    ],
)
def test_what_is_no_notification_is_refused_with_its_reason(value: bytes | dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(event(value))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_bytes_of_any_kind_are_refused_and_nothing_else(value: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(event(value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["s3", "object", "key", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["Records", "detail-type", "detail", "Type", "Message", "Event"]), JSON))
def test_json_of_any_kind_is_decoded_or_refused(value: dict[str, Any]) -> None:
    try:
        assert decode(event(value))
    except DecodeError as error:
        assert len(str(error)) < 400


@given(KEYS)
def test_every_key_comes_through_a_backfills_notification(key: str) -> None:
    (found,) = decode(event(notification("docs", key, size=3, etag="e", version_id="v")))
    assert found == ObjectChange("docs", key, BEGINNING, version_id="v", etag="e", size=3)


@pytest.mark.parametrize("key", ["../../etc/passwd", "a%2Fb", "a+b c", "😀/é.md", "//", " "])
def test_keys_that_look_like_something_else(key: str) -> None:
    (found,) = decode(event(notification("docs", key, gone=True)))
    assert found == ObjectChange("docs", key, gone=True)


@given(HEX, HEX)
def test_sequencers_are_compared_padded_on_the_right(one: str, other: str) -> None:
    width = max(len(one), len(other))
    expected = one.ljust(width, "0") < other.ljust(width, "0")
    if not one.startswith("00") and not other.startswith("00"):
        assert (position(one) < position(other.upper())) == expected
    assert len(position(one)) == 64


def test_the_same_moment_with_and_without_a_leading_zero_byte_is_the_same() -> None:
    assert position("00617F08299329D189") == position("617f08299329d189")
    assert position("0055AED6DCD90281E5") < position("617f08299329d189") < position("00617F08299329D18901")
    assert position(None) == position("") == BEGINNING < position("1")


FOLDER_MARKERS = Path(__file__).parents[2] / "fixtures" / "files" / "08-s3-folder-marker.jsonl"


@pytest.mark.parametrize("line", FOLDER_MARKERS.read_text(encoding="utf-8").splitlines())
def test_markers_of_folders_and_jobs_are_no_documents(line: str) -> None:
    assert decode(event(json.loads(line)["value"])) == (Skip.MARKER,)


def about(key: str, size: int | None, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    entity = {"bucket": {"name": "docs"}, "object": {"key": key, "size": size, "sequencer": "1"}}
    return {"Records": [{"eventVersion": "2.1", "eventName": name, "s3": entity}]}


def test_a_markers_removal_is_looked_at_and_so_is_what_is_no_marker() -> None:
    """An earlier release made documents of markers."""
    for value in (
        about("docs/", None, "ObjectRemoved:Delete"),
        about("out/_SUCCESS", None, "ObjectRemoved:Delete"),
        about("docs/", 3),
        about("docs/_index.md", 0),
    ):
        assert isinstance(decode(event(value))[0], ObjectChange)
    assert isinstance(decode(event(notification("docs", "docs/", size=0)))[0], ObjectChange)


def test_a_marker_on_the_bus() -> None:
    detail = {"bucket": {"name": "docs"}, "object": {"key": "a b/", "size": 0, "sequencer": "1"}}
    assert decode(event({"detail-type": "Object Created", "detail": detail})) == (Skip.MARKER,)
