"""How a pipeline's events are written, as the pipeline file says it."""

from __future__ import annotations

import re
from collections.abc import Callable
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


class Encoding(Model):
    """A format's settings, and what it promises.

    naming   how its tables are called in a pipeline file
    no_keys  why the file must name each table's key; "" where events tell it
    again    how all rows are sent again where a backfill can't
    """

    naming: ClassVar[Naming] = _AS_CALLED
    no_keys: ClassVar[str] = ""
    again: ClassVar[str] = "have its source tell its rows again"

    @property
    def tells_order(self) -> bool:
        """Whether the events themselves say what orders a key's changes, whenever they arrive."""
        return False

    def order(self, source: Origin) -> str:
        """What orders the changes of a key, as in `by timestamp, then arrival`; "" where the format's name says it."""
        return ""


class Debezium(Encoding):
    """How the connector is set to write values, under its own options' names and with its own defaults."""

    naming: ClassVar[Naming] = _SCHEMA_AND_TABLE
    again: ClassVar[str] = "have the connector snapshot its tables anew (Debezium's incremental snapshots)"

    unavailable_value_placeholder: str = Field(UNAVAILABLE, alias="unavailable.value.placeholder", min_length=1)
    decimal_handling_mode: Decimals | None = Field(None, alias="decimal.handling.mode")
    time_precision_mode: Times = Field("adaptive", alias="time.precision.mode")
    binary_handling_mode: Binaries = Field("bytes", alias="binary.handling.mode")
    interval_handling_mode: Intervals = Field("numeric", alias="interval.handling.mode")

    @property
    def tells_order(self) -> bool:
        """See `Encoding.tells_order`: each event has its place in the database's log."""
        return True


class Dynamodb(Encoding):
    """Records of DynamoDB Streams, or of Kinesis Data Streams for DynamoDB: they say all there is to know."""

    again: ClassVar[str] = "write each item again, with an attribute changed that no document uses"

    def order(self, source: Origin) -> str:
        """See `Encoding.order`."""
        return "by sequence number" if isinstance(source, DynamodbStreams) else "by creation time, then arrival"


class Dms(Encoding):
    """How the AWS DMS task and its endpoint are set, under their own settings' names."""

    naming: ClassVar[Naming] = _SCHEMA_AND_TABLE
    no_keys: ClassVar[str] = "DMS's messages don't name the primary key"
    again: ClassVar[str] = "have the DMS task reload its tables (`aws dms reload-tables`)"

    include_null_and_empty: bool = Field(False, alias="IncludeNullAndEmpty")
    before_image: Field_ = Field("before-image", alias="BeforeImageSettings.FieldName")
    before_prefix: str = Field("", alias="column-prefix", max_length=64)

    def order(self, source: Origin) -> str:
        """See `Encoding.order`."""
        return "by timestamp, then arrival"


class Rows(Encoding):
    """Where plain JSON rows say what and when: `core.formats.rows.RowsFormat`."""

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


class Files(Encoding):
    """How files are read that the job finds in a folder by itself."""

    naming: ClassVar[Naming] = (_NAME.fullmatch, "as you call the folder")

    key: tuple[Field_, ...] = ()
    max_bytes: int = Field(64 * 2**20, ge=1, le=2**31)
    max_rows: int = Field(100_000, ge=1, le=10_000_000)


class S3(AwsClient, Files):
    """Notifications of S3, and how their objects are read."""

    naming: ClassVar[Naming] = (_BUCKET.fullmatch, "s3.BUCKET, as in s3.handbook")

    @property
    def tells_order(self) -> bool:
        """See `Encoding.tells_order`: objects have versions."""
        return True


class Format(Model):
    """How events are written: one of these."""

    debezium: Debezium | None = None
    dynamodb: Dynamodb | None = None
    dms: Dms | None = None
    rows: Rows | None = None
    s3: S3 | None = None
    files: Files | None = None

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
        """What the documents of a bucket's objects are called in a pipeline file; a folder is a bucket of that name."""
        return bucket_table(bucket) if isinstance(self.chosen, S3) else bucket

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
