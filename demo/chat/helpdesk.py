"""A help desk of two tenants: their rows, the pipelines that follow them, and the file that says what is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from connectors.kafka.producer import ensure_topics
from demo import world as worlds
from demo.stage import Done, NotSeen, sent_now
from demo.world import MODEL, World
from serving.keys import add
from stack.connect import register_postgres, remove_postgres
from stack.local import Stack

NAME = "demo-chat"
SCHEMA = "demo_chat"
INDEX = "articles"
TENANTS = ("acme", "beta")
CUSTOMER = "email/kari@example.com"
RETURNS = 1
"""The id of the article that tells for how long an item can be sent back."""

_TABLES = tuple(f"{SCHEMA}.{table}" for table in ("articles", "customers", "orders"))
_CREATE = (
    "CREATE TABLE demo_chat.articles (id int PRIMARY KEY, tenant text, title text NOT NULL, body text NOT NULL)",
    "CREATE TABLE demo_chat.customers (id int PRIMARY KEY, tenant text, name text, email text, city text)",
    "CREATE TABLE demo_chat.orders (id int PRIMARY KEY, customer_id int, item text, amount numeric(9, 2),"
    " ordered_at timestamptz)",
)
_ARTICLES = (
    (RETURNS, "acme", "Returns", "An item may be sent back within 30 days of its delivery, if it wasn't used."),
    (2, "acme", "Refunds", "A refund is paid within 5 working days after the parcel has come back to the warehouse."),
    (3, "acme", "Shipping to Norway", "A parcel to Norway costs 12 euros and is on its way for four days."),
    (4, "acme", "Opening hours", "The shop in Bergen is open from 9 to 17, on Saturdays until 14."),
    (5, "acme", "Guarantee", "Every device has a guarantee of three years, batteries of one year."),
    (6, "acme", "Invoices", "Invoices are sent by e-mail on the day of the order, as PDF."),
    (11, "beta", "Returns", "We take furniture back within 14 days; the customer pays for the way."),
    (12, "beta", "Delivery", "Furniture is delivered by two people, on the day that was agreed."),
)
_CUSTOMERS = (
    (1, "acme", "Kari Nordmann", "kari@example.com", "Bergen"),
    (2, "beta", "Ola Hansen", "ola@example.com", "Oslo"),
)
_ORDERS = (
    (1, 1, "rain jacket", "99.90", "2026-01-02T10:00:00Z"),
    (2, 2, "oak table", "412.00", "2026-01-03T10:00:00Z"),
)

_HOLD = "SELECT id FROM demo_chat.articles WHERE id = %(id)s FOR UPDATE"
_HERE = "SELECT pg_current_wal_insert_lsn()::text"
_UPDATE = "UPDATE demo_chat.articles SET body = %(body)s WHERE id = %(id)s"
_INSERT = "INSERT INTO demo_chat.orders VALUES (%(id)s, 1, %(item)s, 20.10, now())"


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of an article that was made, and the place in the database's log that it comes behind."""

    done: Done
    document_id: str
    position: str


class HelpDesk:
    """The rows, and the files that the demo runs by: two pipelines', the server's, and keys by tenant."""

    def __init__(self, world: World, profiles: Path, serve: Path, keys: Mapping[str, str], connect_url: str) -> None:
        """The tables must be there."""
        self.world = world
        self.pipelines = (world.file, profiles)
        self.articles = _TABLES[0]
        self.serve = serve
        self.keys = keys
        self._connect_url = connect_url
        self._connection: psycopg.Connection[Any] = psycopg.connect(world.dsn)

    def begin(self) -> None:
        """Let Debezium read the tables: a snapshot first, then every change."""
        heartbeats = f"{self.world.prefix}.{_TABLES[0]}"
        register_postgres(self._connect_url, NAME, self.world.dsn, self.world.prefix, _TABLES, heartbeats_to=heartbeats)

    def edit(self, article: int, body: str) -> Edit:
        """Give an article another text."""
        self._connection.execute(_HOLD.encode(), {"id": article})
        (position,) = self._connection.execute(_HERE.encode()).fetchall()[0]
        done = self._commit(_UPDATE, {"body": body, "id": article})
        return Edit(done, f"{_TABLES[0]}/{article}", position)

    def ids(self, tenant: str) -> list[int]:
        """The ids of a tenant's articles."""
        return [number for number, whose, *_ in _ARTICLES if whose == tenant]

    def order(self, number: int, item: str) -> Done:
        """Let the first customer order something."""
        return self._commit(_INSERT, {"id": number, "item": item})

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _commit(self, statement: str, values: Mapping[str, object]) -> Done:
        if self._connection.execute(statement.encode(), values).rowcount != 1:
            raise NotSeen(f"{statement} changed no row: was the table changed meanwhile?")
        sent = sent_now()
        self._connection.commit()
        shown = {name: _literal(value) for name, value in values.items()}
        return Done(sent, "sql", statement % shown)


def make(stack: Stack, folder: Path, url: str, model: str) -> HelpDesk:
    """Make a new demo's tables, topics, pipeline files, keys and server's file; what an earlier one left is removed.

    url, model: of what answers, as `answer.openai` has them.
    """
    remove_postgres(stack.connect.url, NAME, stack.postgres.dsn)
    world = worlds.world(NAME, stack, folder / "chat.yaml", "commit")
    with psycopg.connect(world.dsn) as connection:
        for statement in _CREATE:
            connection.execute(statement.encode())
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO demo_chat.articles VALUES (%s, %s, %s, %s)", _ARTICLES)
            cursor.executemany("INSERT INTO demo_chat.customers VALUES (%s, %s, %s, %s, %s)", _CUSTOMERS)
            cursor.executemany("INSERT INTO demo_chat.orders VALUES (%s, %s, %s, %s, %s)", _ORDERS)
    topics = [f"{world.prefix}.{each}" for each in (*_TABLES, "outcomes", "dead-letters")]
    ensure_topics(world.bootstrap_servers, dict.fromkeys(topics, 1))
    profiles, keys, serve = folder / "chat-profiles.yaml", folder / "chat-keys.yaml", folder / "chat-serve.yaml"
    world.file.write_text(_documents(world), encoding="utf-8")
    profiles.write_text(_profiles(world), encoding="utf-8")
    serve.write_text(_serve(world, profiles, keys, url, model), encoding="utf-8")
    keys.unlink(missing_ok=True)
    given = {"indexes": [INDEX], "profiles": True}
    of = {tenant: add(keys, tenant, {**given, "filter": f'{{"tenant": "{tenant}"}}'}) for tenant in TENANTS}
    return HelpDesk(world, profiles, serve, of, stack.connect.url)


def _literal(value: object) -> str:
    # for people to read: what is run has its values as parameters
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'" if isinstance(value, str) else str(value)


def there(world: World) -> bool:
    """Whether all rows of the snapshot are in the stores."""
    chunks, records = sql.Identifier(SCHEMA, "chunks"), sql.Identifier(SCHEMA, f"{NAME}-people_records")
    query = sql.SQL(
        "SELECT (SELECT count(DISTINCT document_id) FROM {chunks}), (SELECT count(*) FROM {records})"
    ).format(chunks=chunks, records=records)
    with psycopg.connect(world.dsn) as connection:
        try:
            found = connection.execute(query).fetchall()[0]
        except psycopg.errors.UndefinedTable:
            return False
    return found == (len(_ARTICLES), len(_CUSTOMERS) + len(_ORDERS))


def _source(world: World, *tables: str) -> str:
    topics = ";".join(f"{world.prefix}.{each}" for each in tables)
    return f"""\
source:
  kafka:
    topic: {topics}
    properties.bootstrap.servers: {world.bootstrap_servers}
    scan.startup.mode: earliest-offset
format: debezium
"""


def _documents(world: World) -> str:
    articles, *_ = _TABLES
    return f"""\
name: {NAME}
{_source(world, articles)}documents:
  {articles}:
    text: "{{title}}\\n\\n{{body}}"
    metadata: [tenant, title]
    chunk: {{tokens: 256, overlap: 32}}
outcomes:
  kafka: {{topic: {world.prefix}.outcomes}}
{worlds.pipeline_end(world)}"""


def _profiles(world: World) -> str:
    _, customers, orders = _TABLES
    return f"""\
name: {NAME}-people
{_source(world, customers, orders)}profiles:
  identifiers:  # strongest first
    - {{type: customer_id, limit: 1}}
    - {{type: email, normalize: email, limit: 5}}
  records:
    {customers}:
      identifiers: {{customer_id: id, email: email}}
      attributes: {{tenant: tenant, name: name, city: city}}
    {orders}:
      identifiers: {{customer_id: customer_id}}
      attributes: {{last_item: item}}
      events: {{orders: count, last_order: ordered_at, spent: {{sum: amount}}}}
      time: ordered_at
      types: {{amount: "numeric(9,2)"}}
embedding: {{model: {MODEL}, text: "{{name}}, {{city}}. {{orders}} orders."}}
store:
  postgres: {{dsn: "{world.dsn_of_schema}"}}
  pgvector: {{dsn: "{world.dsn_of_schema}", table: people}}
dead_letters:
  kafka: {{topic: {world.dead_letters}}}
"""


def _serve(world: World, profiles: Path, keys: Path, url: str, model: str) -> str:
    return f"""\
name: {NAME}
indexes:
  {INDEX}: {{pipeline: {world.file.name}}}
profiles: {{pipeline: {profiles.name}}}
keys: {keys.name}
answer:
  openai: {{url: "{url}", model: "{model}"}}
  temperature: 0
  max_tokens: 60
  k: 2
  timeout: 600
"""
