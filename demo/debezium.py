"""The demo of PostgreSQL by Debezium: two tables, their topics, and what events out of order or broken come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Message

from connectors.kafka.producer import ensure_topics, produce
from core.formats.debezium.decoding import position
from core.formats.recordings import Record
from core.formats.wrapping import bare
from demo import world as worlds
from demo.claims import chunks_with, delete, edit, edit_one_paragraph, reached, survive
from demo.stage import Claims, Done, Evidence, NotSeen, Stage, brief, sent_now, until
from demo.world import EDITED, World
from stack.connect import register_postgres, remove_postgres
from stack.local import Stack

NAME = "demo"
ARTICLES, MANUALS = "demo.articles", "demo.manuals"

_PREPEND = "UPDATE demo.articles SET body = %(text)s || body WHERE id = %(id)s"
_EXTEND = "UPDATE demo.manuals SET body = replace(body, %(paragraph)s, %(paragraph)s || %(text)s) WHERE id = 1"
_DELETE = "DELETE FROM demo.articles WHERE id = %(id)s"


class Tables:
    """The tables `demo.articles` and `demo.manuals`, which Debezium captures: `demo.stage.Texts`."""

    manual = f"{MANUALS}/1"

    def __init__(self, world: World, connect_url: str) -> None:
        """The tables must be there."""
        self.world = world
        self.connect_url = connect_url
        self.topic = f"{world.prefix}.{ARTICLES}"
        self.before_commands = ""
        self.invitation = f"change rows of {ARTICLES} at {world.dsn}"
        self._connection: psycopg.Connection[Any] = psycopg.connect(world.dsn)

    def begin(self) -> None:
        """Let Debezium read the tables: a snapshot first, then every change."""
        register_postgres(self.connect_url, NAME, self.world.dsn, self.world.prefix, (ARTICLES, MANUALS))

    def document(self, title: str) -> str:
        """The id of the document that is an article."""
        return f"{ARTICLES}/{self.article(title)}"

    def article(self, title: str) -> int:
        """The id of an article. Raises NotSeen where there is none."""
        query = "SELECT id FROM demo.articles WHERE title = %s ORDER BY id"
        row = self._connection.execute(query, (title,)).fetchone()
        self._connection.commit()
        if row is None:
            raise NotSeen(f"this Python's language reference has no section {title!r}")
        return int(row[0])

    def prepend(self, title: str, text: str) -> Done:
        """Write a text before an article's body."""
        return self._commit(_PREPEND, {"text": text, "id": self.article(title)})

    def extend(self, paragraph: str, text: str) -> Done:
        """Write a text behind a paragraph of the manual."""
        return self._commit(_EXTEND, {"paragraph": paragraph, "text": text})

    def delete(self, title: str) -> Done:
        """Delete an article."""
        return self._commit(_DELETE, {"id": self.article(title)})

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _commit(self, statement: str, parameters: Mapping[str, object]) -> Done:
        if self._connection.execute(statement.encode(), parameters).rowcount != 1:
            raise NotSeen(f"{statement} changed no row: was the table changed meanwhile?")
        sent = sent_now()
        self._connection.commit()
        return Done(sent, "sql", _sql(statement, parameters))

    def history(self, article: int) -> list[Message]:
        """The events of one article, oldest first."""
        found = worlds.events(self.world, self.topic)
        return [message for message in found if bare(message.key()) == {"id": article}]


def _sql(statement: str, parameters: Mapping[str, object]) -> str:
    return statement % {
        name: repr(brief(value, 50)) if isinstance(value, str) else value for name, value in parameters.items()
    }


def make(stack: Stack, folder: Path) -> Tables:
    """Make a new demo's tables, topics and pipeline file; what an earlier demo left is removed."""
    remove_postgres(stack.connect.url, NAME, stack.postgres.dsn)
    world = worlds.world(NAME, stack, folder / "pipeline.yaml", "commit")
    _fill(world.dsn)
    topics = (f"{world.prefix}.{ARTICLES}", f"{world.prefix}.{MANUALS}", world.dead_letters)
    ensure_topics(world.bootstrap_servers, dict.fromkeys(topics, 1))
    world.file.write_text(pipeline(world), encoding="utf-8")
    return Tables(world, stack.connect.url)


def pipeline(world: World) -> str:
    """The demo's pipeline file."""
    return f"""\
name: {NAME}
source:
  kafka:
    topic: {world.prefix}.{ARTICLES};{world.prefix}.{MANUALS}
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
{worlds.pipeline_end(world)}"""


def _fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for table, rows in ((b"articles", worlds.articles()), (b"manuals", [worlds.manual()])):
            connection.execute(
                b"CREATE TABLE demo." + table + b" (id int PRIMARY KEY, title text NOT NULL, body text NOT NULL)"
            )
            with connection.cursor().copy(b"COPY demo." + table + b" FROM STDIN") as copy:
                for text in rows:
                    copy.write_row((text.id, text.title, text.body))


def refuse_old_changes(stage: Stage[Tables]) -> Evidence:
    """All real events of an article once more, newest first: none of them is later than what stands."""
    title, tables = EDITED[0][0], stage.texts
    document, sentence = tables.document(title), "This is the newest version."
    tables.prepend(title, f"{sentence} ")
    until(lambda: chunks_with(stage.chunks(document), sentence), "the newest version")
    past = tables.history(tables.article(title))
    before, stale = stage.chunks(document), stage.settled("stale")
    again = [Record(tables.topic, event.key(), event.value()) for event in reversed(past)]
    produce(stage.world.bootstrap_servers, again)
    refused = until(lambda: reached(stage.count("stale") - stale, len(again)), f"{len(again)} refusals")
    after = stage.chunks(document)
    logged = [bare(event.value())["source"] for event in reversed(past)]
    positions = [position(source, snapshot=source["snapshot"] != "false") for source in logged]
    return Evidence(
        (
            ("kafka", f"the {len(again)} events of {document} again, newest first: "
             + ", ".join(str(source["lsn"]) for source in logged)),
            ("job", f"refused: {refused} of {len(again)}, as no log position is later than the one that stands"),
            ("store", f"same rows as before, with {sentence!r}"),
        ),
        f"{refused} late or repeated changes refused; the store kept the newest text",
        holds=len(set(positions)) > 2
        and positions == sorted(positions, reverse=True)
        and refused == len(again)
        and after == before,
    )  # fmt: skip


def survive_poison(stage: Stage[Tables]) -> Evidence:
    """Bytes that aren't JSON, and an envelope without `after`: dead letters as they came, and the job goes on."""
    tables = stage.texts
    newest = tables.history(tables.article(EDITED[1][0]))[-1]
    envelope = bare(newest.value())
    poison = [b"\x00\xff no JSON", json.dumps({**envelope, "op": "u", "after": None}).encode()]
    produce(stage.world.bootstrap_servers, [Record(tables.topic, newest.key(), value) for value in poison])
    described = f"{poison[0]!r}, and an envelope with op 'u' and without 'after'"
    return survive(stage, ("kafka", described), len(poison), poison)


CLAIMS: Claims[Tables] = (
    ("An edit changes the answer", edit),
    ("An edit of one paragraph embeds what changed", edit_one_paragraph),
    ("A delete is gone from the answers", delete),
    ("Changes out of order are refused", refuse_old_changes),
    ("Poison becomes a dead letter", survive_poison),
)
