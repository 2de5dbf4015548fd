"""Tables of records that are emptied, and snapshots that don't show rows: the whole job follows, into both stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connectors.aws.client import Aws
from connectors.dynamodb.profiles.store import DynamodbProfiles
from connectors.kafka.producer import produce
from core.config.file import load
from core.formats.recordings import Record
from tests.aws import moto_server
from tests.flink_jobs.conftest import Workshop
from tests.flink_jobs.people import RowEvent, customer, differences, history, order, pipeline, send, truth


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def event(workshop: Workshop, row_event: RowEvent, **changes: Any) -> Record:
    """The event with parts of its envelope, or of its source, otherwise."""
    key, value = row_event.raw
    envelope = json.loads(value)
    envelope["source"] |= {name: each for name, each in changes.items() if name in envelope["source"]}
    envelope |= {name: each for name, each in changes.items() if name not in envelope["source"]}
    return Record(f"{workshop.prefix}.public.{row_event.table}", key, json.dumps(envelope).encode())


def test_what_a_truncate_or_the_end_of_a_snapshot_takes_away_goes_from_both_stores(
    workshop: Workshop, aws: Aws
) -> None:
    """The orders are emptied while older ones of them are to come; a snapshot of the customers shows one."""
    emptied, ended = 80, 100
    events = [each for each in history(seed=3, changes=160, people=20) if each.number not in (emptied, ended)]
    late = [each for each in events if each.number >= {"orders": 60, "customers": 20, "visits": 1000}[each.table]]
    send(workshop, [each for each in events if each not in late])
    truncate = event(workshop, RowEvent("orders", 0, order(0, None, None), emptied), op="t", after=None)
    shown = RowEvent("customers", 1, customer(1, "p1@x.no", "Kari N."), ended)
    position = json.dumps([None, str(ended)])
    end = event(workshop, shown, op="r", snapshot="last_in_data_collection", sequence=position)
    produce(workshop.bootstrap_servers, [replace(truncate, key=None), end])
    send(workshop, late)
    store = {
        "postgres": {"dsn": workshop.dsn},
        "dynamodb": {"table": "people", "aws.region": aws.region, "aws.endpoint": aws.endpoint},
        "pgvector": {"dsn": workshop.dsn, "table": "people"},
    }
    file = pipeline(workshop, parallelism=2, store=store)
    assert "people finished" in workshop.freshet("run", file)
    gone = {"orders": emptied, "customers": ended, "visits": 0}
    left = [each for each in (*events, shown) if each.number > gone[each.table] or each is shown]
    assert differences(workshop, file, left) == []
    assert workshop.letters() == []
    of_dynamodb = DynamodbProfiles("people", "people", aws)
    assert of_dynamodb.everything() == truth(left, load(file))
    of_dynamodb.close()
