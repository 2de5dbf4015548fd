"""Three systems' tables about people, which Debezium captures, and the pipeline that makes profiles of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from connectors.kafka.producer import ensure_topics
from demo import world as worlds
from demo.stage import Done, NotSeen, sent_now
from demo.world import MODEL, World
from stack.connect import register_postgres, remove_postgres
from stack.local import Stack

NAME = "demo-profiles"
SCHEMA = "demo_profiles"
TABLES = tuple(f"{SCHEMA}.{table}" for table in ("customers", "orders", "visits"))
HOME, WORK, DEVICE = "kari@example.com", "k.nordmann@work.example", "laptop-7"

_CREATE = (
    "CREATE TABLE demo_profiles.customers (id int PRIMARY KEY, name text, email text, phone text, city text)",
    "CREATE TABLE demo_profiles.orders"
    " (id int PRIMARY KEY, customer_id int, email text, amount numeric(9, 2), created_at timestamptz)",
    "CREATE TABLE demo_profiles.visits (id int PRIMARY KEY, device text, login text, lang text)",
)
_CUSTOMERS = (
    (1, "Kari Nordmann", HOME, "+47 99 88 77 66", "Bergen"),
    (2, "Ola Hansen", "ola@example.com", "+47 91 23 45 67", "Oslo"),
    (3, "Ingrid Hansen", "ingrid@example.com", "+47 91 23 45 67", "Oslo"),
    (4, "Lars Berg", "lars@example.com", None, "Trondheim"),
)
_ORDERS = (
    (1, 1, None, "99.90", "2026-01-02T10:00:00Z"),
    (2, 2, None, "12.00", "2026-01-03T10:00:00Z"),
    (3, None, "lars@example.com", "250.00", "2026-01-04T10:00:00Z"),
)
_VISITS = ((1, DEVICE, WORK, "no"), (2, DEVICE, None, "no"), (3, DEVICE, None, "en"), (4, "phone-3", None, "no"))
ROWS = len(_CUSTOMERS) + len(_ORDERS) + len(_VISITS)


class People:
    """The tables `demo_profiles.customers`, `.orders` and `.visits`."""

    def __init__(self, world: World, connect_url: str) -> None:
        """The tables must be there."""
        self.world = world
        self._connect_url = connect_url
        self._connection: psycopg.Connection[Any] = psycopg.connect(world.dsn)

    def begin(self) -> None:
        """Let Debezium read the tables: a snapshot first, then every change."""
        register_postgres(self._connect_url, NAME, self.world.dsn, self.world.prefix, TABLES)

    def commit(self, statement: str) -> Done:
        """Change one row."""
        if self._connection.execute(statement.encode()).rowcount != 1:
            raise NotSeen(f"{statement} changed no row: was the table changed meanwhile?")
        sent = sent_now()
        self._connection.commit()
        return Done(sent, "sql", statement)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def make(stack: Stack, folder: Path) -> People:
    """Make a new demo's tables, topics and pipeline file; what an earlier demo left is removed."""
    remove_postgres(stack.connect.url, NAME, stack.postgres.dsn)
    world = worlds.world(NAME, stack, folder / "profiles.yaml", "commit")
    with psycopg.connect(world.dsn) as connection:
        for statement in _CREATE:
            connection.execute(statement.encode())
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO demo_profiles.customers VALUES (%s, %s, %s, %s, %s)", _CUSTOMERS)
            cursor.executemany("INSERT INTO demo_profiles.orders VALUES (%s, %s, %s, %s, %s)", _ORDERS)
            cursor.executemany("INSERT INTO demo_profiles.visits VALUES (%s, %s, %s, %s)", _VISITS)
    ensure_topics(world.bootstrap_servers, dict.fromkeys((*topics(world), world.dead_letters), 1))
    world.file.write_text(pipeline(world), encoding="utf-8")
    return People(world, stack.connect.url)


def topics(world: World) -> tuple[str, ...]:
    """The tables' topics."""
    return tuple(f"{world.prefix}.{table}" for table in TABLES)


def pipeline(world: World) -> str:
    """The demo's pipeline file."""
    customers, orders, visits = TABLES
    return f"""\
name: {NAME}
source:
  kafka:
    topic: {";".join(topics(world))}
    properties.bootstrap.servers: {world.bootstrap_servers}
    scan.startup.mode: earliest-offset
format: debezium
profiles:
  identifiers:  # strongest first
    - {{type: customer_id, limit: 1}}
    - {{type: email, normalize: email, limit: 5}}
    - {{type: phone, normalize: {{phone: NO}}, limit: 2}}
    - {{type: device, limit: 5}}
  records:
    {customers}:
      identifiers: {{customer_id: id, email: email, phone: phone}}
      attributes: {{name: name, city: city}}
      trust: 3
    {orders}:
      identifiers: {{customer_id: customer_id, email: email}}
      events: {{last_order: created_at, total_spent: {{sum: amount}}, orders: count}}
      time: created_at
      types: {{amount: "numeric(9,2)"}}
    {visits}:
      identifiers: {{device: device, email: login}}
      attributes: {{language: lang}}
  survivorship: {{name: most_trusted, language: most_frequent}}
embedding: {{model: {MODEL}, text: "{{name}}, {{city}}. {{orders}} orders, last {{last_order}}."}}
store:
  postgres: {{dsn: "{world.dsn_of_schema}"}}
  pgvector: {{dsn: "{world.dsn_of_schema}", table: chunks}}
dead_letters:
  kafka: {{topic: {world.dead_letters}}}
flink:
  metrics.fetcher.update-interval: 500
"""
