"""Objects on their way to changes: notified, gated, looked at in batches, unfolded. For `format: s3`, and `files`.

Both keyed steps are keyed by the object and have the same parallelism, with one shuffle between them that keeps the
order of an object's looks: see `core.objects`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import time_ns
from typing import Any

import msgspec
import pandas as pd
from pyflink.common import Row, Types
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import KeyedProcessFunction, ProcessFunction
from pyflink.datastream.state import ValueState, ValueStateDescriptor
from pyflink.table import DataTypes, FunctionContext, StreamTableEnvironment
from pyflink.table.udf import ScalarFunction, udf

from connectors import local_files
from core.change import Event, Skip
from core.config import Pipeline
from core.decoding import guarded
from core.documents import document_id
from core.errors import ChangeError
from core.formats import s3
from core.objects import (
    Fetcher,
    ObjectChange,
    gate,
    gate_state_from_bytes,
    loaded_from_bytes,
    object_state_from_bytes,
    state_to_bytes,
    to_bytes,
    to_load_from_bytes,
    unfold,
)
from flink_jobs.keying import by_key, keyed
from flink_jobs.metrics import Meters
from flink_jobs.operators import BYTES, CHANGES, DEAD_LETTERS, REPLAY_MARK, decode_event, letter
from udfs.loading import Loader
from udfs.parsing import Limits, Options

NOTICE = Types.ROW_NAMED(["change", "event"], [BYTES, BYTES])
NOTIFIED = keyed(NOTICE)
"""By object."""
TO_LOAD = Types.ROW_NAMED(["object", "to_load"], [Types.STRING(), BYTES])

_encode = msgspec.msgpack.Encoder().encode
_decode = guarded(s3.decode)
_decode_change = msgspec.msgpack.Decoder(ObjectChange).decode


class DecodeObjects(ProcessFunction):
    """Event to notifications, keyed by object. Buckets that the pipeline doesn't name are ignored, and counted."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._name = pipeline.name
        self._table_of = pipeline.format.table_of
        self._tables = frozenset(pipeline.documents)
        self._meters = Meters("notifications")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        """One event in; rows of NOTIFIED, a dead letter or nothing out."""
        key, body, topic, partition, offset, headers = value
        event = Event(topic, partition, offset, key, body, headers or {})
        try:
            told = _decode(event)
        except ChangeError as error:
            self._meters.count("dead_letters", stage="decode", reason=type(error).__name__)
            yield DEAD_LETTERS, letter(self._name, "decode", type(error).__name__, str(error), event)
            return
        for each in told:
            if isinstance(each, Skip) or self._table_of(each.bucket) not in self._tables:
                reason = each if isinstance(each, Skip) else Skip.OTHER_TABLE
                self._meters.count("skipped", reason=reason)
            else:
                self._meters.count("notifications")
                yield Row(f"{each.bucket}/{each.key}", Row(_encode(each), _encode(event)))


class Gate(KeyedProcessFunction):
    """Notification to a look at its object, unless a later one was acted on: `core.objects.gate`."""

    def __init__(self) -> None:
        self._meters = Meters("stale_notifications")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state."""
        self._state: ValueState = runtime_context.get_state(ValueStateDescriptor("gate", Types.PICKLED_BYTE_ARRAY()))
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One NOTICE in; one of TO_LOAD or nothing out."""
        encoded, event = value
        raw = self._state.value()
        before = None if raw is None else gate_state_from_bytes(raw)
        after, to_load = gate(before, _decode_change(encoded), REPLAY_MARK in event)
        if after is not before:
            self._state.update(state_to_bytes(after))
        if to_load is None:
            self._meters.count("stale_notifications")
        else:
            yield Row(ctx.get_current_key(), to_bytes(replace(to_load, event=event)))


class Unfold(KeyedProcessFunction):
    """What a look found to the changes of the object's rows: `core.objects.unfold`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._name = pipeline.name
        self._table_of = pipeline.format.table_of
        self._specs = {table: document.spec(table) for table, document in pipeline.documents.items()}
        self._objects = {table: pipeline.object_spec(table) for table in pipeline.documents}
        self._feed = pipeline.format.name
        self._meters = Meters()

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state."""
        self._state: ValueState = runtime_context.get_state(ValueStateDescriptor("object", Types.PICKLED_BYTE_ARRAY()))
        self._run = time_ns()
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One loaded object in; rows of CHANGES or a dead letter out."""
        _, encoded = value
        loaded = loaded_from_bytes(encoded)
        table = self._table_of(loaded.bucket)
        raw = self._state.value()
        before = None if raw is None else object_state_from_bytes(raw)
        try:
            state, changes = unfold(before, loaded, self._objects[table], self._run)
            told = [(document_id(self._specs[table], change), change) for change in changes]
        except ChangeError as error:
            self._meters.count("dead_letters", stage="load", reason=type(error).__name__)
            event = decode_event(loaded.event)
            name = f"{loaded.bucket}/{loaded.key}"
            yield DEAD_LETTERS, letter(self._name, "load", type(error).__name__, str(error), event, name)
            return
        self._state.update(state_to_bytes(state))
        for document, change in told:
            self._meters.count("changes", feed=self._feed, operation=change.operation)
            yield Row(document, Row(_encode(change), loaded.event))


class _Load(ScalarFunction):
    """Looks at a batch of objects: `udfs.loading.Loader`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        # here, for where the function runs the current folder is another one
        self._folder = local_files.opened(pipeline)
        self._meters = Meters("objects_loaded")

    def open(self, function_context: FunctionContext) -> None:
        self._loader = loader(self._pipeline, self._folder)
        self._meters.open(function_context.get_metric_group())

    def close(self) -> None:
        self._loader.close()

    def is_deterministic(self) -> bool:
        return False

    def eval(self, looks: pd.Series[Any]) -> pd.Series[Any]:
        found = self._loader.load([to_load_from_bytes(raw) for raw in looks])
        self._meters.count("objects_loaded", len({(each.bucket, each.key) for each in found}))
        return pd.Series([to_bytes(each) for each in found], dtype=object)


def loader(pipeline: Pipeline, folder: local_files.Folder | None = None) -> Loader:
    """What loads the objects of a pipeline's buckets, or of the folder that it watches. Connects to nothing yet."""
    written = pipeline.format.objects
    assert written is not None
    limits = Limits(size=written.max_bytes, rows=written.max_rows)
    options = Options(key=written.key)
    fetchers = _of_s3(pipeline) if folder is None else {folder.bucket: folder.fetch}
    return Loader(fetchers, lambda bucket, key: options, limits)


def _of_s3(pipeline: Pipeline) -> dict[str, Fetcher]:
    from connectors.aws import Aws  # both need the extra `objects`
    from connectors.s3 import S3

    written = pipeline.format.s3
    assert written is not None
    store = S3("format.s3", Aws(written.region, written.endpoint))
    return {table.removeprefix("s3."): store.fetch for table in pipeline.documents}


def unfolded(
    tables: StreamTableEnvironment, pipeline: Pipeline, events: DataStream
) -> tuple[DataStream, tuple[DataStream, ...]]:
    """The changes of the objects' rows, and the operators on the way that may refuse something."""
    notified = events.process(DecodeObjects(pipeline), NOTIFIED).name("decode").uid("decode")
    wanted = (
        by_key(notified, NOTICE)
        .process(Gate(), TO_LOAD)
        .name("gate")
        .uid("gate")
        # in a task of its own, so that the next batch gathers while one is loaded
        .disable_chaining()
    )
    tables.create_temporary_view("looks", tables.from_data_stream(wanted))
    tables.create_temporary_function(
        "load_objects", udf(_Load(pipeline), result_type=DataTypes.BYTES(), func_type="pandas")
    )
    loaded = tables.to_data_stream(tables.sql_query("SELECT object, load_objects(to_load) AS loaded FROM looks"))
    changes = (
        loaded.key_by(lambda row: row[0], Types.STRING())
        .process(Unfold(pipeline), CHANGES)
        .name("unfold")
        .uid("unfold")
    )
    return changes, (notified, changes)
