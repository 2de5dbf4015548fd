"""Documents staged to a Kinesis stream of moto's: what a stream is beside a topic, and what it lets go.

The store is the one that Kafka's topic has, `connectors/staged/`, and the whole contract suite holds it there: filters,
words, damage and what no store takes never meet the log. Here are those of its cases that a log decides: the order of a
document's records, deletions, the ledger and a record read again, which a stream has in records of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import Any
from uuid import uuid4

import jsonschema
import numpy as np
import pytest

from connectors.aws.client import Aws
from connectors.kinesis.staged.log import KinesisLog
from connectors.staged.store import StagedStore
from core.change import Position
from core.config.staging import StagedStream
from core.errors import ConfigError, StoreGone, Unavailable
from core.plans import Status
from core.shards.progress import Progress
from core.stores.contract import VectorStore
from core.stores.fingerprint import Fingerprint, Owner
from core.stores.staged import Key
from tests.connectors import test_store_clearing as clearing
from tests.connectors import test_store_contract as contract
from tests.connectors import test_store_owner as owning
from tests.connectors.servers import Opener, Server
from tests.connectors.test_store_contract import APPLIED, REJECTED, STALE, apply, plan, texts
from tests.pages import ROOT

SCHEMA = json.loads((ROOT / "docs" / "staged-stream.schema.json").read_text(encoding="utf-8"))
DOCUMENT = json.loads((ROOT / "docs" / "staged-record.schema.json").read_text(encoding="utf-8"))
HOUR_MS = 3_600_000
OWNER = Owner("articles", 7, Fingerprint("m"))


@pytest.fixture
def target(aws: Aws) -> StagedStream:
    named = {"stream": f"staged-{uuid4().hex[:8]}", "region": aws.region, "endpoint": aws.endpoint, "shards": 2}
    return StagedStream.model_validate(named)


@pytest.fixture
def place(target: StagedStream) -> Opener:
    return lambda dimension=4, patience_s=5.0, remember_deletes_s=0.0, owner=None: StagedStore(
        KinesisLog(target, patience_s, 0.0), dimension, "m", owner
    )


@pytest.fixture
def server(aws: Aws, place: Opener) -> Server:
    def stays() -> None:
        raise AssertionError("its streams would be gone")

    return Server(str(aws.endpoint), lambda: place, stays, stays, splits=False)


@pytest.fixture
def store(place: Opener) -> Iterator[VectorStore]:
    store = place()
    store.prepare()
    yield store
    store.close()


def taken_over(store: VectorStore, place: Opener) -> None:
    owning.test_a_later_run_takes_over_and_the_earlier_writes_nothing(store, place, "pages")


CASES: dict[str, Callable[..., None]] = {
    "made by many at once": contract.test_many_prepare_at_once,
    "order and deletion": contract.test_a_deleted_document_is_gone_and_stays_gone,
    "deletion of what was never there": contract.test_a_delete_of_an_unknown_document_keeps_its_position,
    "a chunk read again": contract.test_one_chunk_of_three_is_swapped,
    "hostile ids, which are partition keys": contract.test_hostile_text_comes_back_as_it_was,
    "taken over": taken_over,
    "claimed again": owning.test_a_run_whose_ownership_was_lost_takes_it_again,
    "cleared": clearing.test_clearing_removes_what_is_older_and_nothing_else,
    "late after it was cleared": clearing.test_what_is_older_than_the_mark_stays_out_however_late_it_comes,
}


@pytest.mark.parametrize("case", CASES)
def test_as_every_store(case: str, request: pytest.FixtureRequest) -> None:
    CASES[case](**{name: request.getfixturevalue(name) for name in signature(CASES[case]).parameters})


class Clock:
    """The time, and how much later a store takes it for."""

    later_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.later_ms


def opened(target: StagedStream, clock: Clock | None = None, owner: Owner | None = None, **more: Any) -> StagedStore:
    made = StagedStore(KinesisLog(target, 2.0, more.get("pace_s", 0.0), clock or Clock()), 4, "m", owner)
    made.prepare()
    return made


def said(kinesis: Any, target: StagedStream) -> list[tuple[str, str, dict[str, Any]]]:
    """Shard, partition key and data of every record, in the order of each shard."""
    found = []
    for shard in kinesis.list_shards(StreamName=target.stream)["Shards"]:
        at = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(StreamName=target.stream, **at)["ShardIterator"]
        for each in kinesis.get_records(ShardIterator=iterator)["Records"]:
            found.append((shard["ShardId"], each["PartitionKey"], json.loads(each["Data"])))
    return found


def test_every_record_is_by_the_schema_and_those_of_a_document_are_in_its_shard(
    target: StagedStream, kinesis: Any
) -> None:
    small = target.model_copy(update={"largest_record": 10_000})
    store = opened(small, owner=OWNER)
    large = plan("public.a/1", "5", *(f"{at} " + "x" * 3_000 for at in range(7)), committed_ms=3)
    assert apply(store, large, plan("public.a/2", "1", "two")) == [APPLIED, APPLIED]
    assert apply(store, plan("public.a/1", "6", "short"), plan("public.a/2", "2", committed_ms=9)) == [APPLIED, APPLIED]
    store.clear("public.b", Position("4"))
    assert store.drop({"public.a/1": Position("6")}) == {"public.a/1"}
    store.close()
    there = said(kinesis, target)
    checked = jsonschema.Draft202012Validator(SCHEMA)
    for _, _, data in there:
        (checked if "deleted" in data or "ledger" in data else jsonschema.Draft202012Validator(DOCUMENT)).validate(data)
    of_first = [
        (key, data["part"]["number"], "deleted" in data)
        for _, key, data in there
        if data.get("id") == large.document_id
    ]
    assert {key for key, *_ in of_first} == {large.document_id}
    assert [each[1:] for each in of_first] == [
        *[(2, False), (1, False), (0, False)],
        *[(1, True), (2, True), (0, False)],
        (0, True),
    ], "the first part comes last, and parts that a document has no more are deleted"
    (deletion,) = (data for _, _, data in there if data.get("id") == "public.a/2" and "deleted" in data)
    assert deletion == {
        "version": 1, "id": "public.a/2", "part": {"number": 0}, "deleted": True, "position": "2", "committed_ms": 9,
    }  # fmt: skip
    assert {data["ledger"] for _, key, data in there if key == "freshet-ledger"} == {"owner", "shape", "table:public.b"}
    assert len({shard for shard, key, _ in there if key == large.document_id}) == 1


def test_the_schema_refuses_what_is_none() -> None:
    checked = jsonschema.Draft202012Validator(SCHEMA)
    for wrong in ({}, {"version": 1}, {"version": 2, "ledger": "owner", "said": None}, {"version": 1, "id": "a/1"}):
        with pytest.raises(jsonschema.ValidationError):
            checked.validate(wrong)


def test_what_others_wrote_is_passed_over(target: StagedStream, kinesis: Any) -> None:
    store = opened(target)
    for data in (b"", b"\xff", b"[1]", b"{}", b'{"version": 2, "id": "a/1"}', b'{"version": 1, "id": "a/1"}'):
        kinesis.put_record(StreamName=target.stream, PartitionKey="a/1", Data=data or b"x")
    assert apply(store, plan("a/1", "1", "one")) == [APPLIED]
    assert texts(store) == [("a/1", "one")]
    store.close()


def test_a_stream_is_made_as_the_file_says_and_one_that_is_there_stays(target: StagedStream, kinesis: Any) -> None:
    opened(target).close()
    summary = kinesis.describe_stream_summary(StreamName=target.stream)["StreamDescriptionSummary"]
    assert (summary["RetentionPeriodHours"], summary["OpenShardCount"]) == (168, 2)
    opened(target.model_copy(update={"retention_hours": 200, "shards": 1})).close()
    again = kinesis.describe_stream_summary(StreamName=target.stream)["StreamDescriptionSummary"]
    assert (again["RetentionPeriodHours"], again["OpenShardCount"]) == (168, 2)


def test_records_larger_than_the_stream_takes_are_refused_before_a_run(target: StagedStream) -> None:
    large = target.model_copy(update={"largest_record": 2 * 2**20})
    with pytest.raises(ConfigError, match=r"store.kinesis.largest_record is 2097152, and .* takes records of 1048576"):
        opened(target).close()
        opened(large)


def test_order_outlasts_a_split_and_a_merge(target: StagedStream, kinesis: Any) -> None:
    store, ids = opened(target), [f"public.a/{number}" for number in range(20)]
    apply(store, *(plan(each, "1", "one") for each in ids))
    kinesis.split_shard(StreamName=target.stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**126))
    apply(store, *(plan(each, "2", "two", "kept") for each in ids))
    kinesis.merge_shards(
        StreamName=target.stream, ShardToMerge="shardId-000000000002", AdjacentShardToMerge="shardId-000000000003"
    )
    assert apply(store, *(plan(each, "3", "kept", "three", new=["three"]) for each in ids)) == [APPLIED] * 20
    assert set(apply(store, *(plan(each, "1", "late") for each in ids))) == {STALE}
    store.close()
    fresh = opened(target)
    assert texts(fresh) == sorted((each, text) for each in ids for text in ("kept", "three"))
    assert set(fresh.positions(ids).values()) == {"3"}
    fresh.close()


def test_what_is_past_the_retention_is_not_there_and_nothing_is_half_written(target: StagedStream) -> None:
    clock = Clock()
    store = opened(target, clock)
    whole = plan("public.a/1", "1", "one", "two")
    apply(store, whole, plan("public.a/2", "1", "other"))
    assert store.held([whole]) == set(whole.chunk_ids)
    clock.later_ms = 167 * HOUR_MS
    assert sorted(store.document_ids()) == ["public.a/1", "public.a/2"] and store.held([whole])
    clock.later_ms = 169 * HOUR_MS
    assert list(store.document_ids()) == [] and store.models() == {}
    assert store.read(["public.a/1"]) == {} and texts(store) == []
    assert store.held([whole]) == frozenset(), "its vectors can't be read any more: they are made anew"
    assert apply(store, plan("public.a/1", "0", "late")) == [STALE], "it is known where it stood"
    store.close()


def test_a_plan_that_keeps_what_the_stream_has_let_go_is_rejected(
    target: StagedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(target)
    apply(store, plan("public.a/1", "1", "one", "two"))
    monkeypatch.setattr(KinesisLog, "at", lambda log, places: {})
    (outcome,) = store.apply([plan("public.a/1", "2", "one", "two", new=[])], [np.zeros((0, 4), np.float32)])
    assert outcome.status is Status.REJECTED and "keeps 2 chunks whose records the log has let go" in outcome.reason
    assert apply(store, plan("public.a/1", "2", "one", "two")) == [APPLIED], "it is taken whole"
    store.close()


def test_whose_it_is_and_what_was_cleared_is_said_again_before_it_is_let_go(target: StagedStream, kinesis: Any) -> None:
    clock = Clock()
    store = opened(target, clock, OWNER)
    store.claim()
    store.clear("public.b", Position("4"))
    before = len(said(kinesis, target))
    clock.later_ms = 41 * HOUR_MS
    apply(store, plan("public.a/1", "1", "one"))
    assert len(said(kinesis, target)) == before + 1
    clock.later_ms = 43 * HOUR_MS
    apply(store, plan("public.a/1", "2", "two"))
    again = [data for _, _, data in said(kinesis, target) if "ledger" in data]
    assert len(again) == 2 * 3
    assert [data["said"] for data in again if data["ledger"] == "table:public.b"] == ["4", "4"]
    store.close()


def test_a_batch_reads_few_vectors_back_and_has_the_others_made_anew(target: StagedStream) -> None:
    store = opened(target)
    plans = [plan(f"public.a/{number}", "1", f"text {number}") for number in range(20)]
    apply(store, *plans)
    held = store.held(plans)
    assert held == {each.chunk_ids[0] for each in plans[:5]}
    store.close()


def test_how_far_a_run_is_is_said_rarely(target: StagedStream, kinesis: Any) -> None:
    store = opened(target, pace_s=0.02)
    for number in range(5):
        store.keep(Progress(0, number, {}))
    assert store.progress() == Progress(0, 0, {})
    time.sleep(1.0)
    store.keep(Progress(0, 9, {}))
    assert store.progress() == Progress(0, 9, {})
    assert sum(data.get("ledger") == "progress" for _, _, data in said(kinesis, target)) == 2
    store.close()


def test_a_stream_that_is_gone_ends_the_run_and_a_server_that_is_away_is_named(
    target: StagedStream, kinesis: Any
) -> None:
    store = opened(target)
    apply(store, plan("public.a/1", "1", "one"))
    kinesis.delete_stream(StreamName=target.stream)
    with pytest.raises(StoreGone, match=r"store.kinesis.stream: .*--rebuild"):
        apply(store, plan("public.a/1", "2", "two"))
    assert not store.look()
    away = StagedStore(KinesisLog(target.model_copy(update={"endpoint": "http://127.0.0.1:9"}), 0.2), 4, "m")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        away.prepare()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        apply(away, plan("public.a/1", "2", "two"))


def test_what_a_stream_refuses_for_now_is_sent_again_in_its_order(
    target: StagedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(target.model_copy(update={"largest_record": 10_000}))
    log = store._log
    assert isinstance(log, KinesisLog)
    put, calls = log._client.put_records, []

    def refusing(**asked: Any) -> Any:
        calls.append(asked)
        if len(calls) % 2:
            some = asked["Records"]
            answer = put(**{**asked, "Records": some[1:]}) if some[1:] else {"Records": []}
            refused = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "busy"}
            return {"Records": [refused, *answer["Records"]]}
        return put(**asked)

    monkeypatch.setattr(log._client, "put_records", refusing)
    large = [plan(f"public.a/{at}", "5", *(f"{part} " + "x" * 3_000 for part in range(7))) for at in range(3)]
    assert apply(store, *large) == [APPLIED] * 3
    assert len(calls) > 5 and len(texts(store)) == 21
    assert apply(store, plan("public.a/1", "6", "unknown", "x", new=["x"])) == [REJECTED]
    store.close()


def test_a_change_that_came_behind_a_later_one_is_overtaken_again(
    target: StagedStream, kinesis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = opened(target), opened(target)
    log = store._log
    append = log.append

    def behind(document_id: str, sent: Sequence[tuple[Key, bytes | None, Any]]) -> None:
        monkeypatch.undo()
        assert apply(other, plan("public.a/1", "9", "later")) == [APPLIED]
        append(document_id, sent)

    monkeypatch.setattr(log, "append", behind)
    apply(store, plan("public.a/1", "5", "earlier"))
    stood = [data["position"] for _, _, data in said(kinesis, target) if data.get("id") == "public.a/1"]
    assert stood == ["9", "5", "9"]
    assert texts(store) == texts(other) == [("public.a/1", "later")]
    for each in (store, other):
        each.close()


def test_who_is_killed_between_two_parts_leaves_the_document_as_it_was_and_goes_on(
    target: StagedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = target.model_copy(update={"largest_record": 10_000})
    before, after = (tuple(f"{text} {at} " + "x" * 3_000 for at in range(7)) for text in ("before", "after"))
    killed = opened(small, owner=OWNER)
    assert apply(killed, plan("public.a/1", "1", *before)) == [APPLIED]
    killed.keep(Progress(0, 1, {}))
    log = killed._log
    assert isinstance(log, KinesisLog)
    put, calls = log._client.put_records, []

    def dying(**asked: Any) -> Any:
        calls.append(asked)
        if len(calls) == 3:
            raise SystemExit
        return put(**asked)

    monkeypatch.setattr(log._client, "put_records", dying)
    with pytest.raises(SystemExit):
        apply(killed, plan("public.a/1", "2", *after))
    again = opened(small, owner=OWNER)
    assert again.progress() == Progress(0, 1, {})
    assert texts(again) == [("public.a/1", text) for text in before]
    assert apply(again, plan("public.a/1", "2", *after)) == [APPLIED]
    assert apply(again, plan("public.a/1", "1", "late")) == [STALE]
    again.close()
    fresh = opened(small)
    assert texts(fresh) == [("public.a/1", text) for text in after]
    fresh.close()
