"""The operators that carry what is known of refused changes, without a job around them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyflink.common import Row

from connectors.opening.stores import stores_of
from core.config.pipeline import Pipeline
from core.decoding import decoder
from core.formats.debezium.decoding import UNAVAILABLE
from flink_jobs import payloads
from flink_jobs.steps.operators import DEAD_LETTERS, UNSETTLED, Decode
from flink_jobs.steps.planning import PlanDocument
from tests.flink_jobs.events import envelope, key, row
from udfs.embedding.tokenizing import document_chunker

PIPELINE = Pipeline.model_validate(
    {
        "name": "p",
        "format": "debezium",
        "dead_letters": {"kafka": {"topic": "letters"}},
        "source": {"kafka": {"topic": "a", "properties.bootstrap.servers": "localhost:1"}},
        "documents": {"public.documents": {"text": "{title}\n\n{body}"}},
        "embedding": {"model": "hash"},
        "store": {"pgvector": {"dsn": "postgresql://localhost/db", "table": "documents"}},
    }
)


class Quiet:
    def get_metrics_group(self) -> Any:
        return self

    def count(self, *_: object, **__: object) -> None:
        pass


@dataclass
class Kept:
    """A ValueState, and the context of its key."""

    raw: bytes | None = None

    def value(self) -> bytes | None:
        return self.raw

    def update(self, raw: bytes) -> None:
        self.raw = raw

    def timestamp(self) -> int:
        return 5

    def timer_service(self) -> Kept:
        return self

    def register_processing_time_timer(self, at: int) -> None:
        pass


def plan_document() -> PlanDocument:
    return PlanDocument(PIPELINE.documents, PIPELINE.embedding, stores_of(PIPELINE), bounded=False)


def test_a_change_that_cannot_be_read_reaches_the_state_of_its_key() -> None:
    decode, plan, kept = Decode(PIPELINE.name, PIPELINE.events, {}), plan_document(), Kept()
    decode._decode, decode._looked = decoder(PIPELINE.events), float("inf")
    decode._meters = plan._meters = Quiet()  # type: ignore[assignment]
    document = PIPELINE.documents["public.documents"]
    plan._state, plan._chunkers = kept, {"public.documents": document_chunker("hash", document.chunk)}  # type: ignore[assignment]

    def send(value: bytes) -> list[str]:
        found = []
        for each in decode.process_element(Row(key(1), value, "t", 0, 0, {}), kept):  # type: ignore[arg-type]
            if isinstance(each, tuple):
                found.append("letter")
                continue
            name, change = each
            assert name == "public.documents/1"
            for output in plan.process_element(change, kept):  # type: ignore[arg-type]
                found.append(shown(output))
        return found

    def shown(output: Any) -> str:
        if not isinstance(output, tuple):
            return "".join(chunk.text for chunk in payloads.PLAN.decode(output[0]).write)
        tag, held = output
        if tag is UNSETTLED:
            return f"{payloads.UNSETTLED.decode(held[1][0]).change.operation} unsettled"
        assert tag is DEAD_LETTERS
        return "letter"

    assert send(envelope(1, row(1, "V1"))) == ["t\n\nV1"]
    assert send(envelope(2, row(1, "V2"), "x")) == ["letter", "refused unsettled"]
    assert send(envelope(3, row(1, UNAVAILABLE), "u")) == ["upsert unsettled"]
    assert send(envelope(4, {"id": 1, "body": "V4"}, "u")) == ["letter", "refused unsettled"]
    assert send(envelope(5, row(1, UNAVAILABLE), "u")) == ["t\n\nV4", "refused unsettled"]


def test_a_change_whose_key_is_refused_leaves_the_events_other_one_its_way() -> None:
    """A column that `key` names becomes null: the old document goes, and the letter is of the new row."""
    table = {"text": "{title}", "key": ["code"], "types": {"id": "integer"}}
    of = Pipeline.model_validate(PIPELINE.model_dump(exclude_unset=True) | {"documents": {"public.a": table}})
    decode = Decode(of.name, of.events, {})
    decode._decode, decode._looked, decode._meters = decoder(of.events), float("inf"), Quiet()  # type: ignore[assignment]
    row = {"id": 1, "code": "x", "title": "first"}
    source = {"connector": "postgresql", "schema": "public", "table": "a", "sequence": '["60","70"]'}
    value = {"op": "u", "before": row, "after": {**row, "code": None}, "source": source}
    sent = Row(b'{"id":1}', json.dumps(value).encode(), "t", 0, 0, {})
    gone, refused = decode.process_element(sent, Kept())  # type: ignore[arg-type]
    assert gone[0] == "public.a/x" and isinstance(refused, tuple)
    headers = dict(refused[1][2])
    assert b"key names code" in headers["freshet.reason"]
