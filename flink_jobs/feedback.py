"""The feedback pipeline as a Flink job: source, decode and judge, rate; then a query a KPI, and its rows written.

The queries stand in SQL, over views of what the operators before them have made of the events.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import DataTypes, Schema, StreamTableEnvironment

from connectors.opening.dead_letters import place_of_letters
from connectors.opening.kpis import going_to, kpi_places, open_kpis
from core.config.feedback import Feedback
from core.config.pipeline import Pipeline
from core.stores.fingerprint import Owner
from core.stores.kpis import KpiTable
from flink_jobs.engine.workers import leave_bundles_to_workers
from flink_jobs.sources.events import feed
from flink_jobs.sources.ticking import clock
from flink_jobs.steps import kpis, views
from flink_jobs.steps import letters as letters_topic
from flink_jobs.steps.aside import ASIDE_MS, aside
from flink_jobs.steps.asking import answers
from flink_jobs.steps.judging import hearing
from flink_jobs.steps.keying import by_key
from flink_jobs.steps.operators import DEAD_LETTERS, EVENT_FIELDS, LETTERS
from flink_jobs.steps.rating import HEARD, HEARD_ROWS, TURNS, RateTurn

# Arrow takes no map whose keys may be NULL
_READ = """SELECT hear(`key`, `value`, `topic`, `partition`, `offset`, MAP_KEYS(`headers`), MAP_VALUES(`headers`),
    CAST(`ts` AS TIMESTAMP_LTZ(3))) AS `heard` FROM conversations"""
_HEARD = f"""SELECT `heard`.`answer`,
    ROW(`heard`.`said`, `heard`.`event`, `heard`.`sentiment`, `heard`.`arrived`, `heard`.`refused`) AS `heard`
    FROM ({_READ})"""  # noqa: S608  # our own names


def build(
    pipeline: Pipeline, environment: StreamExecutionEnvironment, sources: Mapping[str, str], owner: Owner | None
) -> None:
    """Put the whole job on the environment, and make the KPIs' tables; `owner` is as in `flink_jobs.job.build`.

    Raises ConfigError where a KPI's query can't be planned, or its table is another's.
    """
    tables = StreamTableEnvironment.create(environment)
    feedback, place = pipeline.feedback_job.feedback, place_of_letters(pipeline)
    views.configure(tables, feedback)
    letters_topic.declare(tables, place)

    source = feed(tables, pipeline)
    bounded = pipeline.source.chosen.is_bounded
    # what is counted of turns is state of the queries, which a bounded run after another begins anew, as its source
    uid = "bounded_rate" if bounded else "rate"
    heard = _heard(tables, source.events, feedback)
    timed = heard if bounded else heard.union(clock(tables, HEARD_ROWS, "rate", feedback.watermark_ms))
    turns = by_key(timed, HEARD).process(RateTurn(pipeline.name, feedback), TURNS).name("rate").uid(uid)
    views.declare(tables, turns)
    letters = aside(turns, DEAD_LETTERS).union(*source.letters)
    planned = views.planned(tables, feedback)
    for each in _written(tables, pipeline, planned):
        letters = letters.union(each)
    statements = tables.create_statement_set()
    statements.add_insert_sql(letters_topic.written(tables, place, letters))
    statements.attach_as_datastream()
    leave_bundles_to_workers(tables, environment)


def planned(pipeline: Pipeline, environment: StreamExecutionEnvironment) -> dict[str, KpiTable]:
    """Each KPI's rows, by its name, without a job. Raises as `build` of queries."""
    tables = StreamTableEnvironment.create(environment)
    feedback = pipeline.feedback_job.feedback
    views.configure(tables, feedback)
    views.declare(tables, environment.from_collection([], TURNS))
    return views.planned(tables, feedback)


def _heard(tables: StreamTableEnvironment, events: DataStream, feedback: Feedback) -> DataStream:
    """Turns and ratings with what is made of their texts, and events that are none: HEARD by answer."""
    tables.create_temporary_function("hear", hearing(feedback))
    schema = Schema.new_builder()
    for name, kind in EVENT_FIELDS.items():
        schema.column(name, kind)
    # a stream's watermarks reach a table only through a time attribute
    schema.column_by_metadata("ts", DataTypes.TIMESTAMP_LTZ(3), "rowtime").watermark("ts", "SOURCE_WATERMARK()")
    tables.create_temporary_view("conversations", tables.from_data_stream(events, schema.build()))
    # to rows of this very type: to_data_stream's are of one that no keyed operator of Python's takes
    return tables.to_append_stream(tables.sql_query(_HEARD), HEARD_ROWS)


def _written(tables: StreamTableEnvironment, pipeline: Pipeline, planned: Mapping[str, KpiTable]) -> list[DataStream]:
    """Write the KPIs to each place; what comes out are letters of the rows that it refuses."""
    letters = []
    with views.by_the_batch(tables):
        # once, whatever the number of places: a KPI has one state
        changed = {name: kpis.changes(tables, table) for name, table in planned.items()}
    for place in kpi_places(pipeline):
        of_place = going_to(pipeline, place, planned)
        store = open_kpis(place, of_place, 0.0)
        store.prepare()
        store.close()
        first, *others = (changed[name] for name in of_place)
        view = f"kpis_of_{place.name}"
        tables.create_temporary_view(view, tables.from_data_stream(first.union(*others)))
        tables.create_temporary_function(f"write_{view}", kpis.write_kpis(place, of_place))
        rejected = answers(tables, view, f"write_{view}(`change`)", "rejected")
        named = f"rejected by {place.name}"
        refused = rejected.flat_map(kpis.RejectedRows(pipeline.name), LETTERS).name(named).uid(f"rejected-{place.name}")
        letters.append(refused.set_parallelism(1).set_buffer_timeout(ASIDE_MS))
    return letters
