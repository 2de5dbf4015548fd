"""The feed of persons: five tables that Debezium tells of, and the profiles that all their rows together come to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Any

import psycopg

from chaos import aws
from chaos.connector import Connector
from chaos.feed import WRITING_S, Feed, Place, Waiting, Work, committed, short
from chaos.people import CREATE, TABLES, fill, plans
from chaos.strikes import Fault, Strike
from chaos.writers import perform, writing
from connectors.kafka.topics import ends, messages, reading
from connectors.opening.stores import profile_stores, stores_of
from connectors.postgres.profiles.store import PostgresProfiles
from connectors.postgres.rows import Reselect
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.errors import ProfileError
from core.formats.wrapping import bare
from core.identity.identifiers import Identifier
from core.identity.rules import identifier_id
from core.plans import Plan
from core.stores.profile_verification import Whole, compared, document
from core.stores.verification import Difference, key_of, table_of
from operations.verify.profiles import plan_of, read_whole
from workloads.customers import RECORDS

MARKERS = 12
"""Customers with such keys that each partition has some; how far the job is of other topics, its commits tell."""

_SHOWN = 12
_MARK = """INSERT INTO customers (id, name) SELECT -n, %s FROM generate_series(1, %s) AS n
    ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name"""

PROFILES: dict[str, Any] = {
    "identifiers": [
        {"type": "customer_id", "limit": 1},
        {"type": "email", "normalize": "email", "limit": 3},
        {"type": "device", "limit": 3},
        {"type": "phone", "normalize": {"phone": "NO"}, "limit": 2, "shared": 6},
    ],
    "blocked": ["nobody@.*"],
    "records": {**RECORDS, "public.orders": {**RECORDS["public.orders"], "types": {"amount": "numeric(10,2)"}}},
    # The text is made of what rows alone decide; the city is by time, where any that may be the latest is right.
    "survivorship": {"name": "most_frequent", "nickname": "union", "language": "most_frequent"},
}
TEXT = "{name} {nickname} {language}. {orders} orders of {total_spent}, last {last_order}. {conversations} talks"


class Profiles:
    """A `chaos.feed.Feed`. Its source is the stores' own database; with AWS, DynamoDB has profiles too."""

    def __init__(self, place: Place, choices: Random) -> None:
        """Make the tables with their first rows, the topics and the connector."""
        self._place = place
        names = (identifier_id(Identifier("customer_id", str(-n))).hex() for n in range(1, MARKERS + 1))
        self.markers = [document(name) for name in names]
        with psycopg.connect(place.dsn) as connection:
            for table in CREATE:
                connection.execute(table)
            connection.commit()
            perform(connection, fill(choices))
        self._connector = Connector(place, TABLES, _delete_some)

    def settings(self) -> dict[str, Any]:
        """The profiles go to the database of their rows, and into a table of DynamoDB where there is one."""
        at = self._place
        dynamodb = {} if at.aws is None else {"dynamodb": {"table": at.name, **at.at_aws}}
        return {
            "source": {
                "kafka": {
                    "topic": ";".join(self._connector.topics.values()),
                    "properties.bootstrap.servers": self._place.stack.kafka.bootstrap_servers,
                    "scan.startup.mode": "earliest-offset",
                }
            },
            "format": "debezium",
            "profiles": PROFILES,
            "embedding": {"model": "hash", "text": TEXT},
            "store": {"postgres": {"dsn": self._place.dsn}, **dynamodb},
        }

    def work(self, choices: Random) -> Work:
        """Three or four connections at once."""
        return writing(self._place.dsn, plans(choices, choices.choice((3, 4)), WRITING_S))

    def mark(self, text: str) -> None:
        """In one transaction."""
        with psycopg.connect(self._place.dsn, connect_timeout=5) as connection:
            connection.execute(_MARK.encode(), (text, MARKERS))

    def behind(self, pipeline: Pipeline, waiting: Waiting) -> str:
        """By the group's offsets."""
        return committed(pipeline, self._place.group, list(self._connector.topics.values()), waiting)

    def whole(self, pipeline: Pipeline) -> Whole:
        """What the rows come to, as `freshet verify` has it."""
        with closing(Reselect(self._place.dsn, pipeline.events.debezium, schemas=False)) as source:
            return read_whole(pipeline, source, _refuse)

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """Of every profile there should be."""
        plans = (plan_of(pipeline, profile) for profile in self.whole(pipeline).profiles.values())
        return {plan.document_id: plan for plan in plans}

    def events(self, document: str) -> Iterator[str]:
        """What happened to a profile, as its store has it, and the events of its records, as the topics have them."""
        (name,) = key_of(document)
        with closing(PostgresProfiles(self._place.dsn, self._place.name)) as store:
            for each in reversed(store.history(name, _SHOWN)):
                yield f"{each.kind} {each.others} {each.reason} at {each.cause.position}"
            records = [each.record for each in store.members(name, _SHOWN)]
        for record in records:
            yield from self._events_of(record)

    def _events_of(self, record: str) -> Iterator[str]:
        topic, key = self._connector.topics[table_of(record)], key_of(record)
        servers = self._place.stack.kafka.bootstrap_servers
        kafka = Kafka.model_validate({"topic": topic, "properties.bootstrap.servers": servers})
        with reading(kafka) as consumer:
            for message in messages(consumer, kafka, topic, ends(consumer, kafka, topic)):
                if message.key is not None and [str(value) for value in bare(message.key).values()] == key:
                    envelope = bare(message.value) or {}
                    after = {name: short(value) for name, value in (envelope.get("after") or {}).items()}
                    where, source = f"{message.partition}:{message.offset}", envelope.get("source", {})
                    yield f"{record} {where} op {envelope.get('op')} {source.get('sequence')} {after}"

    def strike(self, strike: Strike, choices: Random) -> None:
        """Restart the connector, or have it forget where it was; or AWS refuses."""
        if strike.fault is Fault.AWS_BUSY and self._place.aws is not None:
            aws.strike(self._place.aws, self._place.name, strike, choices, merges=False)
        else:
            self._connector.strike(strike, choices)

    def mend(self) -> None:
        """Let a connector go on that a fault met while its offsets were being forgotten."""
        self._connector.mend()

    def end(self) -> None:
        """Remove the connector and the topics."""
        self._connector.end()


def of_profiles(feed: Feed, pipeline: Pipeline) -> list[tuple[str, Difference]]:
    """What of profiles and their records is otherwise in each store of profiles; nothing of other feeds."""
    if not isinstance(feed, Profiles) or not pipeline.makes_profiles:
        return []
    true, found = feed.whole(pipeline), []
    for name, store in profile_stores(stores_of(pipeline)).items():
        with closing(store):
            differing = compared(true, *store.everything(), pipeline.profiles_job.profiles.merging)
            found += [(name, each) for each in differing]
    return found


def _refuse(table: str, error: ProfileError) -> None:
    raise error


def _delete_some(connection: psycopg.Connection[Any], remainder: int) -> None:
    connection.execute("DELETE FROM orders WHERE mod(id, 9) = %s", (remainder,))
    connection.execute("DELETE FROM customers WHERE id > 0 AND mod(id, 9) = %s", (remainder,))
