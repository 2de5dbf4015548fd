"""Objects on their way to changes: notified, gated, looked at in the background, unfolded. For `format: s3`, and
`files`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from pyflink.common import Row
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import ProcessFunction

from connectors.folder import files as local_files
from core.change import Event, Skip
from core.config.format import S3, Files, Format
from core.config.pipeline import Pipeline
from core.config.source import Folder
from core.decoding import guarded
from core.documents.objects import Fetcher
from core.errors import ChangeError, ConfigError
from core.formats import s3
from flink_jobs import payloads
from flink_jobs.engine.metrics import Meters
from flink_jobs.engine.modules import find_in_later_jobs
from flink_jobs.steps.keying import by_key
from flink_jobs.steps.looking import NOTICE, NOTIFIED, LookAtObjects
from flink_jobs.steps.operators import CHANGES, DEAD_LETTERS
from flink_jobs.steps.refusing import refuse
from udfs.parsing.files import Limits, Options
from udfs.parsing.loading import Loader

_decode = guarded(s3.decode)


class DecodeObjects(ProcessFunction):
    """Event to notifications, keyed by object. Buckets that the pipeline doesn't name are ignored, and counted."""

    def __init__(self, pipeline: str, format_: Format, documents: Iterable[str]) -> None:
        self._name = pipeline
        self._table_of = format_.table_of
        self._tables = frozenset(documents)
        self._meters = Meters("notifications")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        find_in_later_jobs()
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        """One event in; rows of NOTIFIED, a dead letter or nothing out."""
        key, body, topic, partition, offset, headers = value
        event = Event(topic, partition, offset, key, body, headers or {})
        try:
            notifications = _decode(event)
        except ChangeError as error:
            yield DEAD_LETTERS, refuse(self._name, self._meters, "decode", error, event)
            return
        for each in notifications:
            if isinstance(each, Skip) or self._table_of(each.bucket) not in self._tables:
                reason = each if isinstance(each, Skip) else Skip.OTHER_TABLE
                self._meters.count("skipped", reason=reason)
            else:
                self._meters.count("notifications")
                yield Row(
                    f"{each.bucket}/{each.key}", Row(payloads.NOTIFICATION.encode(each), payloads.EVENT.encode(event))
                )


def loader(format_: Format, documents: Iterable[str], folder: local_files.Folder | None = None) -> Loader:
    """What loads the objects of a pipeline's buckets, or of the folder that it watches. Connects to nothing yet.

    documents  what a pipeline file calls them, as in `s3.handbook`
    """
    written = format_.chosen
    if not isinstance(written, Files):
        raise ConfigError([f"format: {format_.name}: its events name no objects"])
    limits = Limits(size=written.max_bytes, rows=written.max_rows)
    options = Options(key=written.key)
    fetchers: dict[str, Fetcher] = {} if folder is None else {folder.bucket: folder.fetch}
    if isinstance(written, S3):
        fetchers = _of_s3(written, documents)
    return Loader(fetchers, lambda bucket, key: options, limits)


def _of_s3(settings: S3, documents: Iterable[str]) -> dict[str, Fetcher]:
    from connectors.aws.client import Aws  # both need the extra `objects`
    from connectors.s3 import objects

    store = objects.S3("format.s3", Aws(settings.region, settings.endpoint))
    return {table.removeprefix("s3."): store.fetch for table in documents}


def unfolded(pipeline: Pipeline, events: DataStream) -> tuple[DataStream, tuple[DataStream, ...]]:
    """The changes of the objects' rows, and the operators on the way that may refuse something."""
    name, format_, documents = pipeline.name, pipeline.format, pipeline.documents
    notified = events.process(DecodeObjects(name, format_, documents), NOTIFIED).name("decode").uid("decode")
    # here, for where the function runs the current folder is another one
    source = pipeline.source.chosen
    folder = local_files.opened(source, documents) if isinstance(source, Folder) else None
    make = partial(loader, format_, tuple(documents), folder)
    looking = LookAtObjects(name, format_, documents, pipeline.embedding, make, source.is_bounded)
    changes = by_key(notified, NOTICE).process(looking, CHANGES).name("unfold").uid("unfold")
    return changes, (notified, changes)
