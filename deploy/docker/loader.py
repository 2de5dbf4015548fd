"""What changes in the demo of docker-compose.yaml: a table that Debezium captures, and edits of it for ever.

`python -m deploy.docker.loader` with, in the environment, DATABASE (a connection string), POSTGRES_PASSWORD_FILE where
the database wants a password, CONNECT_URL, and CONNECT_PASSWORD where Connect is to read it from a place of its own.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, LiteralString

import psycopg
import typer
from psycopg.conninfo import make_conninfo

from core.config.first_pipeline import topic_of
from core.errors import FreshetError
from stack.connect import register_postgres
from workloads.texts import Text, texts

TABLE = "public.articles"
_CREATE: LiteralString = """
    CREATE TABLE IF NOT EXISTS articles (
        id bigint PRIMARY KEY, title text NOT NULL, body text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()
    )"""
_PUT: LiteralString = """
    INSERT INTO articles (id, title, body) VALUES (%s, %s, %s)
    ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body, updated_at = now()"""
_DELETE: LiteralString = "DELETE FROM articles WHERE id = %s"
_DELETED = 0.1


def main(
    articles: Annotated[int, typer.Option(min=1, max=300, help="Rows of the table.")] = 200,
    rate: Annotated[float, typer.Option(min=0.01, help="Commits a second.")] = 2.0,
    changes: Annotated[int | None, typer.Option(min=0, help="How many; else for ever.")] = None,
    prefix: Annotated[str, typer.Option(help="What the topic's name begins with.")] = "shop",
    alive: Annotated[Path, typer.Option(help="A file that is touched with each change.")] = Path("/tmp/loader"),
) -> None:
    """Make the table and its connector where they aren't there, and change a row at each tick."""
    password = _password()
    database = make_conninfo(os.environ["DATABASE"], password=password)
    chosen = texts()[:articles]
    with psycopg.connect(database, autocommit=True) as connection:
        fill(connection, chosen)
        for_connect = make_conninfo(os.environ["DATABASE"], password=os.environ.get("CONNECT_PASSWORD", password))
        topic = topic_of(prefix, TABLE)
        register_postgres(os.environ["CONNECT_URL"], prefix, for_connect, prefix, [TABLE], heartbeats_to=topic)
        for article, body in islice(edits(chosen), changes):
            if body is None:
                connection.execute(_DELETE, (article.id,))
            else:
                connection.execute(_PUT, (article.id, article.title, body))
            # by its time a health check sees that changes go on
            alive.touch()
            time.sleep(1 / rate)


def _password() -> str | None:
    """Raises FreshetError where the file has more than the password: Connect takes every byte of it."""
    if (file := os.environ.get("POSTGRES_PASSWORD_FILE")) is None:
        return None
    password = Path(file).read_text(encoding="utf-8")
    if password != password.strip():
        raise FreshetError(
            f"{file} has white space around the password, as a line end, which Kafka Connect takes for a part of it: "
            "write it without, as by `openssl rand -hex 24 | tr -d '\\n' > FILE`"
        )
    return password


def fill(connection: psycopg.Connection, articles: tuple[Text, ...]) -> None:
    """Make the table, with its rows where it has none."""
    connection.execute(_CREATE)
    if connection.execute("SELECT 1 FROM articles LIMIT 1").fetchone() is None:
        with connection.cursor() as cursor:
            cursor.executemany(_PUT, [(text.id, text.title, text.body) for text in articles])


def edits(articles: tuple[Text, ...]) -> Iterator[tuple[Text, str | None]]:
    """Articles in turn, each with its new body, a paragraph of which is another article's; None deletes it."""
    chance = random.Random(0)
    pool = [paragraph for text in articles for paragraph in text.paragraphs]
    for article in cycle(articles):
        if chance.random() < _DELETED:
            yield article, None
        else:
            paragraphs = list(article.paragraphs)
            paragraphs[chance.randrange(len(paragraphs))] = chance.choice(pool)
            yield article, "\n\n".join(paragraphs)


if __name__ == "__main__":
    typer.run(main)
