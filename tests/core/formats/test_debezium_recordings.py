"""What real recordings decode to is, folded by key and position alone, the tables as PostgreSQL had them."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from core.change import Change, Operation, Position, Skip, Truncate
from core.formats.debezium.decoding import UNAVAILABLE, DebeziumFormat, decode
from tests.core.formats.recorded import (
    FORMAT,
    RECORDINGS,
    TYPES,
    event,
    lines,
    true_rows,
    true_tables,
    with_schema,
)

Key = tuple[str, str]

# What the connector itself has lost: a snapshot's dates have no BC; numerics no NaN, no infinity and, where their type
# has no scale, no trailing zeros.
LOST = {("svs", "3", "d"): "0044-03-15", ("svs", "4", "h"): "0.1", ("svs", "104", "h"): "0.1"}
LOST_NUMBERS = {"NaN", "Infinity", "-Infinity"}
INTERVALS = {"1 year": "P365DT6H", "00:00:00": "PT0S"}


def interleaved(recording: str, seed: int) -> list[dict[str, Any]]:
    """The partitions' lines in another interleaving, some redelivered."""
    chance = random.Random(seed)
    partitions: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in lines(recording):
        partitions[line["topic"], line["partition"]].append(line)
    mixed = []
    queues = list(partitions.values())
    places = [0] * len(queues)
    while left := [number for number, queue in enumerate(queues) if places[number] < len(queue)]:
        number = chance.choice(left)
        mixed.append(queues[number][places[number]])
        places[number] += 1
        if chance.random() < 0.05:
            places[number] = max(0, places[number] - chance.randrange(4))
    return mixed


@dataclass(frozen=True)
class Fold:
    rows: dict[str, dict[str, dict[str, Any]]]
    unresolved: list[str]


def fold(changes: Iterable[Change | Truncate | Skip]) -> Fold:
    """The tables after all changes by the rules of `core.change`: positions order, moves and unavailable carry over.

    Arrival says nothing: everything is sorted by position, and the two halves of a move by which of them takes away.
    """
    done = [change for change in changes if not isinstance(change, Skip)]
    done.sort(key=lambda it: (it.table, it.position, isinstance(it, Change) and it.operation is Operation.UPSERT))
    rows: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    unresolved = []
    last: dict[Key, Position] = {}
    moved: dict[tuple[str, Position], dict[str, Any]] = {}
    for change in done:
        table = rows[change.table]
        if isinstance(change, Truncate):
            table.clear()
            continue
        key = json.dumps(change.key, sort_keys=True) if change.key else json.dumps(change.row)
        if change.position <= last.get((change.table, key), ""):
            continue
        last[change.table, key] = change.position
        before = table.pop(key, {})
        if change.operation is Operation.DELETE:
            moved[change.table, change.position] = before if change.moves else {}
            continue
        if change.moves:
            before = moved[change.table, change.position]
        unresolved += [f"{change.table}.{name}" for name in change.unavailable if name not in before]
        table[key] = {
            **change.row,
            **{name: before[name] for name in change.unavailable | change.doubtful if name in before},
        }
    return Fold(rows, unresolved)


def decoded(recorded: Iterable[dict[str, Any]], settings: DebeziumFormat = FORMAT) -> list[Change | Truncate | Skip]:
    return [decode(event(line), settings) for line in recorded]


def as_people_write(table: str, row: dict[str, str], name: str) -> Any:
    """PostgreSQL's own text, as the design wants it in a row; None for a null and for what the connector loses."""
    text, kind = row[name], TYPES.get(f"public.{table}", {}).get(name, "")
    lost = LOST.get((table, row.get("id", ""), name))
    if lost or text == "" or (kind == "numeric" and text in LOST_NUMBERS):
        return lost
    if kind == "interval":
        return INTERVALS[text]
    if kind.startswith(("timestamp", "date")):
        return iso(text)
    return text


def iso(text: str) -> str:
    text, bc = text.removesuffix(" BC"), text.endswith(" BC")
    day, _, clock = text.partition(" ")
    if bc:
        day = f"-{int(day[:4]) - 1:04d}{day[4:]}"
    if len(day.partition("-")[0]) > 4 and day[0].isdecimal():
        day = f"+{day}"
    return day + (f"T{clock.replace('+00', 'Z')}" if clock else "")


def written(value: Any, like: Any) -> Any:
    if value in (None, ""):
        return None
    if isinstance(value, float) and isinstance(like, str):
        return like if float(like) == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def differences(recording: str, folded: Fold) -> list[str]:
    wrong = []
    for table in true_tables(recording):
        truth = true_rows(recording, table)
        found = {
            json.dumps(written(next(iter(row.values())), "")): row for row in folded.rows[f"public.{table}"].values()
        }
        if len(truth) != len(folded.rows[f"public.{table}"]):
            wrong.append(f"{table} has {len(folded.rows[f'public.{table}'])} rows, not {len(truth)}")
        for row in truth:
            ours = found.get(json.dumps(next(iter(row.values()))), {})
            for name in row:
                expected = as_people_write(table, row, name)
                # A virtual generated column is in snapshots alone.
                if not (name == "up" and "up" not in ours) and written(ours.get(name), expected) != expected:
                    wrong.append(
                        f"{table}.{name} of {row['id' if 'id' in row else 'a']}: {ours.get(name)!r}, not {expected!r}"
                    )
    return wrong


@pytest.mark.parametrize("recording", ["events", "workload"])
def test_the_fold_is_the_truth(recording: str) -> None:
    folded = fold(decoded(lines(recording)))
    assert len(true_tables(recording)) == {"events": 8, "workload": 2}[recording]
    assert differences(recording, folded) == []
    assert folded.unresolved == []


@pytest.mark.parametrize("recording", ["events", "workload"])
def test_a_wrong_fold_is_seen(recording: str) -> None:
    changes = decoded(lines(recording))
    latest = max((it for it in changes if isinstance(it, Change) and it.key), key=lambda it: it.position)
    assert differences(recording, fold(each for each in changes if each is not latest))


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("seed", range(3))
def test_interleaving_and_redelivery_change_nothing(recording: str, seed: int) -> None:
    assert fold(decoded(interleaved(recording, seed))) == fold(decoded(lines(recording)))


@pytest.mark.parametrize("recording", RECORDINGS)
def test_schemas_in_the_events_say_what_types_said(recording: str) -> None:
    for line in lines(recording):
        bare, wrapped = decode(event(line), FORMAT), decode(event(with_schema(line)))
        assert bare == wrapped


@pytest.mark.parametrize("recording", RECORDINGS)
def test_positions_rise_within_each_key(recording: str) -> None:
    last: dict[Key, Change] = {}
    for line in sorted(lines(recording), key=lambda it: (it["topic"], it["partition"], it["offset"])):
        change = decode(event(line))
        if isinstance(change, Change) and change.key:
            before = last.get((change.table, json.dumps(change.key)))
            assert before is None or before.position < change.position
            last[change.table, json.dumps(change.key)] = change
    assert last


def test_a_truncate_is_after_what_it_removes_and_before_what_comes_next() -> None:
    changes = [it for it in decoded(lines("events")) if not isinstance(it, Skip) and it.table == "public.items"]
    (truncate,) = [it for it in changes if isinstance(it, Truncate)]
    after = [it for it in changes if isinstance(it, Change) and it.position > truncate.position]
    assert [it.row["name"] for it in after] == ["after truncate"]


def test_both_halves_of_a_move_share_their_position() -> None:
    halves: dict[tuple[str, Position], list[Change]] = defaultdict(list)
    for change in decoded(lines("events")):
        if isinstance(change, Change) and change.moves:
            halves[change.table, change.position].append(change)
    moves = [
        (table, *(next(reversed(half.key.values())) for half in sorted(pair, key=lambda it: it.operation)))
        for (table, _), pair in halves.items()
    ]
    assert sorted(moves, key=str) == [
        ("public.compo", "acme", "beta"),
        ("public.items", 1, 50),
        ("public.items", 4, 40),
        ("public.items_full", 2, 20),
        ("public.numpk", "5", "6"),
    ]


def test_what_toast_left_out() -> None:
    toast = [it for it in decoded(lines("events")) if isinstance(it, Change) and it.table == "public.toast"]
    seen = [(it.key["id"], it.operation.value, it.unavailable, it.doubtful) for it in toast if it.key == {"id": 1}]
    none: frozenset[str] = frozenset()
    assert seen == [
        (1, "upsert", none, none),
        (1, "upsert", frozenset({"t", "j", "b", "ta", "ia", "nn"}), frozenset({"v"})),
        (1, "upsert", frozenset({"j", "b", "ta", "ia", "nn"}), frozenset({"v"})),
        (1, "delete", none, none),
    ]
    real = [it for it in toast if it.key == {"id": 2}]
    assert [(it.row["t"], it.unavailable) for it in real] == [(UNAVAILABLE, none), (UNAVAILABLE, frozenset("t"))]


def test_a_full_image_leaves_no_doubt() -> None:
    nulls = []
    for line in lines("events"):
        value = line["value"]
        if value and value.get("op") == "u" and "vfull" in line["topic"]:
            value = {**value, "before": {**value["before"], "v": None}, "after": {**value["after"], "v": None}}
            nulls += [{**line, "value": value}, {**line, "value": {**value, "before": None}}]
    assert [change.doubtful for change in decoded(nulls) if isinstance(change, Change)] == [frozenset(), frozenset("v")]


def test_ends_of_snapshots() -> None:
    ends = [it.table for it in decoded(lines("snapshot")) if isinstance(it, Change) and it.ends_snapshot]
    assert sorted(ends) == [
        f"public.{name}" for name in ("compo", "items", "items_full", "nopk", "numpk", "svs", "vfull")
    ]
    marks = [it for it in decoded(lines("incremental_snapshot")) if isinstance(it, Change) and it.ends_snapshot]
    assert [it.position for it in marks] == [f"{29047496:016x}.{0:016x}"]


def test_nothing_is_counted_that_carries_no_row() -> None:
    skips = [it.value for it in decoded(lines("events")) if isinstance(it, Skip)]
    assert {skip: skips.count(skip) for skip in skips} == {"message": 2, "transaction": 86, "tombstone": 14}


def test_headers_gone_a_placeholder_is_never_taken_for_text() -> None:
    inserts = [
        line for line in lines("events") if line["value"] and "toast" in line["topic"] and line["key"] == {"id": 2}
    ]
    bare = [decode(replace(event(line), headers={})) for line in inserts]
    assert [isinstance(it, Change) and it.unavailable for it in bare] == [{"t"}, {"t"}]


def test_untyped_rows_stay_as_they_came() -> None:
    for line in lines("workload")[:200]:
        change = decode(event(line))
        if isinstance(change, Change):
            assert change.row == (line["value"]["after"] or line["value"]["before"])
            assert change.key == line["key"]
