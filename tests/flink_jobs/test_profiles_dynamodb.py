"""The whole job of profiles into DynamoDB alone, which moto plays: no database, no vectors, and a kill on the way."""

from __future__ import annotations

from functools import partial

from connectors.aws.client import Aws, client
from connectors.dynamodb.profiles.store import DynamodbProfiles
from core.config.file import load
from tests.aws import moto_server
from tests.flink_jobs.conftest import Workshop, eventually, kill
from tests.flink_jobs.people import history, pipeline, send, truth


def deliveries(aws: Aws) -> int:
    """How many the table has had; 0 where there is none yet."""
    dynamodb = client("dynamodb", aws, "test")
    if "people" not in dynamodb.list_tables()["TableNames"]:
        return 0
    found = dynamodb.get_item(TableName="people", Key={"pk": {"S": "people"}, "sk": {"S": "writer"}}).get("Item", {})
    return int(found.get("version", {"N": "0"})["N"])


def test_killed_in_the_middle_and_started_again(workshop: Workshop) -> None:
    events = history(seed=5, changes=1500, people=80)
    with moto_server() as aws:
        store = {"dynamodb": {"table": "people", "aws.region": aws.region, "aws.endpoint": aws.endpoint}}
        often = {"execution.checkpointing.interval": "500 ms"}
        file = pipeline(workshop, bounded=False, store=store, flink=often)
        send(workshop, events[:1000])
        with workshop.running(file) as job:
            eventually(lambda: deliveries(aws) >= 300, "300 deliveries")
            send(workshop, events[1000:])
            kill(job)
        file = pipeline(workshop, store=store)
        assert "people finished" in workshop.freshet("run", file)
        held = DynamodbProfiles("people", "people", aws)
        assert held.everything() == truth(events, load(file))
        held.close()
        found = partial(workshop.freshet, "profile", "get", file)
        assert "customer_id" in found("customer_id=1")
    assert workshop.letters() == []
