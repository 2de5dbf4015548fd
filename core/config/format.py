"""How a pipeline's events are written, as the pipeline file says it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field, model_validator

from core.config.source import AwsClient, Model, Source
from core.formats.debezium.format import UNAVAILABLE, Binaries, Decimals, Intervals, Times
from core.formats.rows import PositionType

_SCHEMA_TABLE = re.compile(r"[^.]+\.[^.]+")
_BUCKET = re.compile(r"s3\.[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAME = re.compile(r"\S(.{0,253}\S)?", re.DOTALL)

Field_ = Annotated[str, Field(min_length=1, max_length=255)]


def bucket_table(bucket: str) -> str:
    """What the documents of a bucket's objects are called in a pipeline file."""
    return f"s3.{bucket}"


class Debezium(Model):
    """How the connector is set to write values, under its own options' names and with its own defaults."""

    unavailable_value_placeholder: str = Field(UNAVAILABLE, alias="unavailable.value.placeholder", min_length=1)
    decimal_handling_mode: Decimals | None = Field(None, alias="decimal.handling.mode")
    time_precision_mode: Times = Field("adaptive", alias="time.precision.mode")
    binary_handling_mode: Binaries = Field("bytes", alias="binary.handling.mode")
    interval_handling_mode: Intervals = Field("numeric", alias="interval.handling.mode")


class Dynamodb(Model):
    """Records of DynamoDB Streams, or of Kinesis Data Streams for DynamoDB: they say all there is to know."""


class Dms(Model):
    """How the AWS DMS task and its endpoint are set, under their own settings' names."""

    include_null_and_empty: bool = Field(False, alias="IncludeNullAndEmpty")
    before_image: Field_ = Field("before-image", alias="BeforeImageSettings.FieldName")
    before_prefix: str = Field("", alias="column-prefix", max_length=64)


class Rows(Model):
    """Where plain JSON rows say what and when: `core.formats.rows.RowsFormat`."""

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


class Files(Model):
    """How files are read that the job finds in a folder by itself."""

    key: tuple[Field_, ...] = ()
    max_bytes: int = Field(64 * 2**20, ge=1, le=2**31)
    max_rows: int = Field(100_000, ge=1, le=10_000_000)


class S3(AwsClient, Files):
    """Notifications of S3, and how their objects are read."""


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
        named = [name for name in FORMATS if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"names {' and '.join(named) or 'nothing'}; it must have one of {', '.join(FORMATS)}")
        return self

    @property
    def name(self) -> str:
        """Which of them it is."""
        return next(name for name in FORMATS if getattr(self, name) is not None)

    @property
    def objects(self) -> Files | None:
        """How objects are read, where events name objects."""
        return self.s3 or self.files

    def table_of(self, bucket: str) -> str:
        """What the documents of a bucket's objects are called in a pipeline file; a folder is a bucket of that name."""
        return bucket_table(bucket) if self.s3 is not None else bucket

    def misfit(self, source: Source) -> str:
        """Why events of this format can't come from a source; "" where they can."""
        if (self.files is None) != (source.file is None):
            return "source.file and format: files go together, and neither with another one"
        if source.sqs is not None and self.s3 is None:
            return f"source.sqs is for format: s3 alone, not {self.name}: a queue keeps no order"
        ordered = self.debezium is not None or self.s3 is not None or (self.rows and self.rows.position_field)
        if source.kinesis is not None and source.kinesis.connector is not None and not ordered:
            return (
                f"source.kinesis.connector is flink, which doesn't tell how records arrived, and {self.name} is "
                "ordered by that: leave connector out"
            )
        return ""

    def misnamed(self, table: str) -> str:
        """What's wrong with a table's name in this format; "" where nothing is."""
        right, example = _TABLES[self.name]
        return "" if right(table) else f"must be written {example}"


_schema_table = (_SCHEMA_TABLE.fullmatch, "schema.table, as in public.articles")
_TABLES: Mapping[str, tuple[Callable[[str], object], str]] = {
    "debezium": _schema_table,
    "dynamodb": (_NAME.fullmatch, "as the table is called"),
    "dms": _schema_table,
    "rows": (_NAME.fullmatch, "as the table is called"),
    "s3": (_BUCKET.fullmatch, "s3.BUCKET, as in s3.handbook"),
    "files": (_NAME.fullmatch, "as you call the folder"),
}

FORMATS = tuple(_TABLES)
"""The formats' names in a pipeline file."""
