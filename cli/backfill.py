"""`freshet backfill`: a notification for each object that a bucket has, to where the pipeline reads them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from connectors import kafka
from connectors.kafka_producer import produce
from core.config import Pipeline
from core.config_format import bucket_table
from core.config_source import Sqs
from core.errors import ConfigError, FreshetError
from core.formats.s3 import notification
from core.objects import ObjectListed
from core.recordings import Record

_AT_ONCE = 1_000
_COUNTING_THREADS = 2
_PLACE = re.compile(r"s3://([^/]+)(?:/(.*))?", re.DOTALL)
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Stand:
    """How far a backfill is: the last key whose notification was taken, and how many were."""

    after: str = ""
    objects: int = 0


@dataclass(frozen=True, slots=True)
class Notes:
    """Where the stand of a place's unfinished backfill is kept, beside those of the pipeline's other places."""

    path: Path
    place: str

    def read(self) -> Stand:
        """The stand. Raises ConfigError where the file is not of this command's."""
        return self._all().get(self.place, Stand())

    def write(self, stand: Stand | None) -> None:
        """Keep the stand, or forget it where it is None. Raises ConfigError as `read`."""
        places = {place: kept for place, kept in self._all().items() if place != self.place}
        if stand is not None:
            places[self.place] = stand
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # a name of its own first: what is read is never half written
        new = self.path.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(places)))
        new.replace(self.path)

    def _all(self) -> dict[str, Stand]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, Stand])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise ConfigError([f"{self.path} is not what a backfill wrote ({error}): delete it"]) from None


@dataclass(frozen=True, slots=True)
class Target:
    """What notifications are sent to. `name` says which, as in "topic pages"; `send` returns once it has them."""

    name: str
    send: Callable[[Sequence[ObjectListed]], None]


def backfill(pipeline: Pipeline, place: str, restart: bool, console: Console) -> int:
    """Tell the pipeline of all objects at a place `s3://BUCKET/PREFIX`; the exit code, 130 after Ctrl-C.

    Begins after the last object that an unfinished backfill of the same place told of, unless `restart`.
    Raises ConfigError where the pipeline reads no such notifications, Unavailable where S3, Kafka or SQS is away.
    """
    bucket, prefix = _bucket_and_prefix(place)
    target = _target(pipeline, bucket)
    notes = Notes(Path(".freshet") / "pipelines" / pipeline.name / "backfill.json", f"s3://{bucket}/{prefix}")
    stand = Stand() if restart else notes.read()
    if stand.objects:
        console.print(f"going on after {stand.after!r}, with {stand.objects:,} objects told before", markup=False)
    started, before = time.monotonic(), stand.objects
    try:
        with (
            _bar(console, before) as (bar, task),
            _counting(
                _objects(pipeline, bucket, prefix, stand.after, _COUNTING_THREADS),
                lambda count: bar.update(task, total=before + count),
            ),
            closing(_objects(pipeline, bucket, prefix, stand.after)) as found,
        ):
            for now in _told(target, found, stand):
                stand = now
                notes.write(stand)
                bar.update(task, completed=stand.objects)
    except KeyboardInterrupt:
        console.print(f"stopped at {stand.objects:,} objects; the same command goes on from there")
        return _INTERRUPTED
    except FreshetError:
        console.print(f"stopped at {stand.objects:,} objects; the same command goes on from there")
        raise
    notes.write(None)
    speed = (stand.objects - before) / (time.monotonic() - started)
    console.print(f"{stand.objects:,} objects of {notes.place} told in {target.name}, {speed:,.0f} objects/s")
    return 0


def _bucket_and_prefix(place: str) -> tuple[str, str]:
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ConfigError([f"{place!r} is no place to list: write s3://BUCKET or s3://BUCKET/PREFIX"])
    return match[1], match[2] or ""


def _target(pipeline: Pipeline, bucket: str) -> Target:
    if pipeline.format.s3 is None:
        raise ConfigError(
            [f"format is {pipeline.format.name}: a backfill is for format: s3, whose events name objects"]
        )
    if bucket_table(bucket) not in pipeline.documents:
        raise ConfigError([f"documents.{bucket_table(bucket)} is missing: the job leaves out what isn't named there"])
    if (sqs := pipeline.source.sqs) is not None:
        return _queue(sqs, bucket)
    source = pipeline.kafka
    topic = source.topic
    if topic is None or ";" in topic:
        raise ConfigError(["source.kafka: a backfill needs topic, and one alone, to write to"])
    if not kafka.check(source):
        raise ConfigError([f"source.kafka.topic is {topic!r}, which isn't there: make it, or correct the name"])
    login = kafka.login(source)

    def send(found: Sequence[ObjectListed]) -> None:
        records = (Record(topic, each.key.encode(), _notification(bucket, each)) for each in found)
        produce(source.bootstrap_servers, records, login=login)

    return Target(f"topic {topic}", send)


def _queue(sqs: Sqs, bucket: str) -> Target:
    try:
        from connectors.aws import Aws
        from connectors.sqs import Queue
    except ImportError:
        raise ConfigError(["source.sqs needs boto3, which isn't installed: install freshet[aws]"]) from None
    queue = Queue(sqs.queue_url, Aws(sqs.region, sqs.endpoint))
    queue.waiting()
    return Target(f"queue {queue.name}", lambda found: queue.send([_notification(bucket, each) for each in found]))


def _objects(
    pipeline: Pipeline, bucket: str, prefix: str, after: str, threads: int = 8
) -> Generator[ObjectListed, None, None]:
    try:
        from connectors.aws import Aws
        from connectors.s3 import S3
        from connectors.s3_listing import listing
    except ImportError:
        raise ConfigError(["format.s3 needs boto3, which isn't installed: install freshet[objects]"]) from None
    assert pipeline.format.s3 is not None
    store = S3("format.s3", Aws(pipeline.format.s3.region, pipeline.format.s3.endpoint))
    yield from listing(store, bucket, prefix, after, threads)


@contextmanager
def _counting(found: Generator[ObjectListed, None, None], tell: Callable[[int], None]) -> Iterator[None]:
    """Meanwhile a thread lists all objects, and tells how many there are once it knows; never, where it can't."""
    ended = threading.Event()

    def count() -> None:
        # what is wrong with the listing the other one tells
        with suppress(FreshetError), closing(found):
            counted = sum(1 for _ in iter(lambda: None if ended.is_set() else next(found, None), None))
            if not ended.is_set():
                tell(counted)

    thread = threading.Thread(target=count, name="count", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _told(target: Target, found: Iterable[ObjectListed], stand: Stand) -> Iterator[Stand]:
    """The stand after each thousand of objects, whose notifications the target then has."""
    left = iter(found)
    while some := list(islice(left, _AT_ONCE)):
        target.send(some)
        stand = Stand(some[-1].key, stand.objects + len(some))
        yield stand


def _notification(bucket: str, found: ObjectListed) -> bytes:
    return notification(bucket, found.key, found.size, found.etag)


class _Rate(ProgressColumn):
    """Objects a second, of late."""

    def render(self, task: Task) -> Text:
        """The text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} objects/s")


class _Left(ProgressColumn):
    """How long it takes yet, which nobody knows before all objects are counted: S3 doesn't tell their number."""

    def render(self, task: Task) -> Text:
        """The text."""
        if task.total is None:
            return Text("counting …")
        left = task.time_remaining
        return Text("" if left is None else f"{timedelta(seconds=int(left))} left of {task.total:,.0f}")


@contextmanager
def _bar(console: Console, before: int) -> Iterator[tuple[Progress, TaskID]]:
    count = TextColumn("{task.completed:,} {task.description}")
    columns = (BarColumn(), count, _Rate(), TimeElapsedColumn(), _Left())
    with Progress(*columns, console=console, transient=True) as bar:
        yield bar, bar.add_task("objects", total=None, completed=before)
