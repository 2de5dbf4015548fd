"""Feeds a decoder with mutated real events: each must become a change, a truncate, a counted skip or a decode error.

    python -m bench.fuzz_decoders --events 1000000 --seed 1
    python -m bench.fuzz_decoders --format dms

Debezium's events are those of the recordings, the other formats' those of their fixtures.

Prints how many of each came out, and the rate. Anything else that comes out, an exception above all, ends the run with
the seed and the event's number, which make the event again.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import typer
from rich.progress import track

from bench.fuzz_bytes import spliced
from core.change import Change, Event, Skip, Truncate
from core.documents.objects import ObjectChange
from core.errors import LONGEST_REASON, DecodeError
from core.formats import dms, rows, s3
from core.formats.arrival import KINESIS_SEQUENCE
from core.formats.debezium.decoding import UNAVAILABLE, DebeziumFormat, decode
from core.formats.dms import DmsFormat
from core.formats.dynamodb import decoding as dynamodb
from core.formats.rows import PositionType, RowsFormat

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures" / "debezium"
Feed = Literal["debezium", "dynamodb", "dms", "rows", "s3"]
Decoded = Change | Truncate | Skip | ObjectChange
RECORDINGS = ("events", "incremental_snapshot", "workload")
_LONGEST_MS = 50
_A_RECORDING = 1_500

SQL_TYPES = (
    "numeric(10,2)", "numeric", "date", "timestamp", "timestamp(3)", "timestamptz", "time", "timetz", "interval",
    "bytea", "vector", "text[]", "int[]", "numeric(8,3)[]", "money", "datetime(6)", "json", "geometry(Point,4326)",
)  # fmt: skip
LOGICAL_TYPES = (
    "org.apache.kafka.connect.data.Decimal", "org.apache.kafka.connect.data.Date", "io.debezium.time.MicroTimestamp",
    "io.debezium.time.ZonedTimestamp", "io.debezium.time.NanoTime", "io.debezium.time.MicroDuration",
    "io.debezium.data.VariableScaleDecimal", "io.debezium.data.vector.DoubleVector", "io.debezium.time.IsoDate",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**64, 10**40, 1e300, -0.0, 0.1, "", "x", "NaN", "infinity", "\x00",
    "Bg==", UNAVAILABLE, [], [None], [UNAVAILABLE], {}, {"scale": 2, "value": "Bg=="}, {"scale": 10**9, "value": ""},
    "2024-02-29T21:59:59.100000Z", "-0043-03-15", 9223372036825200000, "9" * 999, [[[[[]]]]], "c", "u", "r", "d", "t",
    {"N": "1e999"}, {"N": "-0"}, {"M": {"a": {"L": [{"S": "x"}]}}}, {"NS": ["1", "01"]}, {"SS": []}, {"B": "AA=="},
    "REMOVE", "INSERT", "load", "update", "delete", "control", "truncate-table",
)  # fmt: skip
MODES = {
    "decimal_handling_mode": ("precise", "string", "double"),
    "time_precision_mode": ("adaptive", "connect", "isostring", "microseconds", "nanoseconds"),
    "binary_handling_mode": ("bytes", "base64", "base64-url-safe", "hex"),
}  # fmt: skip


def real_events() -> list[dict[str, Any]]:
    """Lines of the recordings; texts and arrays shortened, so that mutations hit more than those."""
    found = []
    for recording in RECORDINGS:
        with gzip.open(FIXTURES / f"{recording}.jsonl.gz", "rt", encoding="utf-8") as lines:
            found += [_shortened(json.loads(line)) for _, line in zip(range(_A_RECORDING), lines, strict=False)]
    return found


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value[:30]]
    return value[:60] if isinstance(value, str) else value


def formats(chance: random.Random, events: list[dict[str, Any]], count: int = 20) -> list[DebeziumFormat]:
    """Formats with types of all sorts, right and wrong, for the columns that there are."""
    columns: dict[str, set[str]] = {}
    for event in events:
        value = event["value"] or {}
        source = value.get("source")
        if source:
            rows = [value.get("after") or {}, value.get("before") or {}]
            columns.setdefault(f"{source['schema']}.{source['table']}", set()).update(*rows)
    return [DebeziumFormat(), *(_format(chance, columns) for _ in range(count))]


def _format(chance: random.Random, columns: dict[str, set[str]]) -> DebeziumFormat:
    modes: dict[str, Any] = {mode: chance.choice(names) for mode, names in MODES.items()}
    types = {
        table: {name: chance.choice(SQL_TYPES) for name in sorted(names) if chance.random() < 0.7}
        for table, names in columns.items()
    }
    return DebeziumFormat(**modes, types=types)


def mutated(line: dict[str, Any], chance: random.Random, wraps: bool = True) -> Event:
    """A real event with something wrong in it: in its JSON tree, in its bytes, in its wrapping, or in its headers."""
    key, value = line["key"], line["value"]
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        value = _anywhere(value, chance)
        if chance.random() < 0.2:
            key = _anywhere(key, chance)
    if wraps and chance.random() < 0.25:
        key, value = _wrapped(key, chance), _wrapped(value, chance)
    headers = {name: text.encode() for name, text in line["headers"] if chance.random() < 0.9}
    if chance.random() < 0.05:
        headers[chance.choice(("__debezium.oldkey", "__debezium.newkey"))] = b"\xff"
    return Event(line["topic"], line["partition"], line["offset"], _bytes(key, chance), _bytes(value, chance), headers)


def _bytes(value: Any, chance: random.Random) -> bytes | None:
    if value is None:
        return None
    raw = bytearray(msgspec.json.encode(value) if chance.random() < 0.9 else json.dumps(value).encode())
    if chance.random() < 0.15:
        for _ in range(chance.choice((1, 1, 3, 20))):
            place = chance.randrange(len(raw) + 1)
            raw[place : place + chance.choice((0, 1, 1, 5))] = chance.choice(
                (b"", b"{", b'"', b"\xff", b"9" * 30, b"[" * 3000)
            )
    return bytes(raw)


def _anywhere(value: Any, chance: random.Random) -> Any:
    """The tree with one branch replaced, removed, doubled or renamed; a branch is any one on a random way down."""
    if isinstance(value, dict) and value and chance.random() < 0.93:
        name = chance.choice(list(value))
        change = chance.random()
        if change < 0.08:
            return {other: item for other, item in value.items() if other != name}
        if change < 0.12:
            return {chance.choice(("", "schema", "payload", "id")) if it == name else it: value[it] for it in value}
        return {**value, name: _anywhere(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.6:
        place = chance.randrange(len(value))
        return [*value[:place], _anywhere(value[place], chance), *value[place + chance.choice((0, 1)) :]]
    if isinstance(value, str) and chance.random() < 0.3:
        place = chance.randrange(len(value) + 1)
        return value[:place] + chance.choice(("é", "\x00", '"', "{", "0", "")) + value[place + 1 :]
    return chance.choice(ODD)


def _wrapped(value: Any, chance: random.Random) -> Any:
    if value is None:
        return None
    schema: Any = _schema(value, chance)
    if chance.random() < 0.2:
        schema = _anywhere(schema, chance)
    return {"schema": schema, "payload": value} if chance.random() < 0.9 else {"payload": value, "schema": schema}


def _schema(value: Any, chance: random.Random, deeper: int = 3) -> dict[str, Any]:
    if isinstance(value, dict) and deeper:
        fields = [{**_schema(item, chance, deeper - 1), "field": name} for name, item in value.items()]
        return {"type": "struct", "fields": fields}
    if chance.random() < 0.4:
        name = chance.choice(LOGICAL_TYPES)
        return {
            "type": "bytes",
            "name": name,
            "parameters": {"scale": chance.choice(("2", "0", "-3", "99999999", "x"))},
        }
    return (
        {"type": "array", "items": {"type": "int32", "name": LOGICAL_TYPES[1]}}
        if isinstance(value, list)
        else {"type": "string"}
    )


def outcome(event: Event, settings: DebeziumFormat) -> str:
    """What came of the event. Raises what the decoder should not, and ValueError for what can't be carried on."""
    return outcome_by(event, lambda each: (decode(each, settings),))


def outcome_by(event: Event, decoder: Callable[[Event], tuple[Decoded, ...]]) -> str:
    """As `outcome`, of any decoder."""
    try:
        decoded = decoder(event)
    except DecodeError as error:
        if len(str(error)) > LONGEST_REASON:
            raise ValueError(f"an error of {len(str(error))} characters") from error
        return "decode error"
    return " + ".join(map(_named, decoded))


def _named(decoded: Decoded) -> str:
    match decoded:
        case ObjectChange():
            _carried(decoded)
            return "gone" if decoded.gone else "there"
        case Skip():
            return f"skip: {decoded}"
        case Change():
            _carried(decoded)
            return decoded.operation.value
        case Truncate():
            _carried(decoded)
            return "truncate"


def _carried(decoded: Change | Truncate | ObjectChange) -> None:
    encode: Callable[[Any], bytes] = msgspec.msgpack.encode
    if msgspec.msgpack.decode(encode(decoded), type=type(decoded)).position != decoded.position:
        raise ValueError(f"{decoded.position} doesn't travel")
    if not all("!" <= each <= "~" for each in decoded.position):
        raise ValueError(f"{decoded.position!r} is not printable ASCII")


def feed_events(feed: Feed) -> list[dict[str, Any]]:
    """Lines as of a recording, of the fixtures of a feed; rows are the images of DMS's."""
    folder = FIXTURES.parent / ("dms" if feed == "rows" else feed)
    whole = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    if feed == "s3":
        # each file is a message: as the bucket sends it, of a removal, and as SNS hands it on
        whole += [json.loads(json.dumps(each).replace("ObjectCreated:Put", "ObjectRemoved:Delete")) for each in whole]
        records = [*whole, *({"Type": "Notification", "Message": json.dumps(each)} for each in whole)]
    else:
        records = [each for file in whole for each in file["records"]]
    if feed == "rows":
        records = [{**each["data"], "v": number, "op": "u"} for number, each in enumerate(records) if "data" in each]
    headers = [[KINESIS_SEQUENCE, "49590338271490256608559692538361571095921575989136588898"]]
    key = {"id": 42} if feed == "rows" else None
    return [
        {"topic": "t", "partition": 0, "offset": number, "key": key, "value": each, "headers": headers}
        for number, each in enumerate(records)
    ]


def feed_decoder(feed: Feed, chance: random.Random) -> Callable[[Event], tuple[Decoded, ...]]:
    """A decoder of a feed that isn't Debezium's, with settings that a fixture may or may not meet."""
    if feed == "s3":
        return s3.decode
    if feed == "dynamodb":
        return lambda event: dynamodb.decode(event, "things")
    if feed == "dms":
        keys = chance.choice(({}, {"public.articles": ("id",)}, {"public.articles": ("id", "title")}))
        return lambda event: dms.decode(event, DmsFormat(before_prefix=chance.choice(("", "t")), keys=keys))
    settings = RowsFormat(
        table="articles",
        position_field=chance.choice(("", "v")),
        position_type=chance.choice(get_args(PositionType)),
        operation_field=chance.choice(("", "op")),
        keys={"articles": ("id",)},
    )
    return lambda event: rows.decode(event, settings)


def fuzz(events: int, seed: int, feed: Feed = "debezium") -> Iterator[str]:
    """The outcomes of `events` mutated real events."""
    real = real_events() if feed == "debezium" else feed_events(feed)
    settings = formats(random.Random(seed), real) if feed == "debezium" else []
    for number in range(events):
        chance = random.Random(f"{seed}/{number}")
        event = mutated(chance.choice(real), chance, wraps=feed in ("debezium", "rows"))
        if chance.random() < 0.5:
            event = spliced(event, chance)
        decode_with = settings[0] if settings and chance.random() < 0.6 else chance.choice(settings or [None])
        began = time.process_time()
        try:
            if feed == "debezium":
                assert decode_with is not None, "Debezium has settings"
                came = outcome(event, decode_with)
            else:
                came = outcome_by(event, feed_decoder(feed, chance))
            took = (time.process_time() - began) * 1000
            if took > _LONGEST_MS and slowest(event, decode_with, feed) > _LONGEST_MS:
                raise ValueError(f"an event took {took:.0f} ms of CPU")
        except Exception as error:
            error.add_note(f"seed {seed}, event {number}: {event.value!r:.2000}")
            raise
        yield came


def slowest(event: Event, settings: DebeziumFormat | None, feed: Feed) -> float:
    """The least of three times, in ms of CPU, that an event takes: one of them may hold a collection of garbage."""
    times = []
    for _ in range(3):
        began = time.process_time()
        if settings is not None:
            outcome(event, settings)
        else:
            outcome_by(event, feed_decoder(feed, random.Random(0)))
        times.append((time.process_time() - began) * 1000)
    return min(times)


def main(
    events: Annotated[int, typer.Option(help="how many")] = 10_000,
    seed: Annotated[int, typer.Option(help="another seed makes other events")] = 0,
    format: Annotated[Feed, typer.Option(help="whose decoder")] = "debezium",  # noqa: A002 (the option's name)
) -> None:
    """Feed a decoder with mutated real events."""
    started = time.perf_counter()
    counts = Counter(track(fuzz(events, seed, format), total=events, description="fuzzing"))
    took = time.perf_counter() - started
    for name, count in counts.most_common():
        print(f"{count:>10,}  {name}")
    print(f"{counts.total():>10,}  in {took:.0f} s, no crash (seed {seed})")


if __name__ == "__main__":
    typer.run(main)
