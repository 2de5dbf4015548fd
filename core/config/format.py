"""How a pipeline's events are written, as the pipeline file says it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from core.config.source import AwsClient, DynamodbStreams, Model, Origin, Source
from core.config.variants import kinds, one
from core.formats.debezium.format import UNAVAILABLE, Binaries, Decimals, Intervals, Times
from core.formats.rows import PositionType

_SCHEMA_TABLE = re.compile(r"[^.]+\.[^.]+")
_BUCKET = re.compile(r"s3\.[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAME = re.compile(r"\S(.{0,253}\S)?", re.DOTALL)

Field_ = Annotated[str, Field(min_length=1, max_length=255)]


def bucket_table(bucket: str) -> str:
    """What the documents of a bucket's objects are called in a pipeline file."""
    return f"s3.{bucket}"


Naming = tuple[Callable[[str], object], str]
"""What tells a table's right name, and how it is written, with an example."""

_SCHEMA_AND_TABLE: Naming = (_SCHEMA_TABLE.fullmatch, "schema.table, as in public.articles")
_AS_CALLED: Naming = (_NAME.fullmatch, "as the table is called")


@dataclass(frozen=True, slots=True)
class Promise:
    """What a feed promises, for the table of docs/feeds.md: Markdown, links as from there.

    order  what orders a key's changes
    loses  what the feed can lose, and what is done about it
    feed   which of a format's feeds it is, where a format has several; "" where it has one
    """

    order: str
    loses: str
    feed: str = ""


class Encoding(Model):
    """A format's settings, and what it promises.

    naming   how its tables are called in a pipeline file
    no_keys  why the file must name each table's key; "" where events tell it
    again    how all rows are sent again where a backfill can't
    one      whose name the file has under `documents`, and no other; "" where it has the tables' names
    of_many  whether events say which database their rows are of, so that topics may have several databases'
    of_rows  whether events tell of rows or objects, which documents and profiles are made of
    """

    naming: ClassVar[Naming] = _AS_CALLED
    no_keys: ClassVar[str] = ""
    again: ClassVar[str] = "have its source tell its rows again"
    one: ClassVar[str] = ""
    of_many: ClassVar[bool] = False
    of_rows: ClassVar[bool] = True

    @property
    def tells_order(self) -> bool:
        """Whether the events themselves say what orders a key's changes, whenever they arrive."""
        return False

    def order(self, source: Origin) -> str:
        """What orders the changes of a key, as in `by timestamp, then arrival`; "" where the format's name says it."""
        return ""

    def promise(self, source: Origin) -> Promise:
        """What the feed promises that comes from a source; called for sources alone that it fits."""
        raise NotImplementedError


class Debezium(Encoding):
    """JSON envelopes of Debezium's connectors. The settings are the connector's own, by its names and defaults."""

    naming: ClassVar[Naming] = _SCHEMA_AND_TABLE
    again: ClassVar[str] = "have the connector snapshot its tables anew (Debezium's incremental snapshots)"
    of_many: ClassVar[bool] = True

    unavailable_value_placeholder: str = Field(UNAVAILABLE, alias="unavailable.value.placeholder", min_length=1)
    decimal_handling_mode: Decimals | None = Field(None, alias="decimal.handling.mode")
    time_precision_mode: Times = Field("adaptive", alias="time.precision.mode")
    binary_handling_mode: Binaries = Field("bytes", alias="binary.handling.mode")
    interval_handling_mode: Intervals = Field("numeric", alias="interval.handling.mode")

    @property
    def tells_order(self) -> bool:
        """See `Encoding.tells_order`: each event has its place in the database's log."""
        return True

    def promise(self, source: Origin) -> Promise:
        """See `Encoding.promise`."""
        return Promise(
            "PostgreSQL: `source.sequence`; MySQL: binlog file and place, then arrival",
            "deletes while the connector had lost its place: [the sweep after a snapshot](stay-equal.md#ghosts), else "
            "`freshet verify`",
        )


class Dynamodb(Encoding):
    """Records of DynamoDB Streams, or of Kinesis Data Streams for DynamoDB. They say all that there is to know."""

    again: ClassVar[str] = "write each item again, with an attribute changed that no document uses"

    def order(self, source: Origin) -> str:
        """See `Encoding.order`."""
        return "by sequence number" if isinstance(source, DynamodbStreams) else "by creation time, then arrival"

    def promise(self, source: Origin) -> Promise:
        """See `Encoding.promise`."""
        if isinstance(source, DynamodbStreams):
            return Promise(
                "SequenceNumber",
                "records older than 24 hours: a dead letter says which shard lost them. Needs the view type NEW_IMAGE "
                "or NEW_AND_OLD_IMAGES; changes without an image are dead letters that say so",
                "DynamoDB Streams",
            )
        return Promise(
            "ApproximateCreationDateTime, then arrival",
            "the order of changes of one item within one tick of that clock, where they arrive swapped. Set the "
            "table's precision to MICROSECOND; the default is a millisecond",
            "Kinesis Data Streams for DynamoDB",
        )


class Dms(Encoding):
    """Messages of an AWS DMS task. The settings are the task's and its endpoint's own, by their names."""

    naming: ClassVar[Naming] = _SCHEMA_AND_TABLE
    no_keys: ClassVar[str] = "DMS's messages don't name the primary key"
    again: ClassVar[str] = "have the DMS task reload its tables (`aws dms reload-tables`)"

    include_null_and_empty: bool = Field(False, alias="IncludeNullAndEmpty")
    before_image: Field_ = Field("before-image", alias="BeforeImageSettings.FieldName")
    before_prefix: str = Field("", alias="column-prefix", max_length=64)

    def order(self, source: Origin) -> str:
        """See `Encoding.order`."""
        return "by timestamp, then arrival"

    def promise(self, source: Origin) -> Promise:
        """See `Encoding.promise`."""
        return Promise(
            "`metadata.timestamp`, then arrival",
            "nulls and columns that weren't sent look the same unless the endpoint has IncludeNullAndEmpty: such a "
            "column is read again (`reselect.postgres.dsn`), else the change is a dead letter. A changed primary key "
            "without before images leaves the old document: `freshet verify`",
        )


class Rows(Encoding):
    """JSON objects of your own, a row each. The settings name the fields that say what and when."""

    again: ClassVar[str] = "have what writes the rows write each of them again"

    table: Field_ | None = None
    table_field: Field_ | None = None
    position_field: str = ""
    position_type: PositionType = "integer"
    operation_field: str = ""
    deletes: frozenset[Field_] = Field(frozenset({"d", "delete", "remove", "true", "1"}), min_length=1)

    @model_validator(mode="after")
    def _names_a_table(self) -> Rows:
        if self.table is None and self.table_field is None:
            raise ValueError("neither table nor table_field is set: nothing says which table the rows are of")
        return self

    @property
    def tells_order(self) -> bool:
        """See `Encoding.tells_order`."""
        return bool(self.position_field)

    def order(self, source: Origin) -> str:
        """See `Encoding.order`."""
        if not self.position_field:
            return "by arrival"
        return f"by {self.position_field} ({self.position_type}), then arrival"

    def promise(self, source: Origin) -> Promise:
        """See `Encoding.promise`."""
        return Promise(
            "`position_field`, then arrival; without one, arrival alone",
            "without a position, the order is the partition's: "
            "[adding partitions](restart-and-recover.md#more-partitions) breaks it. Making the topic anew does too, "
            "and is [noticed before anything is read](restart-and-recover.md#when-the-log-is-another-one)",
        )


class Files(Encoding):
    """Files of a folder, which the job finds by itself. The settings say how they are read."""

    naming: ClassVar[Naming] = (_NAME.fullmatch, "as you call the folder")
    one: ClassVar[str] = "the folder's"

    key: tuple[Field_, ...] = ()
    max_bytes: int = Field(64 * 2**20, ge=1, le=2**31)
    max_rows: int = Field(100_000, ge=1, le=10_000_000)

    def promise(self, source: Origin) -> Promise:
        """See `Encoding.promise`."""
        return Promise("the looks at the file", "what was deleted while a job had lost its state")

    def table_of(self, bucket: str) -> str:
        """What the documents of a bucket's objects are called in a pipeline file; a folder is a bucket of its name."""
        return bucket


class S3(AwsClient, Files):
    """Notifications of a bucket's objects. The settings say how the objects are read."""

    naming: ClassVar[Naming] = (_BUCKET.fullmatch, "s3.BUCKET, as in s3.handbook")
    one: ClassVar[str] = ""

    @property
    def tells_order(self) -> bool:
        """See `Encoding.tells_order`: objects have versions."""
        return True

    def promise(self, source: Origin) -> Promise:
        """See `Encoding.promise`."""
        return Promise(
            "the looks at the object: [documents in S3](s3.md)",
            "nothing that is notified. Rows that came into a file of many and left it again between a checkpoint and a "
            "crash, or left it while a job had lost its state",
        )

    def table_of(self, bucket: str) -> str:
        """See `Files.table_of`."""
        return bucket_table(bucket)


class Conversations(Encoding):
    """Turns of conversations and what people think of answers, as `freshet serve` writes them."""

    again: ClassVar[str] = "have them read from the topic's beginning, with --without-state"
    of_rows: ClassVar[bool] = False

    def promise(self, source: Origin) -> Promise:
        """See `Encoding.promise`."""
        return Promise(
            "`at`, of several ratings of one answer; nothing else depends on an order",
            "what is written later than `feedback.late` says: a dead letter. What a killed server had not written yet",
        )


class Format(Model):
    """How events are written: one of these."""

    debezium: Debezium | None = None
    dynamodb: Dynamodb | None = None
    dms: Dms | None = None
    rows: Rows | None = None
    s3: S3 | None = None
    files: Files | None = None
    conversations: Conversations | None = None

    @model_validator(mode="after")
    def _one(self) -> Format:
        one(self, Encoding)
        return self

    @property
    def name(self) -> str:
        """Which of them it is."""
        return one(self, Encoding)[0]

    @property
    def chosen(self) -> Encoding:
        """Its settings."""
        return one(self, Encoding)[1]

    @property
    def objects(self) -> Files | None:
        """How objects are read, where events name objects."""
        chosen = self.chosen
        return chosen if isinstance(chosen, Files) else None

    def table_of(self, bucket: str) -> str:
        """See `Files.table_of`; the bucket's name where events name no objects."""
        return bucket if self.objects is None else self.objects.table_of(bucket)

    def misfit(self, source: Source) -> str:
        """Why events of this format can't come from a source; "" where they can."""
        return source.chosen.misfit(self.name, self.chosen.tells_order)

    def order(self, source: Source) -> str:
        """What orders the changes of a key, as in `rows by arrival`."""
        return " ".join(filter(None, (self.name, self.chosen.order(source.chosen))))

    def misnamed(self, table: str) -> str:
        """What's wrong with a table's name in this format; "" where nothing is."""
        right, example = self.chosen.naming
        return "" if right(table) else f"must be written {example}"


FORMATS = tuple(kinds(Format, Encoding))
"""The formats' names in a pipeline file."""

OF_MANY = tuple(name for name, each in kinds(Format, Encoding).items() if each.of_many)
"""Those whose events say which database their rows are of."""
