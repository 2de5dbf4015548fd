"""How to write plans to pgvector fastest: ways to send the rows, sizes of batches, parameters of the HNSW index.

    python bench/pgvector_write.py --dsn postgresql://postgres@127.0.0.1:5432/postgres

Makes tables named bench_* in that database and drops them. Each plan swaps the one chunk of one of 500 documents for
a new one of 384 dimensions; commits are durable. CPU is that of the backend (where it runs on this machine) and
of this process: both mean more than the rate on a machine that does other things too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psycopg
import typer
from numpy.typing import NDArray
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql
from rich.console import Console
from rich.table import Table

from connectors.pgvector.store import PgvectorStore
from core.change import Position
from core.plans import Chunk, Plan

DIMENSION, DOCUMENTS, TEXT = 384, 500, "a text as long as a chunk is, give or take some. " * 12
HNSW = [None, (16, 64), (16, 32), (12, 48), (8, 64), (8, 32), (6, 32)]
CHOSEN = (8, 32)
Row = tuple[str, str, NDArray[np.float32]]
Connection = psycopg.Connection[Any]
Write = Callable[[Connection, Sequence[Row]], None]
console = Console(width=110)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide(vectors, np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def batches(count: int, size: int, seed: int = 1) -> Iterator[list[Row]]:
    random = np.random.default_rng(seed)
    for number in range(count):
        vectors = unit(random.standard_normal((size, DIMENSION), np.float32))
        documents = random.choice(max(DOCUMENTS, size), size, replace=False)
        yield [(f"{seed}-{number}-{at:024}", f"public.a/{documents[at]}", vectors[at]) for at in range(size)]


def columns(rows: Sequence[Row]) -> list[list[Any]]:
    return list(map(list, zip(*rows, strict=True)))


INSERT = "INSERT INTO bench_raw SELECT chunk_id, document_id, 0, text, '{}', embedding, 'm' FROM "
CONFLICT = " ON CONFLICT (chunk_id) DO UPDATE SET embedding = EXCLUDED.embedding"


def unnest(element: str, encode: Callable[[NDArray[np.float32]], Any], decode: str) -> Write:
    source = f"unnest(%b::text[], %b::text[], %b::{element}[], %b::text[]) AS x (chunk_id, document_id, v, text)"
    query = f"{INSERT.replace('embedding', decode)}{source}{CONFLICT}".encode()

    def write(connection: Connection, rows: Sequence[Row]) -> None:
        ids, documents, vectors = columns(rows)
        parameters = (ids, documents, [encode(vector) for vector in vectors], [TEXT] * len(rows))
        with connection.pipeline(), connection.transaction():
            connection.execute("DELETE FROM bench_raw WHERE document_id = ANY(%b)", [documents], prepare=True)
            connection.execute(query, parameters, prepare=True)

    return write


def copy(connection: Connection, rows: Sequence[Row]) -> None:
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS stage (chunk_id text, document_id text, embedding vector, text text)"
    )
    with connection.transaction():
        with connection.cursor().copy("COPY stage FROM STDIN (FORMAT BINARY)") as sink:
            sink.set_types(["text", "text", "vector", "text"])
            for chunk_id, document, vector in rows:
                sink.write_row((chunk_id, document, Vector(vector), TEXT))
        with connection.pipeline():
            connection.execute(
                "DELETE FROM bench_raw WHERE document_id IN (SELECT document_id FROM stage)", prepare=True
            )
            connection.execute(f"{INSERT}stage{CONFLICT}".encode(), prepare=True)
            connection.execute("TRUNCATE stage")


def executemany(connection: Connection, rows: Sequence[Row]) -> None:
    insert = b"""INSERT INTO bench_raw VALUES (%b, %b, 0, %b, '{}', %b, 'm')
                 ON CONFLICT (chunk_id) DO UPDATE SET embedding = EXCLUDED.embedding"""
    with connection.pipeline(), connection.transaction(), connection.cursor() as cursor:
        cursor.executemany("DELETE FROM bench_raw WHERE document_id = %b", [(document,) for _, document, _ in rows])
        cursor.executemany(insert, [(chunk, document, TEXT, Vector(vector)) for chunk, document, vector in rows])


WAYS: dict[str, Write] = {
    "unnest, vector[] (binary)": unnest("vector", Vector, "v"),
    "unnest, text[] cast to vector": unnest("text", lambda vector: Vector(vector).to_text(), "v::vector"),
    "unnest, float4[] cast to vector": unnest(
        "text", lambda vector: "{" + ",".join(map(str, vector.tolist())) + "}", "v::real[]::vector"
    ),
    "COPY to a temporary table": copy,
    "executemany, pipelined": executemany,
}


def cpu(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def measured(pid: int, changes: int, run: Callable[..., object], steps: Sequence[tuple[Any, ...]]) -> tuple[str, ...]:
    """Changes a second, and milliseconds of CPU a change in the backend and in this process."""
    server, client, start = cpu(pid), time.process_time(), time.perf_counter()
    for step in steps:
        run(*step)
    wall = time.perf_counter() - start
    used = (cpu(pid) - server, time.process_time() - client)
    return f"{changes / wall:,.0f}", *(f"{each * 1000 / changes:.3f}" for each in used)


def raw_table(connection: Connection, index: tuple[int, int] | None) -> None:
    connection.execute("DROP TABLE IF EXISTS bench_raw")
    connection.execute(
        f"""CREATE TABLE bench_raw (chunk_id text PRIMARY KEY, document_id text, ordinal int, text text, metadata jsonb,
                                    embedding vector({DIMENSION}), model text)""".encode()
    )
    connection.execute("CREATE INDEX ON bench_raw (document_id)")
    if index:
        make_index(connection, "bench_raw", index)


def make_index(connection: Connection, table: str, index: tuple[int, int]) -> None:
    template = "CREATE INDEX ON {} USING hnsw (embedding vector_cosine_ops) WITH (m = {}, ef_construction = {})"
    connection.execute(sql.SQL(template).format(sql.Identifier(table), *index))


def ways(connection: Connection, seconds: float) -> None:
    """Without an HNSW index, which would cost more than all that differs here."""
    table = Table("way to send", "batch", "changes/s", "backend ms", "client ms", title="No HNSW index")
    for name, write in WAYS.items():
        for size in (10, 100, 1000):
            raw_table(connection, None)
            count = max(5, int(seconds * 4000 / size))
            todo = [(connection, each) for each in batches(count, size)]
            figures = measured(connection.info.backend_pid, count * size, write, todo)
            table.add_row(name, str(size), *figures)
    console.print(table)


def plans(rows: Sequence[Row], position: int) -> tuple[list[Plan], list[NDArray[np.float32]]]:
    made = [Plan(doc, Position(f"{position:09}"), (chunk,), (Chunk(chunk, 0, TEXT),)) for chunk, doc, _ in rows]
    return made, [vector.reshape(1, -1) for _, _, vector in rows]


def stored(dsn: str, connection: Connection, seconds: float) -> None:
    table = Table("HNSW m/ef", "batch", "changes/s", "backend ms", "client ms", title="PgvectorStore.apply")
    for index in HNSW:
        for size in (10, 100, 1000) if index in (None, CHOSEN) else (100,):
            store = prepared(dsn, connection, index)
            count = max(3, int(seconds * 800 / size))
            todo = [plans(rows, number) for number, rows in enumerate(batches(count, size))]
            pid = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'freshet' ORDER BY backend_start DESC"
            ).fetchall()[0][0]
            figures = measured(pid, count * size, store.apply, todo)
            table.add_row("none" if index is None else f"{index[0]}/{index[1]}", str(size), *figures)
            store.close()
    console.print(table)


def prepared(dsn: str, connection: Connection, index: tuple[int, int] | None) -> PgvectorStore:
    connection.execute("DROP TABLE IF EXISTS bench_store, bench_store_ledger")
    store = PgvectorStore(dsn, "bench_store", DIMENSION, "m")
    store.prepare()
    connection.execute("DROP INDEX bench_store_embedding_idx")
    if index:
        make_index(connection, "bench_store", index)
    return store


def latency(dsn: str, connection: Connection) -> None:
    store = prepared(dsn, connection, CHOSEN)
    for number, rows in enumerate(batches(5, 100)):
        store.apply(*plans(rows, number))
    times = []
    for number, rows in enumerate(batches(500, 1, seed=2)):
        one = plans(rows, 100 + number)
        start = time.perf_counter()
        store.apply(*one)
        times.append((time.perf_counter() - start) * 1000)
        time.sleep(0.01)
    store.close()
    p50, p99 = np.percentile(times, [50, 99])
    console.print(f"one plan a batch, 100 a second: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


def recall(dsn: str, connection: Connection, vectors: NDArray[np.float32]) -> None:
    """How many of the true 10 nearest the index finds, built by single inserts, with the settings of `search`."""
    asked, known = vectors[:200], vectors[200:]
    table = Table("HNSW m/ef", "recall@10", "build s", title=f"{len(known)} real vectors")
    for index in filter(None, HNSW):
        store = prepared(dsn, connection, index)
        rows = [(f"c{number}", f"d{number}", vector) for number, vector in enumerate(known)]
        start = time.perf_counter()
        for at in range(0, len(rows), 500):
            store.apply(*plans(rows[at : at + 500], 1))
        built = time.perf_counter() - start
        connection.execute("ANALYZE bench_store")
        found = 0
        for question in asked:
            true = {f"c{number}" for number in np.argsort(-(known @ question))[:10]}
            found += len(true & {hit.chunk_id for hit in store.search(question, 10)})
        store.close()
        table.add_row(f"{index[0]}/{index[1]}", f"{found / (10 * len(asked)):.4f}", f"{built:.1f}")
    console.print(table)


def main(
    dsn: Annotated[str, typer.Option(help="a database to make bench_* tables in")],
    seconds: Annotated[float, typer.Option(help="about how long each line takes")] = 3.0,
    vectors: Annotated[Path | None, typer.Option(help="unit vectors as .npy, (n, 384), for recall")] = None,
) -> None:
    """Print the tables."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        ways(connection, seconds)
        stored(dsn, connection, seconds)
        latency(dsn, connection)
        if vectors is not None:
            recall(dsn, connection, np.load(vectors))
        connection.execute("DROP TABLE IF EXISTS bench_raw, bench_store, bench_store_ledger")


if __name__ == "__main__":
    typer.run(main)
