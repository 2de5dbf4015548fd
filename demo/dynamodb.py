"""The demo of a DynamoDB table: its items are the texts, and its stream tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.aws.client import Aws, client
from connectors.kafka.producer import ensure_topics
from core.formats.dynamodb.values import item
from demo import world as worlds
from demo.aws import CREDENTIALS, MANUAL, REGION, account, equal, keep_up, unchanged
from demo.claims import delete, edit, edit_one_paragraph, survive
from demo.stage import Claims, Done, Evidence, NotSeen, Stage, brief, sent_now
from demo.world import World
from stack.local import Stack
from workloads.articles import Article, Step
from workloads.texts import Text
from workloads.writers.dynamodb import DynamodbWriter

NAME = "demo-dynamodb"
TABLE = "demo-articles"
_BROKEN = 9_999

Row = Mapping[str, int | str]


class Items:
    """A table of articles with a stream of new and old images: `demo.aws.Collection`."""

    name = "the table"
    manual = f"{TABLE}/{MANUAL}"

    def __init__(self, world: World, aws: Aws) -> None:
        """The table must be there."""
        self.world = world
        self.aws = aws
        self.before_commands = CREDENTIALS
        self.invitation = (
            f"freshet produce --aws-endpoint {aws.endpoint} --aws-region {REGION} --table {TABLE} --events 20 "
            "writes over the first articles"
        )
        self._writer = DynamodbWriter(TABLE, aws)
        self._client = client("dynamodb", aws, "demo")
        self._numbers = {article.title: article.id for article in reversed(worlds.articles())}

    def begin(self) -> None:
        """Put the items."""
        manual = worlds.manual()
        texts = [Text(MANUAL, manual.title, manual.paragraphs), *worlds.articles()]
        self.put((text.id, {"id": text.id, "title": text.title, "body": text.body}) for text in texts)

    def put(self, rows: Iterable[tuple[int, Row | None]]) -> None:
        """Put or delete items."""
        self._writer.write(rows)

    def document(self, title: str) -> str:
        """The id of the document that is an article."""
        return f"{TABLE}/{self._number(title)}"

    def _number(self, title: str) -> int:
        if title not in self._numbers:
            raise NotSeen(f"this Python's language reference has no section {title!r}")
        return self._numbers[title]

    def read(self, number: int) -> dict[str, Any]:
        """An item as it is now. Raises NotSeen where there is none."""
        found = self._client.get_item(TableName=TABLE, Key={"id": {"N": str(number)}}, ConsistentRead=True)
        if "Item" not in found:
            raise NotSeen(f"item {number} is gone: was the table changed meanwhile?")
        return item(found["Item"], TABLE)

    def prepend(self, title: str, text: str) -> Done:
        """Write a text before an article's body."""
        row = self.read(self._number(title))
        return self._write({**row, "body": f"{text}{row['body']}"}, text)

    def extend(self, paragraph: str, text: str) -> Done:
        """Write a text behind a paragraph of the manual."""
        row = self.read(MANUAL)
        return self._write(
            {**row, "body": row["body"].replace(paragraph, f"{paragraph}{text}")}, f"{paragraph[:30]}…{text}"
        )

    def _write(self, row: Mapping[str, Any], changed: str) -> Done:
        sent = sent_now()
        self.put([(row["id"], row)])
        return Done(sent, "put", f"item {row['id']} of {TABLE}, with {brief(changed, 80)!r}")

    def delete(self, title: str) -> Done:
        """Delete an article."""
        number, sent = self._number(title), sent_now()
        self.put([(number, None)])
        return Done(sent, "delete", f"item {number} of {TABLE}")

    def write(self, steps: Sequence[Step]) -> str:
        """Put and delete items."""
        self.put((step.id, None if step.article is None else step.article.row()) for step in steps)
        return "the stream tells each"

    def text(self, article: Article) -> str:
        """What an article's document says."""
        return f"{article.title}\n\n{article.body}"

    def truth(self) -> Mapping[str, str]:
        """The text of each document, as the table is now; what is broken in it has none."""
        return {
            f"{TABLE}/{row['id']}": f"{row['title']}\n\n{row['body']}" for row in self.rows() if row["id"] != _BROKEN
        }

    def rows(self) -> list[dict[str, Any]]:
        """All items."""
        pages = self._client.get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True)
        return [item(found, TABLE) for page in pages for found in page["Items"]]

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()


def make(stack: Stack, folder: Path) -> Items:
    """Make a new demo's table, topic of dead letters and pipeline file; what an earlier demo left is removed."""
    aws = account(stack)
    world = worlds.world(NAME, stack, folder / "dynamodb.yaml", "write")
    ensure_topics(world.bootstrap_servers, {world.dead_letters: 1})
    database = client("dynamodb", aws, "demo")
    if TABLE in database.list_tables()["TableNames"]:
        database.delete_table(TableName=TABLE)
    DynamodbWriter(TABLE, aws).ensure()
    items = Items(world, aws)
    world.file.write_text(pipeline(items), encoding="utf-8")
    return items


def pipeline(items: Items) -> str:
    """The demo's pipeline file."""
    servers = f"properties.bootstrap.servers: {items.world.bootstrap_servers}"
    at = f'{{aws.region: {REGION}, aws.endpoint: "{items.aws.endpoint}"}}'
    return f"""\
name: {NAME}
source:
  dynamodb: {{table: {TABLE}, {at[1:]}
format: dynamodb
documents:
  {TABLE}:
    text: "{{title}}\\n\\n{{body}}"
    metadata: [title]
    chunk: {{tokens: 256, overlap: 32}}
reselect: {{dynamodb: {at}}}  # for freshet verify
{worlds.pipeline_end(items.world, servers)}"""


def rewrite(stage: Stage[Items]) -> Evidence:
    """Another attribute in every item: each is a change, and the model sees none."""
    items, before = stage.texts, stage.progress().counts
    rows = [{**row, "views": 1} for row in items.rows()]
    sent = sent_now()
    items.put((row["id"], row) for row in rows)
    return unchanged(stage, "changes", sent, len(rows), before)


def survive_poison(stage: Stage[Items]) -> Evidence:
    """An item without the attribute that its text is made of: a dead letter, and the job goes on."""
    stage.texts.put([(_BROKEN, {"id": _BROKEN, "title": "An item without a body"})])
    return survive(stage, ("put", f"item {_BROKEN} of {TABLE}, without body"), 1)


CLAIMS: Claims[Items] = (
    ("An edit changes the answer", edit),
    ("An edit of one paragraph embeds what changed", edit_one_paragraph),
    ("A delete is gone from the answers", delete),
    ("An attribute that is no text embeds nothing", rewrite),
    ("Three hundred writes end in the same store", keep_up),
    ("Poison becomes a dead letter", survive_poison),
    ("The store equals the table", equal),
)
