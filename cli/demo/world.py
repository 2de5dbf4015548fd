"""What the demo plays with: two tables of real texts, their topics, and a pipeline file, all made anew each time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics as manuals
from uuid import uuid4

import psycopg
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from cli.stack import Stack
from cli.stack.connect import register_postgres, remove_postgres
from cli.texts import Text, texts
from connectors.kafka_producer import ensure_topics
from core.errors import FreshetError, Unavailable

MODEL = "all-MiniLM-L6-v2"
NAME = "demo"
ARTICLES, MANUALS, CHUNKS = "demo.articles", "demo.manuals", "demo.chunks"
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
    """Where the demo's things are. `prefix` starts the names of this run's topics."""

    dsn: str
    bootstrap_servers: str
    connect_url: str
    prefix: str
    file: Path

    @property
    def topic(self) -> str:
        """The topic of the articles' changes."""
        return f"{self.prefix}.{ARTICLES}"

    @property
    def dead_letters(self) -> str:
        """The topic of what could not be used."""
        return f"{self.prefix}.dead-letters"


def articles() -> list[Text]:
    """300 sections of Python's language reference, cut after whole paragraphs within 500 characters."""
    cut = [_cut(text) for text in texts()]
    return [text for text in cut if len(text.body) >= _SHORTEST][:_ARTICLES]


def _cut(text: Text) -> Text:
    kept, size = list[str](), 0
    for paragraph in text.paragraphs:
        if kept and size + len(paragraph) > _LONGEST:
            break
        kept.append(paragraph)
        size += len(paragraph)
    return Text(text.id, text.title, (*kept[:-1], kept[-1][:_LONGEST]))


def manual() -> Text:
    """One long text, whole: the reference of Python's debugger."""
    return Text(1, "pdb — The Python Debugger", tuple(manuals[_MANUAL].strip().split("\n\n")))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds `folder` for one demo.

    Raises FreshetError where another one runs there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FreshetError(f"another demo runs in {folder}: end it first, or start from another folder") from error
        yield


def make(stack: Stack, folder: Path) -> World:
    """Make a new demo's tables, topics and pipeline file; what an earlier demo left is removed."""
    prefix = f"{NAME}-{uuid4().hex[:6]}"  # not the last one: Debezium would go on where that one's topics ended
    world = World(
        stack.postgres.dsn, stack.kafka.bootstrap_servers, stack.connect.url, prefix, folder / "pipeline.yaml"
    )
    remove_postgres(world.connect_url, NAME, world.dsn)
    _delete_topics(world)
    _fill(world.dsn)
    ensure_topics(world.bootstrap_servers, dict.fromkeys((world.topic, f"{prefix}.{MANUALS}", world.dead_letters), 1))
    world.file.write_text(pipeline(world), encoding="utf-8")
    return world


def capture(world: World) -> None:
    """Let Debezium read the tables: a snapshot first, then every change."""
    register_postgres(world.connect_url, NAME, world.dsn, world.prefix, (ARTICLES, MANUALS))


def pipeline(world: World) -> str:
    """The demo's pipeline file."""
    return f"""\
name: {NAME}
source:
  kafka:
    topic: {world.topic};{world.prefix}.{MANUALS}
    properties.bootstrap.servers: {world.bootstrap_servers}
    scan.startup.mode: earliest-offset
format: debezium
documents:
  {ARTICLES}:
    text: "{{title}}\\n\\n{{body}}"
    metadata: [title]
    chunk: {{tokens: 256, overlap: 32}}
  {MANUALS}:
    text: "{{title}}\\n\\n{{body}}"
    metadata: [title]
    chunk: {{tokens: 256, overlap: 32}}
embedding: {{model: {MODEL}}}
store:
  pgvector: {{dsn: "{world.dsn}", table: {CHUNKS}}}
dead_letters:
  kafka: {{topic: {world.dead_letters}}}
flink:
  python.fn-execution.arrow.batch.size: 16  # small batches, so that the demo shows its progress
  metrics.fetcher.update-interval: 500      # counters that are up to date when they are asked for
"""


def _fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS demo CASCADE")
        connection.execute("CREATE SCHEMA demo")
        for table, rows in ((b"articles", articles()), (b"manuals", [manual()])):
            connection.execute(
                b"CREATE TABLE demo." + table + b" (id int PRIMARY KEY, title text NOT NULL, body text NOT NULL)"
            )
            with connection.cursor().copy(b"COPY demo." + table + b" FROM STDIN") as copy:
                for text in rows:
                    copy.write_row((text.id, text.title, text.body))


def _delete_topics(world: World) -> None:
    admin = AdminClient({"bootstrap.servers": world.bootstrap_servers})
    earlier = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(f"{NAME}-")]
    if earlier:
        for deleted in admin.delete_topics(earlier).values():
            deleted.result()


def events(world: World, topic: str) -> list[Message]:
    """All that a topic of one partition holds now, in order.

    Raises Unavailable where it can't be read within 20 s.
    """
    consumer = Consumer({"bootstrap.servers": world.bootstrap_servers, "group.id": uuid4().hex})
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


def history(world: World, article: int) -> list[Message]:
    """The events of one article, oldest first."""
    return [message for message in events(world, world.topic) if json.loads(message.key()) == {"id": article}]
