"""Objects on their way to changes: notified, gated, looked at in the background, unfolded. For `format: s3`, and
`files`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pyflink.common import Row
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import ProcessFunction

from connectors.folder import files as local_files
from core.change import Event, Skip
from core.config.format import S3, Files, Format, bucket_table
from core.config.pipeline import Pipeline
from core.config.source import Folder, Origin
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


def loading(format_: Format, documents: Iterable[str], source: Origin) -> Callable[[], Loader]:
    """What makes a loader of a pipeline's objects, where it is called; it can be sent there.

    documents  what a pipeline file calls them, as in `s3.handbook`

    A loader connects to nothing yet. Raises ConfigError where the format's events name no objects.
    """
    written = format_.objects
    if written is None:
        raise ConfigError([f"format: {format_.name}: its events name no objects"])
    return partial(_loader, written, FETCHERS[format_.name](written, tuple(documents), source))


def _loader(written: Files, fetchers: Callable[[], Mapping[str, Fetcher]]) -> Loader:
    options = Options(key=written.key)
    return Loader(fetchers(), lambda bucket, key: options, Limits(size=written.max_bytes, rows=written.max_rows))


def _buckets(settings: S3, documents: Sequence[str], source: Origin) -> Callable[[], Mapping[str, Fetcher]]:
    return partial(_of_buckets, settings, documents)


def _of_buckets(settings: S3, documents: Sequence[str]) -> Mapping[str, Fetcher]:
    from connectors.aws.client import Aws  # both need the extra `objects`
    from connectors.s3 import objects

    store = objects.S3("format.s3", Aws(settings.region, settings.endpoint))
    return {table.removeprefix(bucket_table("")): store.fetch for table in documents}


def _folder(settings: Files, documents: Sequence[str], source: Folder) -> Callable[[], Mapping[str, Fetcher]]:
    # opened here, for where the loader is made the current folder is another one
    return partial(_of_folder, local_files.opened(source, documents))


def _of_folder(folder: local_files.Folder) -> Mapping[str, Fetcher]:
    return {folder.bucket: folder.fetch}


FETCHERS: Mapping[str, Callable[[Any, Sequence[str], Any], Callable[[], Mapping[str, Fetcher]]]] = {
    "s3": _buckets,
    "files": _folder,
}
"""By the names of those formats whose events name objects: what reads them, by bucket; made where it is called."""


def unfolded(pipeline: Pipeline, events: DataStream) -> tuple[DataStream, tuple[DataStream, ...]]:
    """The changes of the objects' rows, and the operators on the way that may refuse something."""
    name, format_, documents, source = pipeline.name, pipeline.format, pipeline.documents, pipeline.source.chosen
    notified = events.process(DecodeObjects(name, format_, documents), NOTIFIED).name("decode").uid("decode")
    make = loading(format_, documents, source)
    looking = LookAtObjects(name, format_, documents, pipeline.embedding, make, source.is_bounded)
    changes = by_key(notified, NOTICE).process(looking, CHANGES).name("unfold").uid("unfold")
    return changes, (notified, changes)
