"""What of KPIs' rows only topics decide, and only indexes; the rest is in `test_kpi_store_contract.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import httpx
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.opensearch.kpis import OpenSearchKpis
from core.config.store import OpenSearch
from core.errors import ConfigError
from core.plans import Status
from core.stores.kpis import ColumnType, KpiChange, KpiTable
from tests.connectors import kpi_places
from tests.connectors.servers import Server
from tests.topics import consume, delivering

HOUR = "2026-12-01 21:00:00.000"
TABLE = KpiTable(
    "k", {"hour": ColumnType.TIMESTAMP, "name": ColumnType.TEXT, "turns": ColumnType.BIGINT}, ("hour", "name")
)


def row(turns: int, name: str = "a", gone: bool = False) -> KpiChange:
    return KpiChange("k", (HOUR, name, turns), gone)


def made(server: Server, name: str, **config: str) -> None:
    """Make a topic with such a configuration."""
    admin = AdminClient({"bootstrap.servers": server.address})
    for each in admin.create_topics([NewTopic(name, 1, config=config)]).values():
        each.result()


def test_a_record_is_the_row_a_tombstone_its_end(kafka_server: Server) -> None:
    place = kpi_places.kafka(kafka_server)
    with closing(place.open({"k": TABLE})) as store:
        store.prepare()
        store.apply([row(1)])
        store.apply([row(2)])
        store.apply([row(2, gone=True)])
    key = b'{"hour":"2026-12-01T21:00:00.000Z","name":"a"}'
    found = consume(kafka_server.address, f"{place.settings['topic']}.k")
    assert [(each.key, each.value) for each in found] == [
        (key, b'{"hour":"2026-12-01T21:00:00.000Z","name":"a","turns":1}'),
        (key, b'{"hour":"2026-12-01T21:00:00.000Z","name":"a","turns":2}'),
        (key, None),
    ]
    assert {each.headers for each in found} == {(("freshet.pipeline", b"feedback"),)}


def test_a_topic_that_isnt_compacted_or_has_other_records_is_refused(kafka_server: Server) -> None:
    place = kpi_places.kafka(kafka_server)
    topic = f"{place.settings['topic']}.k"
    made(kafka_server, topic, **{"cleanup.policy": "delete"})
    with closing(place.open({"k": TABLE})) as store, pytest.raises(ConfigError, match=r"cleanup\.policy delete, must"):
        store.look()
    other = kpi_places.kafka(kafka_server)
    named = f"{other.settings['topic']}.k"
    made(kafka_server, named, **{"cleanup.policy": "compact"})
    with delivering(kafka_server.address) as producer:
        producer.produce(named, b"{}", b"x")
    with closing(other.open({"k": TABLE})) as store, pytest.raises(ConfigError, match="has records that are no KPI's"):
        store.prepare()


def test_a_record_that_the_topic_refuses_is_refused_alone(kafka_server: Server) -> None:
    place = kpi_places.kafka(kafka_server)
    topic = f"{place.settings['topic']}.k"
    made(kafka_server, topic, **{"cleanup.policy": "compact", "max.message.bytes": "2000"})
    # what can't be packed: text of no pattern
    noise = "".join(chr(0x4E00 + (at * at * 7919) % 20_000) for at in range(4_000))
    with closing(place.open({"k": TABLE})) as store:
        store.prepare()
        outcomes = store.apply([row(1)])
        outcomes += store.apply([row(1, noise)])
        outcomes += store.apply([row(2)])
    assert [each.status for each in outcomes] == [Status.APPLIED, Status.REJECTED, Status.APPLIED]
    assert "too large" in outcomes[1].reason.lower() or "size" in outcomes[1].reason.lower()


@pytest.fixture
def target(opensearch_server: Server) -> Iterator[OpenSearch]:
    place = kpi_places.opensearch(opensearch_server)
    yield OpenSearch(hosts=(place.settings["url"],), index=place.settings["index"])


def turns(target: OpenSearch) -> list[int]:
    """What the index has, searchable or not."""
    index = f"{target.hosts[0]}/{target.index}_k"
    httpx.post(f"{index}/_refresh").raise_for_status()
    return [hit["_source"]["turns"] for hit in httpx.get(f"{index}/_search").json()["hits"]["hits"]]


def test_a_request_that_comes_late_overwrites_no_newer_row(target: OpenSearch) -> None:
    at = [1_000]
    with closing(OpenSearchKpis(target, "feedback", {"k": TABLE}, now_ms=lambda: at[0])) as store:
        store.prepare()
        late = store._operation(row(1))
        store.apply([row(2)])
        # as a client that gave up would have sent it
        body = late.replace(b'"version":0', b'"version":999')
        url = f"{target.hosts[0]}/_bulk"
        answer = httpx.post(url, content=body, headers={"content-type": "application/x-ndjson"}).json()
        assert answer["items"][0]["index"]["status"] == 409
        assert turns(target) == [2]
        # a process whose clock is behind the one before it writes all the same
        at[0] = 10
    with closing(OpenSearchKpis(target, "feedback", {"k": TABLE}, now_ms=lambda: at[0])) as store:
        assert [each.status for each in store.apply([row(3), row(4, "b")])] == [Status.APPLIED] * 2
        assert sorted(turns(target)) == [3, 4]
        store.apply([row(3, gone=True)])
        assert turns(target) == [4]


def test_an_index_of_another_shape_is_refused(target: OpenSearch) -> None:
    with closing(OpenSearchKpis(target, "feedback", {"k": TABLE})) as store:
        store.prepare()
    for other, said in (
        (
            replace(TABLE, key=("hour",)),
            "keyed by hour, name; feedback.kpis.k makes .* keyed by hour: delete the index",
        ),
        (replace(TABLE, columns={**TABLE.columns, "turns": ColumnType.TEXT}), "turns long, .* turns keyword"),
    ):
        with closing(OpenSearchKpis(target, "feedback", {"k": other})) as store, pytest.raises(ConfigError, match=said):
            store.look()
    httpx.put(f"{target.hosts[0]}/{target.index}_k2").raise_for_status()
    said = "is no index of KPIs: name another index, or delete it"
    with closing(OpenSearchKpis(target, "feedback", {"k2": TABLE})) as store, pytest.raises(ConfigError, match=said):
        store.prepare()


def test_a_text_that_is_too_long_to_be_found_is_kept(target: OpenSearch) -> None:
    columns = {**TABLE.columns, "comment": ColumnType.TEXT}
    with closing(OpenSearchKpis(target, "feedback", {"k": replace(TABLE, columns=columns)})) as store:
        store.prepare()
        (outcome,) = store.apply([KpiChange("k", (HOUR, "n" * 600, 1, "ø" * 10_000), gone=False)])
    assert (outcome.status, turns(target)) == (Status.APPLIED, [1])
