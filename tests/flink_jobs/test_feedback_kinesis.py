"""KPIs of conversations in a Kinesis stream, as `freshet serve` writes them there: corrected and final rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import boto3

from connectors.aws.client import Aws
from core.formats.recordings import Record
from tests.aws import moto_server
from tests.flink_jobs.conftest import Workshop, eventually
from tests.flink_jobs.feedback import events, expected, pipeline, turns
from tests.resident import kill

CLOSED = """
SELECT window_start, tenant, COUNT(*) AS turns
FROM TABLE(TUMBLE(TABLE turns, DESCRIPTOR(asked_at), INTERVAL '2' SECOND))
GROUP BY window_start, window_end, tenant
"""
KPIS = {
    "satisfaction": {"to": ["postgres"]},
    "closed": {"sql": CLOSED, "key": ["window_start", "tenant"], "to": ["postgres"]},
}
FAST = {"execution.checkpointing.interval": "500 ms"}
COUNT = 200


def written(stream: str, aws: Aws) -> list[Record]:
    """Conversations of now, put into the stream."""
    made = events(COUNT, time.time_ns(), time.time_ns(), 1_000_000)
    kinesis = boto3.client("kinesis", region_name=aws.region, endpoint_url=aws.endpoint)
    entries = [{"Data": each.value, "PartitionKey": (each.key or b"").decode()} for each in made]
    assert kinesis.put_records(StreamName=stream, Records=entries)["FailedRecordCount"] == 0
    return made


def differences(workshop: Workshop, made: Sequence[Record]) -> list[object]:
    """What the KPIs' tables have otherwise than all events at once come to."""
    if not workshop.rows("SELECT to_regclass('feedback_closed') IS NOT NULL")[0][0]:
        return ["nothing is there yet"]
    all_turns = turns([each.value or b"" for each in made])
    hours = {key: row[:3] for key, row in expected(all_turns)["satisfaction"].items()}
    windows = Counter((window(each.said["at"]), each.said["tenant"]) for each in all_turns)
    found = workshop.rows("SELECT window_start, tenant, model, turns, rated, good FROM feedback_satisfaction")
    closed = workshop.rows("SELECT window_start, tenant, turns FROM feedback_closed")
    return [
        *({(*row[:3], row[3:]) for row in found} ^ {(*key, row) for key, row in hours.items()}),
        *({((row[0], row[1]), row[2]) for row in closed} ^ set(windows.items())),
    ]


def window(at: str) -> datetime:
    return datetime.fromtimestamp(datetime.fromisoformat(at).timestamp() // 2 * 2, UTC)


def test_conversations_in_a_stream_become_kpis_through_a_kill(workshop: Workshop) -> None:
    with moto_server() as aws:
        stream = f"{workshop.prefix}-conversations"
        kinesis = boto3.client("kinesis", region_name=aws.region, endpoint_url=aws.endpoint)
        kinesis.create_stream(StreamName=stream, ShardCount=3)
        at_aws = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}
        source = {"kinesis": {"stream": stream, "source.init.position": "TRIM_HORIZON", **at_aws}}
        letters = {"topic": workshop.dead_letters, "properties.bootstrap.servers": workshop.bootstrap_servers}
        changed = {"source": source, "dead_letters": {"kafka": letters}, "flink": FAST, "parallelism": 2}
        file = pipeline(workshop, feedback={"kpis": KPIS, "watermark": "1 s"}, **changed)
        made = written(stream, aws)
        with workshop.running(file) as job:
            eventually(lambda: job.poll() is not None or not differences(workshop, made), "the KPIs")
            assert job.poll() is None, workshop.printed()
            kill(job)
        made += written(stream, aws)
        with workshop.running(file) as job:
            eventually(lambda: job.poll() is not None or not differences(workshop, made), "the KPIs")
            assert job.poll() is None, workshop.printed()
    assert differences(workshop, made) == []
    assert workshop.letters() == []
