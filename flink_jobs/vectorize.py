"""The vector pipeline as a Flink job: source, decode, plan, apply; dead letters from each."""

from __future__ import annotations

from pyflink.common import Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import StatementSet, StreamTableEnvironment

from connectors import kafka
from core.config import Pipeline
from flink_jobs.apply import functions
from flink_jobs.operators import (
    CHANGES,
    DEAD_LETTERS,
    EVENT_FIELDS,
    LETTERS,
    PLANS,
    Decode,
    PlanDocument,
    RejectedToLetter,
)

_EVENT = ", ".join(f"`{name}`" for name in EVENT_FIELDS)


def build(pipeline: Pipeline, environment: StreamExecutionEnvironment) -> StatementSet:
    """The whole job; `execute()` on what comes back submits it.

    Every operator has the pipeline's parallelism and one shuffle, by document, stands before the plan: so a
    document's plans reach the store in the order in which they were made.
    """
    tables = StreamTableEnvironment.create(environment)
    source, sink = pipeline.source.kafka, pipeline.dead_letters.kafka
    tables.execute_sql(kafka.source_ddl("events", source, f"freshet-{pipeline.name}"))
    tables.execute_sql(kafka.letters_ddl("dead_letters", source, sink.topic))
    for name, function in functions(pipeline).items():
        tables.create_temporary_function(name, function)

    events = tables.to_data_stream(tables.sql_query(f"SELECT {_EVENT} FROM events"))  # noqa: S608  # our own names
    changes = events.process(Decode(pipeline), CHANGES).name("decode").uid("decode")
    plans = (
        changes.key_by(lambda row: row[0], Types.STRING())
        .process(PlanDocument(pipeline), PLANS)
        .name("plan")
        .uid("plan")
        # In a task of its own the plan goes on while a batch is embedded and written, and the next batch is fuller.
        .disable_chaining()
    )
    rejected = _apply(tables, plans).map(RejectedToLetter(pipeline), LETTERS).name("rejected").uid("rejected")
    letters = rejected.union(changes.get_side_output(DEAD_LETTERS), plans.get_side_output(DEAD_LETTERS))
    tables.create_temporary_view("letters", tables.from_data_stream(letters))
    statements = tables.create_statement_set()
    statements.add_insert_sql("INSERT INTO dead_letters SELECT `key`, `value`, `headers` FROM letters")
    return statements


def _apply(tables: StreamTableEnvironment, plans: DataStream) -> DataStream:
    """Embed and write each plan; what comes out are the rejected ones."""
    tables.create_temporary_view("plans", tables.from_data_stream(plans))
    answered = "SELECT write_plans(embed_plans(`plan`)) AS rejection, `event` FROM plans"
    rows = tables.sql_query(f"SELECT rejection, `event` FROM ({answered}) WHERE rejection IS NOT NULL")  # noqa: S608
    return tables.to_data_stream(rows)
