"""Chaos' feeds: their sources tell all that happens to them, as the services would, and what a store lacks is seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import aws as aws_server
from chaos import compare, world
from chaos.feeds import FEEDS
from chaos.outbox import Outbox
from chaos.patience import Patience
from chaos.shards import HASHES, PARTS, Stream, place, spread
from chaos.table import Happened, Row, Table, acts, first
from connectors.aws.client import Aws
from connectors.dynamodb.streams import TableStream
from connectors.kinesis.streams import KinesisStream
from core.change import Position
from core.plans import Chunk, Plan, chunk_id
from core.shards.log import Batch, ExpiredIterator, ShardStream, Start
from core.stores.verification import Kind
from operations.servers import stores
from stack.local import Stack
from workloads.writers.dynamodb import DynamodbWriter
from workloads.writers.kinesis import KinesisWriter


@given(st.integers(1, 4), st.booleans(), st.randoms(use_true_random=False))
def test_shards_hold_every_hash_once_and_keys_go_from_parent_to_child(
    shards: int, merges: bool, choices: Random
) -> None:
    stream = Stream(shards, lambda number: f"s{number}")
    last: dict[str, str] = {}
    for number in range(60):
        if choices.random() < 0.2:
            stream.reshard(choices, merges)
        there = stream.open()
        assert [shard.low for shard in there] == [0, *(shard.high + 1 for shard in there[:-1])]
        assert there[-1].high == HASHES - 1 and all(shard.low % (HASHES // PARTS) == 0 for shard in there)
        key = f"k{choices.randrange(9)}"
        shard = stream.put(key, number, {})
        if last.get(key, shard.id) not in _ancestors(stream, shard.id):
            raise AssertionError(key)
        last[key] = shard.id
    assert [number for _, number, _ in stream.all()] == list(range(60))


def _ancestors(stream: Stream, shard: str) -> set[str]:
    return {shard}.union(*(_ancestors(stream, parent) for parent in stream.shards[shard].parents))


def test_some_keys_are_in_every_shard_that_there_can_be() -> None:
    found = spread(lambda number: f"table.{number}")
    assert sorted(place(f"table.{number}") * PARTS // HASHES for number in found) == list(range(PARTS))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_a_tables_log_makes_its_rows(seed: int, moves: bool) -> None:
    log: list[Happened] = []
    table = Table(log.append)
    choices = Random(seed)
    done = sum(table.do(act) for act in [*first(choices), *acts(choices, 2.0, moves)])
    rows: dict[int, Row] = {}
    for each in log:
        if each.before is None and each.after is None:
            rows.clear()
        if each.before is not None:
            assert rows.pop(each.before["id"]) == each.before
        if each.after is not None:
            assert each.after["id"] not in rows
            rows[each.after["id"]] = each.after
    assert rows == table.rows and len(log) == done
    times = [each.time_us for each in log]
    assert times == sorted(set(times))
    assert all(row["id"] == key for key, row in table.rows.items())


def test_what_is_late_is_swapped_and_repeated_and_never_lost() -> None:
    sent: list[int] = []
    outbox = Outbox[int](sent.extend, Random(1), late_s=0.1, repeats=0.3)
    outbox.start()
    for number in range(300):
        outbox.add(number)
    outbox.flush()
    times = Counter(sent)
    assert set(times) == set(range(300)) and set(times.values()) == {1, 2}
    assert sent != sorted(sent)


def test_what_is_sent_again_is_followed_by_what_comes_next() -> None:
    sent: list[int] = []
    outbox = Outbox[int](sent.extend, Random(1))
    for number in range(300):
        outbox.add(number)
    outbox.start()
    for _ in range(20):
        outbox.send_again(lambda: sent[-10:])
    outbox.flush()
    assert sorted(set(sent)) == list(range(300)) and sent[-1] == 299
    # whatever was sent again, all that comes after it is sent again too
    assert all(after <= before + 1 for before, after in pairwise(sent))


def test_an_outbox_tells_that_it_could_not_send() -> None:
    def send(_: list[int]) -> None:
        raise OSError("no")

    outbox = Outbox[int](send, Random(1))
    outbox.add(1)
    outbox.start()
    with pytest.raises(OSError, match="no"):
        outbox.flush()


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with aws_server.served(tmp_path_factory.mktemp("aws")) as served:
        yield served


def _all(stream: ShardStream, shard: str) -> tuple[list[str], bool]:
    """The values of a shard, and whether it ends."""
    values: list[str] = []
    iterator: str | None = stream.iterator(shard, Start())
    for _ in range(40):  # an answer may be empty although there is more
        batch: Batch = stream.read(iterator or "", 50)
        values += [record.value.decode() for record in batch.records]
        iterator = batch.iterator
        if iterator is None:
            break
    return values, iterator is None


def test_a_stream_of_kinesis_is_resharded_and_loses_nothing(aws: Aws) -> None:
    writer, stream = KinesisWriter("orders", aws), KinesisStream("orders", aws)
    writer.ensure(2)
    for part in range(8):
        writer.put((f"k{number}", f"k{number} {part:02}".encode()) for number in range(40))
        assert "shardId" in aws_server.reshard(aws, "orders", part, merges=True)
    assert stream.made().startswith("arn:aws:kinesis:eu-central-1:123456789012:stream/orders of 20")
    shards = stream.shards()
    assert any(len(shard.parents) == 2 for shard in shards) and len(shards) > 8
    by_key: dict[str, list[str]] = defaultdict(list)
    for shard in shards:  # as they were made, so parents first
        values, ends = _all(stream, shard.id)
        assert ends is shard.closed
        for value in values:
            by_key[value.split()[0]].append(value)
    assert by_key == {f"k{n}": [f"k{n} {part:02}" for part in range(8)] for n in range(40)}


def test_what_is_refused_comes_all_the_same_some_of_it_twice(aws: Aws) -> None:
    writer = KinesisWriter("refused", aws)
    writer.ensure(2)
    aws_server.refuse(aws, 0.6, 2.0)
    for part in range(4):
        writer.put((f"k{number}", f"k{number} {part}".encode()) for number in range(40))
    aws_server.refuse(aws, 0.0, 0.0)
    came: dict[str, list[str]] = defaultdict(list)
    for _, _, value in aws_server.values(aws, "refused"):
        came[value.split()[0]].append(value)
    assert len(came) == 40 and all(list(dict.fromkeys(values)) == sorted(set(values)) for values in came.values())
    assert all(len(set(values)) == 4 for values in came.values())


def test_iterators_expire(aws: Aws) -> None:
    KinesisWriter("old", aws).ensure(1)
    stream = KinesisStream("old", aws)
    iterator = stream.iterator("shardId-000000000000", Start())
    aws_server.expire(aws)
    with pytest.raises(ExpiredIterator):
        stream.read(iterator, 10)


def test_a_tables_stream_rolls_over_and_loses_nothing(aws: Aws) -> None:
    writer = DynamodbWriter("items", aws)
    writer.ensure()
    for part in range(6):
        writer.write((number, {"id": number, "title": f"t{part}"}) for number in range(20))
        aws_server.reshard(aws, "items", part, merges=False)
    stream = TableStream("items", aws)
    shards = stream.shards()
    assert len(shards) > 7 and all(len(shard.parents) < 2 for shard in shards)
    records = [value for shard in shards for value in _all(stream, shard.id)[0]]
    assert len(records) == 120 and len(set(records)) == 120


# documents alone: profiles and KPIs have a comparison, and a test, of their own
@pytest.fixture(params=[name for name in FEEDS if not name.startswith(("debezium", "profiles", "feedback"))])
def here(request: pytest.FixtureRequest, stack: Stack, tmp_path: Path, aws: Aws) -> Iterator[world.World]:
    known = FEEDS[request.param]
    name = f"chaos_{uuid4().hex[:6]}"
    served = aws if known.needs_aws else None
    made = world.make(stack, tmp_path, name, ("pgvector",), Random(1), known.begin, served)
    yield made
    world.end(made)


def test_what_a_store_lacks_or_has_too_much_of_is_seen(here: world.World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "_LAST_LOOK_S", 0.1)
    (table,) = here.pipeline.documents
    ghost, text = f"{table}/100000", "nobody wrote this"
    chunk = Chunk(chunk_id(ghost, "hash", "c", text, 0), 0, text)
    (store,) = stores(here.pipeline).values()
    store.apply([Plan(ghost, Position("1"), (chunk.chunk_id,), (chunk,))], [np.eye(1, 384, dtype=np.float32)])
    store.close()
    found = compare.settle(here, Patience(0.1, 0.1))  # no job runs, so nothing else comes
    kinds = {difference.kind for _, difference in found.differences}
    assert kinds == {Kind.MISSING, Kind.GHOST}
    assert [each.document_id for _, each in found.differences if each.kind is Kind.GHOST] == [ghost]
    assert "markers in pgvector" in found.waited_for
    lacking = [each.document_id for _, each in found.differences if each.kind is Kind.MISSING]
    assert set(here.feed.markers) <= set(lacking) and len(lacking) > 100
    assert all(compare.details(here, document).events for document in (lacking[0], lacking[-1]))
