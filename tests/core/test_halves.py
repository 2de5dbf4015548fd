"""Key changes whose halves are one document, rows that have one key for a while, and states of the last release."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from core.change import Change, Event, Operation, Position
from core.config.pipeline import Pipeline
from core.decoding import decoder
from core.documents.moves import Kept, Settled, decode_kept, encode_kept, give_up, settle
from core.documents.step import (
    Chunker,
    DocumentState,
    Unsettled,
    document_id,
    plan_of,
    state_from_bytes,
    state_to_bytes,
    step,
)
from core.documents.unsettled import Answer
from core.errors import DecodeError
from core.plans import Plan
from core.profiles.records import RowState, row_from_bytes, row_to_bytes
from flink_jobs import payloads

TABLE = "public.a"
WHOLE = Chunker("whole", lambda text: [(0, len(text))])
KAFKA = {"kafka": {"topic": "t", "properties.bootstrap.servers": "127.0.0.1:1"}}
OLD_KEY, NEW_KEY, CONTEXT = "__debezium.oldkey", "__debezium.newkey", "__debezium.context.connectorName"
MARKER = "__debezium_unavailable_value"
POSTGRES = {"connector": "postgresql", "schema": "public", "table": "a"}
MYSQL = {"connector": "mysql", "db": "public", "table": "a", "file": "binlog.000003", "pos": 400, "row": 0}


def pipeline(**document: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "halves",
            "source": KAFKA,
            "format": "debezium",
            "documents": {TABLE: {"text": "{title}", "key": ["code"], **document}},
            "store": {"pgvector": {"dsn": "postgresql://x", "table": "t"}},
            "dead_letters": {"kafka": {"topic": "letters"}},
        }
    )


def raw(value: Any) -> bytes | None:
    return None if value is None else json.dumps(value).encode()


def event(
    op: str, key: Any, source: dict[str, Any], before: Any = None, after: Any = None, header: str = CONTEXT, at: int = 0
) -> Event:
    envelope = {"op": op, "before": before, "after": after, "source": source}
    return Event("t", 0, at, raw(key), raw(envelope), {header: b"{}", CONTEXT: b"x"})


def at(commit: int, lsn: int) -> dict[str, Any]:
    return {**POSTGRES, "sequence": f'["{commit}","{lsn}"]'}


class Job:
    """The documents' states, what settles behind them, and a store."""

    def __init__(self, of: Pipeline, store: dict[str, tuple[str, str]] | None = None) -> None:
        self.spec = of.documents[TABLE].spec(TABLE)
        self.states: dict[str, DocumentState | None] = {}
        self.memory: dict[str, Kept] = {}
        self.store = {} if store is None else store
        self.open: list[str] = []

    def take(self, change: Change, replayed: bool = False) -> None:
        identity = document_id(self.spec, change)
        state, emitted = step(self.states.get(identity), change, self.spec, "m", WHOLE, replayed)
        self.states[identity] = None if state is None else state_from_bytes(state_to_bytes(state))
        for each in emitted:
            if isinstance(each, Plan):
                self._write(each)
                continue
            assert isinstance(each, Unsettled)
            self._settled(settle(self.memory, each))

    def end(self) -> None:
        """Every partition has been read: no half waits any longer."""
        for name in [name for name in self.memory if name.startswith("half ")]:
            self._settled(give_up(self.memory, name.partition(" ")[2]))

    def _settled(self, answers: list[Answer]) -> None:
        for answer in answers:
            if isinstance(answer, Settled):
                self._write(plan_of(answer.what, self.spec, "m", WHOLE, answer.moved_from))
            else:
                self.open.append(answer.what.document_id)

    def _write(self, plan: Plan) -> None:
        if plan.position >= self.store.get(plan.document_id, ("", ""))[0]:
            self.store[plan.document_id] = (plan.position, "".join(chunk.text for chunk in plan.write))

    def texts(self) -> dict[str, str]:
        return {identity: text for identity, (_, text) in self.store.items() if text}


def changes(of: Pipeline, events: list[Event]) -> list[Change]:
    decode = decoder(of.events)
    return [change for each in events for change in decode(each) if isinstance(change, Change)]


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("order", [*permutations((0, 1))])
@pytest.mark.parametrize("text", ["new", MARKER])
def test_a_primary_key_changes_that_the_document_is_not_named_by(
    order: tuple[int, ...], text: str, repeats: int
) -> None:
    of = pipeline()
    old, new = {"id": 1, "code": "x", "title": "old"}, {"id": 2, "code": "x", "title": text}
    first, *halves = changes(
        of,
        [
            event("c", {"id": 1}, at(40, 50), after=old),
            event("d", {"id": 1}, at(90, 100), before=old, header=NEW_KEY),
            event("c", {"id": 2}, at(90, 100), after=new, header=OLD_KEY),
        ],
    )
    job = Job(of)
    job.take(first)
    for _ in range(repeats):
        for number in order:
            job.take(halves[number])
    assert job.texts() == {"public.a/x": "old" if text == MARKER else "new"}
    assert not job.open
    job.take(changes(of, [event("u", {"id": 2}, at(190, 200), before=new, after={**new, "title": "last"})])[0])
    assert job.texts() == {"public.a/x": "last"}
    job.take(changes(of, [event("d", {"id": 2}, at(290, 300), before=new)])[0])
    assert job.texts() == {}


@pytest.mark.parametrize("offsets", [(900, 10), (10, 900)])
@pytest.mark.parametrize("order", [*permutations((0, 1))])
def test_so_it_is_with_mysql_whose_halves_have_an_arrival_each(
    order: tuple[int, ...], offsets: tuple[int, int]
) -> None:
    """A partition's offsets say nothing of another's."""
    of = pipeline()
    old, new = {"id": 1, "code": "x", "title": "old"}, {"id": 2, "code": "x", "title": "new"}
    first, *halves = changes(
        of,
        [
            event("c", {"id": 1}, {**MYSQL, "pos": 4}, after=old),
            event("d", {"id": 1}, MYSQL, before=old, header=NEW_KEY, at=offsets[0]),
            event("c", {"id": 2}, MYSQL, after=new, header=OLD_KEY, at=offsets[1]),
        ],
    )
    job = Job(of)
    for change in (first, *(halves[number] for number in order)):
        job.take(change)
    if job.texts() != {"public.a/x": "new"}:  # the deletion is late: the new row waits until it is answered early
        (kept,) = job.memory.values()
        assert kept.half is not None and kept.half.change.row == {"title": "new"}


def test_a_column_of_a_deferrable_key_that_is_not_the_primary_one() -> None:
    """`UPDATE … SET code = code + 1`: the row that was at 2 leaves it after another one has come."""
    of = pipeline()
    one, two = {"id": 1, "code": 1, "title": "one"}, {"id": 2, "code": 2, "title": "two"}
    settings = [
        event("c", {"id": 1}, at(40, 50), after=one),
        event("c", {"id": 2}, at(40, 60), after=two),
        event("u", {"id": 1}, at(90, 100), before=one, after={**one, "code": 2}),
        event("u", {"id": 2}, at(90, 110), before=two, after={**two, "code": 3}),
    ]
    job = Job(of)
    for change in changes(pipeline(types={"id": "integer", "code": "integer"}), settings):
        job.take(change)
    assert job.texts() == {"public.a/2": "one", "public.a/3": "two"}


@pytest.mark.parametrize("key", [1, "1", {"schema": {"type": "int32"}, "payload": 1}])
def test_a_bare_key_does_not_hide_that_the_document_is_another(key: Any) -> None:
    of = pipeline()
    old, new = {"id": 1, "code": "x", "title": "t"}, {"id": 1, "code": "y", "title": "t"}
    job = Job(of)
    for change in changes(
        of, [event("c", key, at(40, 50), after=old), event("u", key, at(90, 100), before=old, after=new)]
    ):
        job.take(change)
    assert job.texts() == {"public.a/y": "t"}


def test_what_is_refused_keeps_what_orders_and_pairs_it() -> None:
    of = pipeline(key=[], types={"n": "numeric(4,2)"}, tables=[r"public\.a_\d+"])
    source = {**MYSQL, "table": "a_7", "name": "shop"}
    after = {"id": 2, "code": "x", "title": "plain text", "n": {"bad": 1}}
    decode = decoder(of.events)
    with pytest.raises(DecodeError) as raised:
        decode(event("c", {"id": 2}, source, after=after, header=OLD_KEY, at=5))
    (refused,) = raised.value.refused
    (whole,) = decode(event("c", {"id": 2}, source, after={**after, "n": None}, header=OLD_KEY, at=5))
    assert isinstance(whole, Change)
    names = ("table", "key", "position", "moves", "pair", "commit", "source")
    assert [getattr(refused, name) for name in names] == [getattr(whole, name) for name in names]
    assert refused.pair and refused.operation is Operation.REFUSED and refused.row["title"] == "plain text"
    with pytest.raises(DecodeError) as raised:
        decode(event("d", {"id": 2}, {**at(90, 100), "table": "a"}, before={**after}))
    assert raised.value.refused[0].commit == f"{90:016x}"


# Written by the last release: DocumentState and its kin as they were then.
STATE = (
    b"\x02\x85\xa8position\xd9!000000000000000a.000000000000000b\xa7made_by\xa7m|c|{t}\xa3row\x83\xa1t\xa1x\xa1n\xc0"
    b"\xa1d\x81\xa1a\x92\x01\xcb@\x04\x00\x00\x00\x00\x00\x00\xa6ranges\x92\x92\x00\x01\x92\x01\x03\xa9forget_at\x00"
)
DEAD = b"\x02\x85\xa8position\xa17\xa7made_by\xa0\xa3row\x80\xa6ranges\x90\xa9forget_atc"
OPEN = (
    b"\x84\xabdocument_id\xa3a/1\xa6change\x8b\xa5table\xa1a\xa3key\x81\xa2id\x01\xa9operation\xa6upsert\xa8position\xa17"
    b"\xa3row\x81\xa1t\xa1x\xabunavailable\x91\xa1b\xa8doubtful\x91\xa1c\xa7partial\xc2\xa5moves\xc3\xadends_snapshot\xc2"
    b"\xaccommitted_ms\x05\xa5event\xc4\x02ev\xa4late\xc3"
)
KEPT = b"\x84\xa4half" + OPEN + b"\xa4told\xc3\xa6behind\x91" + OPEN + b"\xa6values\x81\xa1v\x01"
ROW = b"\x01\x83\xa8position\xa17\xa3row\x81\xa1t\xa1x\xa9forget_ms\t"


def test_a_savepoint_of_the_last_release_is_read() -> None:
    row = {"t": "x", "n": None, "d": {"a": [1, 2.5]}}
    position = Position("000000000000000a.000000000000000b")
    states = (
        (STATE, DocumentState(position, "m|c|{t}", row, ((0, 1), (1, 3)))),
        (b"\x01" + STATE[1:], DocumentState(position, "", row)),
        (DEAD, DocumentState(Position("7"), forget_at=99)),
    )
    for written, state in states:
        assert state_from_bytes(written) == state == state_from_bytes(state_to_bytes(state))
    assert state_to_bytes(states[0][1])[:1] == b"\x03"
    unavailable, doubtful = frozenset({"b"}), frozenset({"c"})
    half = Change(
        "a", {"id": 1}, Operation.UPSERT, Position("7"), {"t": "x"}, unavailable, doubtful, moves=True, committed_ms=5
    )
    unsettled = Unsettled("a/1", half, b"ev", late=True)
    assert payloads.UNSETTLED.decode(OPEN) == unsettled
    kept = Kept(unsettled, answered=True, behind=(unsettled,), values={"v": 1})
    assert decode_kept(KEPT) == kept == decode_kept(encode_kept(kept))
    assert (
        row_from_bytes(ROW)
        == RowState(Position("7"), {"t": "x"}, 9)
        == row_from_bytes(row_to_bytes(row_from_bytes(ROW)))
    )
