"""`freshet backfill` of a bucket: a notification for each object that it has, to where the pipeline reads them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice

from connectors.kafka import source as kafka
from connectors.kafka.producer import produce
from core.config.format import S3, bucket_table
from core.config.pipeline import Pipeline
from core.config.source import Sqs
from core.documents.objects import ObjectListed
from core.errors import ConfigError, FreshetError, not_installed
from core.formats.recordings import Record
from core.formats.s3 import notification
from operations.backfill.progress import INTERRUPTED, Course, Gauge, Options, Pace, Stand, Unit, begun, notes_of
from operations.reporting import Bar, Say, Step

_AT_ONCE = 1_000
_COUNTING_THREADS = 2
_PLACE = re.compile(r"s3://([^/]+)(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target:
    """What notifications are sent to. `name` says which, as in "topic pages"; `send` returns once it has them."""

    name: str
    send: Callable[[Sequence[ObjectListed]], None]


def backfill(pipeline: Pipeline, written: S3, places: Sequence[str], options: Options, say: Say, bar: Bar) -> int:
    """Notify the pipeline of all objects at the places `s3://BUCKET/PREFIX`, of every bucket where none is given.

    Begins after the last object that an unfinished backfill of the same place sent. The exit code is 130 after
    Ctrl-C. Raises ConfigError where the pipeline reads no such notifications, Unavailable where S3, Kafka or SQS is
    away.
    """
    found = [_bucket_and_prefix(each) for each in places or map(_place_of, pipeline.documents)]
    targets = {bucket: _target(pipeline, bucket) for bucket, _ in found}
    notes = {each: notes_of(pipeline, f"s3://{each[0]}/{each[1]}") for each in found}
    for bucket, prefix in found:
        kept = notes[bucket, prefix]
        begin = begun(kept, options.restart, Unit.OBJECTS, say)
        if begin.done:
            continue
        target, pace = targets[bucket], Pace(options.rate)
        with (
            bar() as step,
            _counted(written, bucket, prefix, begin, step) as gauge,
            closing(_objects(written, bucket, prefix, begin.after)) as listed,
        ):
            course = Course(say, kept, target.name, gauge)
            if not course.follow(_sent(target, listed, begin, pace), begin):
                return INTERRUPTED
    for each in notes.values():
        each.write(None)
    return 0


def _place_of(table: str) -> str:
    return f"s3://{table.removeprefix(bucket_table(''))}"


def _bucket_and_prefix(place: str) -> tuple[str, str]:
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ConfigError([f"{place!r} is no place to list: write s3://BUCKET or s3://BUCKET/PREFIX"])
    return match[1], match[2] or ""


def _target(pipeline: Pipeline, bucket: str) -> Target:
    if bucket_table(bucket) not in pipeline.documents:
        raise ConfigError([f"documents.{bucket_table(bucket)} is missing: the job leaves out what isn't named there"])
    if isinstance(pipeline.source.chosen, Sqs):
        return _queue(pipeline.source.chosen, bucket)
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
        from connectors.aws.client import Aws
        from connectors.sqs.queue import Queue
    except ImportError:
        raise not_installed("source.sqs", "boto3", "aws") from None
    queue = Queue(sqs.queue_url, Aws(sqs.region, sqs.endpoint))
    queue.waiting()
    return Target(f"queue {queue.name}", lambda found: queue.send([_notification(bucket, each) for each in found]))


def _objects(
    written: S3, bucket: str, prefix: str, after: str, threads: int = 8
) -> Generator[ObjectListed, None, None]:
    try:
        from connectors.aws.client import Aws
        from connectors.s3 import objects
        from connectors.s3.listing import listing
    except ImportError:
        raise not_installed("format.s3", "boto3", "objects") from None
    store = objects.S3("format.s3", Aws(written.region, written.endpoint))
    yield from listing(store, bucket, prefix, after, threads)


@contextmanager
def _counted(written: S3, bucket: str, prefix: str, begin: Stand, step: Step) -> Iterator[Gauge]:
    gauge = Gauge(step, Unit.OBJECTS, begin.objects)
    all_of_them = _objects(written, bucket, prefix, begin.after, _COUNTING_THREADS)
    with _counting(all_of_them, lambda count: gauge.expect(begin.objects + count)):
        yield gauge


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


def _sent(target: Target, found: Iterable[ObjectListed], stand: Stand, pace: Pace) -> Iterator[Stand]:
    """The stand after each thousand of objects, whose notifications the target then has."""
    left = iter(found)
    while some := list(islice(left, pace.at_most(_AT_ONCE))):
        target.send(some)
        stand = Stand(some[-1].key, stand.objects + len(some))
        yield stand
        pace.keep(len(some))


def _notification(bucket: str, found: ObjectListed) -> bytes:
    return notification(bucket, found.key, found.size, found.etag)
