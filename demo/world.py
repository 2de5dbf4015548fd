"""What every demo plays with: real texts to change, the names of its things, and how its pipeline file ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics as manuals
from uuid import uuid4

import psycopg
from confluent_kafka import Message, TopicPartition
from psycopg import sql

from connectors.kafka import clients as kafka_clients
from core.errors import Unavailable
from core.stores.batches import sized
from stack.local import Stack
from stack.passfile import from_here
from workloads.texts import Text, texts

MODEL = "all-MiniLM-L6-v2"
EDITED = (
    ('The "assert" statement', "What happens when an assertion fails?",
     "When an assertion fails, the values of all local variables are written to the audit log first."),
    ('The "break" statement', "What does break do to a loop?",
     "break may name the loop that it leaves by a label, so that an outer loop can be left from within an inner one."),
    ('The "pass" statement', "What does the pass statement do?",
     "The pass statement takes an optional reason, which linters show where a body is still to be written."),
    ('The "del" statement', "How is a name deleted?",
     "Deleting a name that isn't bound is no error any more: del then does nothing, and says so in a warning."),
    ('The "global" statement', "How do I assign to a global variable in a function?",
     "A function that assigns to a global variable must say so at its top, once for the module's every name."),
)  # fmt: skip
"""Title of an article, a question, and a sentence that the demo writes into the article to answer it."""
DELETED = 'The "nonlocal" statement'

_ARTICLES = 300
_LONGEST = 500
_SHORTEST = 120
_MANUAL = "debugger"
_READ_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class World:
    """Where a demo's things are.

    name     of the pipeline, and of its schema in the store
    prefix   what the names of this run's topics begin with
    written  what a change ends with, in a word: commit, write
    """

    name: str
    dsn: str
    bootstrap_servers: str
    prefix: str
    file: Path
    written: str

    @property
    def dead_letters(self) -> str:
        """The topic of what could not be used."""
        return f"{self.prefix}.dead-letters"

    @property
    def schema(self) -> str:
        """Of the store's tables."""
        return self.name.replace("-", "_")

    @property
    def dsn_of_schema(self) -> str:
        """The database's, with the schema to be looked in first."""
        return f"{self.dsn}{'&' if '?' in self.dsn else '?'}options=-csearch_path%3D{self.schema},public"

    @property
    def table(self) -> sql.Identifier:
        """The store's table of chunks."""
        return sql.Identifier(self.schema, "chunks")


def world(name: str, stack: Stack, file: Path, written: str) -> World:
    """The world of a new demo. Topics that an earlier one of this name left are removed, and its store is emptied.

    The topics' prefix is another one each time: Debezium would go on where the last one's topics ended.
    """
    delete_topics(stack.kafka.bootstrap_servers, re.compile(rf"{re.escape(name)}-[0-9a-f]{{6}}(\..*)?"))
    prefix = f"{name}-{uuid4().hex[:6]}"
    made = World(name, from_here(stack.postgres.dsn), stack.kafka.bootstrap_servers, prefix, file, written)
    with psycopg.connect(made.dsn) as connection:
        schema = sql.Identifier(made.schema)
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
    return made


def delete_topics(bootstrap_servers: str, named: re.Pattern[str]) -> None:
    """Delete the topics whose whole name matches."""
    admin = kafka_clients.admin({"bootstrap.servers": bootstrap_servers})
    earlier = [topic for topic in admin.list_topics(timeout=10).topics if named.fullmatch(topic)]
    if earlier:
        for deleted in admin.delete_topics(earlier).values():
            deleted.result()


def pipeline_end(world: World, *letters: str) -> str:
    """What demos' pipeline files have in common; `letters` are settings beside the dead letters' topic."""
    return f"""\
embedding: {{model: {MODEL}}}
store:
  pgvector: {{dsn: "{world.dsn}", table: {world.schema}.chunks}}
dead_letters:
  kafka: {{{", ".join([f"topic: {world.dead_letters}", *letters])}}}
flink:
  python.fn-execution.arrow.batch.size: 16  # small batches, so that the demo shows its progress
  metrics.fetcher.update-interval: 500      # counters that are up to date when they are asked for
"""


def articles() -> list[Text]:
    """Up to 300 sections of Python's language reference, cut after whole paragraphs within 500 characters."""
    cut = [_cut(text) for text in texts()]
    return [text for text in cut if len(text.body) >= _SHORTEST][:_ARTICLES]


def _cut(text: Text) -> Text:
    kept = next(sized(text.paragraphs, len, _LONGEST))
    return Text(text.id, text.title, (*kept[:-1], kept[-1][:_LONGEST]))


def manual() -> Text:
    """One long text, whole: the reference of Python's debugger."""
    return Text(1, "pdb — The Python Debugger", tuple(manuals[_MANUAL].strip().split("\n\n")))


def events(world: World, topic: str) -> list[Message]:
    """All that a topic of one partition holds now, in order.

    Raises Unavailable where it can't be read within 20 s.
    """
    consumer = kafka_clients.consumer({"bootstrap.servers": world.bootstrap_servers, "group.id": uuid4().hex})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=_READ_SECONDS)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[Message] = []
        while not found or found[-1].offset() < end - 1:
            if end == 0:
                break
            message = consumer.poll(_READ_SECONDS)
            if message is None or message.error():
                raise Unavailable(f"topic {topic} can't be read to offset {end}: is Kafka running?")
            found.append(message)
        return found
    finally:
        consumer.close()
